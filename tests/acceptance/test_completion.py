"""What the shell offers when a word is completed, in each of the three shells."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.finished_jobs import a_spec, claim, folds, succeed

from zoo import jobs
from zoo.cli import completion
from zoo.dataset_names import FILE_FORMS
from zoo.jobs import Outcome, QueueOptions

WATCH = """
import json, sys
from zoo.cli.main import main
sys.argv = ["zoo"]
try:
    main()
finally:
    heavy = ("tensorflow", "keras", "sklearn", "numpy", "celery", "sqlalchemy")
    print(json.dumps([name for name in heavy if name in sys.modules]), file=sys.stderr)
"""


def complete(home: Path, line: str, shell: str = "fish") -> tuple[list[str], list[str]]:
    """The words that are offered, and the heavy modules that it took."""
    env = os.environ | {"ZOO_HOME": str(home), "_ZOO_COMPLETE": f"complete_{shell}"}
    env |= {"_TYPER_COMPLETE_ARGS": line, "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    env |= {"COMP_WORDS": line, "COMP_CWORD": str(len(line.split(" ")) - 1)}
    done = subprocess.run(
        [sys.executable, "-c", WATCH], env=env, text=True, capture_output=True, timeout=60
    )
    assert "Traceback" not in done.stderr, done.stderr
    words = [row.split("\t")[0] for row in done.stdout.splitlines() if row]
    return words, json.loads(done.stderr.splitlines()[-1])


def test_models_are_offered_in_every_shell_and_no_framework_is_loaded(home: Path) -> None:
    home.mkdir()
    assert complete(home, "zoo train log") == (["logistic"], [])
    assert complete(home, "zoo train log", "bash") == (["logistic"], [])
    ((first, *_), heavy) = complete(home, "zoo train log", "zsh")
    assert '"logistic"' in first and heavy == []
    assert (home / completion.NAMES_FILE).exists()


def test_to_press_a_key_makes_no_home_and_shows_no_error(home: Path) -> None:
    assert complete(home, "zoo show ") == ([], [])
    assert not home.exists()
    home.mkdir()
    (home / "zoo.db").write_text("this is no database")
    assert completion.references("") == []


def test_params_come_with_their_sign_and_then_with_their_values(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.mkdir()
    words, heavy = complete(home, "zoo train logistic -p l")
    assert {"loss=", "learning_rate=", "l1_ratio="} == set(words) and heavy == []
    monkeypatch.setenv("COMP_WORDS", "zoo train logistic -p ")
    assert "loss=hinge" in dict(completion.params("loss="))
    assert list(dict(completion.params("shuffle="))) == ["shuffle=true", "shuffle=false"]
    assert list(dict(completion.params("max_iter="))) == ["max_iter=5"]


def test_jobs_and_datasets_are_offered_live(home: Path) -> None:
    (job,), _ = jobs.add(jobs.connect(), [a_spec()], QueueOptions(tags=["nightly"]))
    assert complete(home, f"zoo show {job[:3]}") == ([job[:8]], [])
    forms = [f"{form}:" for form in FILE_FORMS]
    assert list(dict(completion.datasets(""))) == ["mnist", "digits", *forms]
    assert dict(completion.tags("n")) == {"nightly": ""} and completion.tags("x") == []
    assert list(dict(completion.statuses("t"))) == ["timed_out"]


def test_a_plugin_that_comes_is_offered_at_once(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from zoo.plugins import registry

    folder = home / "plugins"
    folder.mkdir(parents=True)
    assert [name for name, _ in completion.models("mine")] == []
    source = "import zoo\nclass M(zoo.Model):\n    name = 'mine'\n"
    source += "@zoo.hookimpl\ndef register_models(register): register(M)\n"
    (folder / "mine.py").write_text(source)
    registry.catalogue.cache_clear()
    assert [name for name, _ in completion.models("mine")] == ["mine"]
    # And from then on it is remembered: no plugin is asked.
    monkeypatch.setattr(registry, "cards", None)
    assert [name for name, _ in completion.models("mine")] == ["mine"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_installed_for_each_shell(home: Path, tmp_path: Path, shell: str) -> None:
    env = os.environ | {"ZOO_HOME": str(home), "HOME": str(tmp_path), "SHELL": f"/bin/{shell}"}
    done = subprocess.run(
        [sys.executable, "-m", "zoo", "--install-completion", shell],
        env=env | {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"},
        text=True,
        capture_output=True,
        timeout=60,
    )
    assert done.returncode == 0 and "installed" in done.stdout, done.stderr
    written = [p.read_text() for p in tmp_path.rglob("*") if p.is_file() and "home" not in p.parts]
    assert any("_ZOO_COMPLETE" in text or "zoo" in text for text in written)


def test_what_others_wrote_is_offered_only_if_no_shell_can_take_it_for_a_command(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    db = jobs.connect()
    evil = ["\\$(touch x)", "$(touch x)", "a`touch x`", "a;b", "\x1b[2J", "a\nb"]
    jobs.add(db, [a_spec()], QueueOptions(tags=["good", "한글", *evil]))
    assert {word for word, _ in completion.tags("")} == {"good", "한글"}
    asked = completion.safely(lambda _: [("a", "says \\$(touch x) \x1b[2J")])
    assert asked("") == [("a", "says (touch x) [2J")]


def test_each_command_is_offered_only_jobs_that_it_can_take(home: Path) -> None:
    home.mkdir()
    db = jobs.connect()
    good = succeed(db, [a_spec(dataset="digits")])
    cv = succeed(db, [s.model_copy(update={"keep_weights": False}) for s in folds(2)], kind="cv",
                 accuracies=(0.9, 0.9))  # fmt: skip
    (failed,), _ = jobs.add(db, [a_spec()])
    jobs.finish(db, claim(db), Outcome("failed", error="no", error_code="exception"))
    (waiting,), _ = jobs.add(db, [a_spec()])
    takes = {"export": good, "predict": good, "evaluate": good, "retry": failed, "hold": waiting}
    takes |= {"release": waiting, "priority": waiting, "cancel": waiting}
    for command, job in takes.items():
        words, _ = complete(home, f"zoo {command} ")
        assert set(words) == {job[:8]}, command
    assert {each[:8] for each in (good, cv, failed)} <= set(complete(home, "zoo show ")[0])


def test_datasets_in_files_are_offered_once_something_is_trained_on_them(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.mkdir()
    monkeypatch.setenv("ZOO_PLUGINS", "")
    db = jobs.connect()
    name = "npz:/data/mine.npz"
    jobs.add(db, [a_spec(dataset=name)])
    assert f"@best:{name}" not in dict(completion.references("@best:n"))
    succeed(db, [a_spec(dataset=name)])
    assert f"@best:{name}" in dict(completion.references("@best:n"))
    assert name in dict(completion.datasets("npz:"))


def test_forms_of_datasets_are_offered_and_then_their_paths(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZOO_PLUGINS", "")
    (tmp_path / "here/sub").mkdir(parents=True)
    for name in ("rows.csv", "r#1.csv", ".hidden"):
        (tmp_path / "here" / name).touch()
    monkeypatch.chdir(tmp_path / "here")
    assert list(dict(completion.datasets("cs"))) == ["csv:"]
    found = list(dict(completion.datasets("csv:")))
    assert found == ["csv:r%231.csv", "csv:rows.csv", "csv:sub/"]
    assert list(dict(completion.datasets("csv:../here/ro"))) == ["csv:../here/rows.csv"]
    assert not completion.datasets("csv:rows.csv?ta")
