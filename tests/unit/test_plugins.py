"""Plugins: found, asked, and kept from doing harm."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from helpers.json_checks import check
from helpers.plugin_files import MODEL, write
from typer.testing import CliRunner

from zoo import settings
from zoo.cli.commands.plugins import plugins as plugins_app
from zoo.errors import UsageError, ZooError
from zoo.job_spec import JobSpec
from zoo.metrics import Objective
from zoo.plugins import entry_points, isolated_listing, registry
from zoo.queue import catalogue, doctor
from zoo.testing import isolation
from zoo.testing.checks import Result
from zoo.training.run import run_job


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ZOO_PLUGINS_DIR", str(tmp_path))
    return tmp_path


def find(name: str) -> registry.Plugin:
    return next(p for p in registry.catalogue().plugins if p.name == name)


def test_installed_plugins_and_files_are_found_with_what_they_bring(folder: Path) -> None:
    write(folder, "extra")
    assert "logistic" in find("sklearn").models and find("sklearn").datasets == ["digits"]
    assert find("extra").models == ["mine"] and find("extra").hooks == ["register_models"]
    assert registry.model("mine").__name__ == "Mine"
    assert find("keras").label.startswith("zoo-keras ")


def test_a_changed_file_is_another_version(folder: Path) -> None:
    write(folder, "extra")
    before = find("extra").version
    registry.catalogue.cache_clear()
    write(folder, "extra", body="layout = 'image'")
    assert find("extra").version != before


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("raise SystemExit('bye')", "SystemExit: bye"),
        ("def f(:", "SyntaxError"),
        ("import no_such_package", "ModuleNotFoundError"),
        (MODEL.format(name="Not A Name", body="", what="Mine"), "lower case"),
        (MODEL.format(name="logistic", body="", what="Mine"), "is taken"),
        (MODEL.format(name="mine", body="", what="Mine()"), "TypeError"),
        (MODEL.format(name="mine", body="", what="int"), "not a subclass"),
        (MODEL.format(name="mine", body="Params = int", what="Mine"), "Params"),
        (MODEL.format(name="mine", body="layout = 'round'", what="Mine"), "layout"),
        (
            MODEL.format(
                name="mine",
                body="class Params(zoo.Params):\n        n: int = zoo.param(0, ge=1, help='n')",
                what="Mine",
            ),
            "n=0",
        ),
    ],
    ids=[
        *("raises", "exits", "no Python", "imports what is not there", "name", "taken name"),
        *(
            "no class",
            "no model",
            "params of no kind",
            "layout of no kind",
            "default out of bounds",
        ),
    ],
)
def test_a_broken_plugin_is_listed_with_its_reason_and_the_others_work(
    folder: Path, source: str, why: str
) -> None:
    (folder / "bad.py").write_text(source)
    write(folder, "good", name="fine")
    error = find("bad").error
    assert why in error and f"({folder}/bad.py:" in error, error
    assert {"fine", "logistic", "dense-softmax"} <= set(registry.catalogue().models)


def test_what_a_plugin_prints_does_not_reach_stdout(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (folder / "loud.py").write_text("import os; os.write(1, b'hello'); print('hello')")
    registry.catalogue()
    os.write(1, b"mine\n")
    said = capfd.readouterr()
    assert said.out == "mine\n" and said.err.count("hello") == 2


def test_plugins_can_be_narrowed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(folder, "extra")
    monkeypatch.setenv("ZOO_PLUGINS", "extra")
    assert list(registry.catalogue().models) == ["mine"]
    registry.catalogue.cache_clear()
    monkeypatch.setenv("ZOO_PLUGINS", "")
    assert registry.catalogue().plugins == []
    registry.catalogue.cache_clear()
    monkeypatch.setenv("ZOO_PLUGINS", "extra,extr")
    assert [bool(p.error) for p in registry.catalogue().plugins] == [False, True]
    assert find("extr").error == "It is named by ZOO_PLUGINS, but there is no such plugin."


def test_an_unknown_model_is_refused_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="Did you mean 'logistic'"):
        registry.model("logistics")


def test_an_unknown_model_may_be_that_of_a_broken_plugin(folder: Path) -> None:
    (folder / "bad.py").write_text("1 / 0")
    with pytest.raises(UsageError) as caught:
        registry.model("my-knn")
    said = f"The plugin bad is broken: ZeroDivisionError: division by zero ({folder}/bad.py:1)."
    assert said in caught.value.hint


def test_the_line_of_a_broken_package_is_its_own_not_the_librarys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "my_broken"
    package.mkdir()
    source = "import json\ndef read():\n    json.loads('{')\nread()\n"
    (package / "__init__.py").write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))
    entry = entry_points.Entry("broken", "my_broken", "my-broken", "1.0")
    monkeypatch.setattr(entry_points, "of", lambda group: [entry])
    assert find("broken").error.endswith(f"({package}/__init__.py:3)")
    assert find("broken").label == "my-broken 1.0"


def test_hook_calls_are_shown_when_asked(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write(folder, "good")
    write(folder, "bad", what="int")
    registry.catalogue()
    assert capsys.readouterr().err == ""
    registry.catalogue.cache_clear()
    monkeypatch.setenv("ZOO_TRACE_PLUGINS", "1")
    registry.catalogue()
    said = capsys.readouterr().err
    assert re.search(r"^hook: register_models of good, \d+\.\d ms, ok$", said, flags=re.M)
    assert re.search("of bad, .* raised PluginError: <class 'int'> is not a subclass", said)


# --- plugins that mean harm ---

ENDINGS = [
    *("os._exit(3)", "os.abort()", "os.execv('/bin/true', ['true'])"),
    *("os.kill(os.getpid(), 9)", "os.kill(os.getppid(), 9)", "os.kill(0, 9)", "os.kill(-1, 9)"),
    *("os.killpg(os.getpgrp(), 9)", "signal.raise_signal(9)", "os.kill(-os.getpgrp(), 9)"),
    "signal.pthread_kill(threading.get_ident(), 9)",
]


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_plugin_that_ends_the_process_is_broken_and_the_command_goes_on(
    folder: Path, ending: str
) -> None:
    (folder / "ends.py").write_text(f"import os, signal, threading\n{ending}\n")
    (folder / "well.py").write_text(MODEL.format(name="well", body="", what="Mine"))
    found = {each.name: each for each in registry.catalogue().plugins}
    assert found["ends"].error.startswith("it calls ") and ".py:2)" in found["ends"].error
    assert found["well"].models == ["well"]


def test_a_plugin_may_end_what_it_has_started_and_keep_a_function_for_later(folder: Path) -> None:
    (folder / "tidy.py").write_text(
        "import os, subprocess, sys\nfrom os import kill\n"
        "child = subprocess.Popen(['sleep', '600'])\nchild.kill()\nchild.wait(60)\n"
    )
    registry.catalogue()
    tidy = sys.modules["zoo_plugin_tidy"]
    assert tidy.child.returncode == -9
    with pytest.raises(ProcessLookupError):
        tidy.kill(tidy.child.pid, 9)


def test_a_card_has_what_a_terminal_without_the_plugin_needs() -> None:
    card = next(card for card in registry.cards() if card.name == "logistic")
    assert card.param_schemas["max_iter"]["default"] == 5
    assert card.summary and card.plugin.startswith("zoo-sklearn ")


def test_a_home_that_cannot_be_looked_at_stops_no_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "zoo", "--version"],
        env=os.environ | {"ZOO_HOME": "/tmp/" + "long" * 100},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "") and done.stdout.strip()


def test_a_file_that_changes_within_a_second_is_compiled_anew(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    for layout in ("'flat' ", "'image'"):  # of one size, and most likely of one second
        write(folder, "extra", body=f"layout = {layout}")
        registry.catalogue.cache_clear()
        assert f"'{registry.model('mine').layout}'" == layout.strip()


# --- what the commands make of it ---

FOUND = [
    registry.Plugin("good", "zoo-good", "1.0", "zoo_good", ["register_models"], ["a", "b"]),
    registry.Plugin("slow", "zoo-slow", "1.0", "zoo_slow", seconds=5.02),
    registry.Plugin("bad", "bad", "abc", "/tmp/bad.py", error="SystemExit: no (/tmp/bad.py:2)"),
]


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Run a command of `zoo plugins` in this process, on a list of plugins."""
    monkeypatch.setattr(isolated_listing, "listing", lambda: FOUND)
    return lambda *args: CliRunner().invoke(plugins_app, args)


def test_a_broken_plugin_is_listed_with_its_line_and_a_slow_one_with_its_seconds(
    commands: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    with capsys.disabled():
        listed = json.loads(commands("--json").stdout)
    assert listed[0]["models"] == ["a", "b"] and listed[2]["error"].startswith("SystemExit: no")
    plugins_app(standalone_mode=False, args=[])
    told = capsys.readouterr()
    assert "bad is broken: SystemExit: no (/tmp/bad.py:2)" in told.out
    assert "zoo-good 1.0" in told.out and "register_models" in told.out
    assert "slow took 5.0 s to import" in told.err


@pytest.mark.parametrize(
    ("statuses", "code"),
    [
        (["passed"], 0),
        (["passed", "skipped"], 0),
        (["passed", "failed"], 1),
        (["skipped"], 1),
        ([], 1),
    ],
)
def test_a_check_is_green_only_if_something_passed_and_nothing_failed(
    commands: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, statuses: list[str], code: int
) -> None:
    results = [Result(f"check {n}", status, "why") for n, status in enumerate(statuses)]
    monkeypatch.setattr(isolation, "run", lambda *args, **options: iter(results))
    done = commands("check", "good", "--json")
    reports = json.loads(done.stdout)
    assert done.exit_code == code
    assert [r["model"] for r in reports] == ["a", "b"]
    assert all([c["status"] for c in r["checks"]] == statuses for r in reports)
    check("plugin-check", *reports)
    assert commands("check", "b", "--json").exit_code == code


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("god", "No plugin, model or dataset is called 'god'. Did you mean 'good'?"),
        ("slow", "The plugin slow has no model and no dataset to check."),
        ("bad", "The plugin bad cannot be imported: SystemExit: no"),
    ],
)
def test_what_cannot_be_checked_is_never_green(
    commands: Callable[..., Any], name: str, says: str
) -> None:
    done = commands("check", name)
    assert isinstance(done.exception, ZooError) and says in str(done.exception)


METRIC = """
import zoo
@zoo.hookimpl
def register_metrics(register):
    register(zoo.Metric({arguments}))
"""


def test_a_metric_of_a_plugin_measures_each_job(folder: Path, tmp_path: Path) -> None:
    arguments = "'errors', lambda y, p, z, names: int((y != z).sum()), False, 'wrong rows'"
    (folder / "extra.py").write_text(METRIC.format(arguments=arguments))
    info = registry.metrics()["errors"]
    assert (info.higher_is_better, info.summary) == (False, "wrong rows")
    assert catalogue.objective("val_errors") == Objective("val_errors", higher_is_better=False)
    spec = JobSpec(
        kind="train", model="logistic", params={}, dataset="digits", validation=0.1, changed=[]
    )
    (tmp_path / "job").mkdir()
    found = run_job(spec, tmp_path / "job", lambda *_, **__: None)
    assert found["errors"] == round(360 * (1 - found["accuracy"]))
    assert found["val_errors"] == round(144 * (1 - found["val_accuracy"]))
    with pytest.raises(UsageError, match="No metric is called 'error'"):
        catalogue.objective("error")


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ("'Errors', len, True", "lower case"),
        ("'val_errors', len, True", "begins with val_"),
        ("'f1_macro', len, True", "is taken"),
        ("'classes', len, True", "is taken"),
        ("'errors', 5, True", "needs a function"),
        ("'errors', len, 1", "True or False"),
    ],
)
def test_a_metric_that_cannot_be_is_refused(folder: Path, arguments: str, why: str) -> None:
    (folder / "extra.py").write_text(METRIC.format(arguments=arguments))
    assert why in find("extra").error and not registry.metrics()


def test_a_plugin_with_hooks_and_commands_is_one_and_namesakes_are_two() -> None:
    hooks = registry.Plugin("report", "zoo-report", "1.0", "zoo_report.hooks", ["job_finished"])
    commands = replace(hooks, source="zoo_report.commands", hooks=["register_commands"], error="x")
    other = replace(hooks, distribution="other-report")
    one, two = isolated_listing.merged([hooks, other, commands])
    assert one.hooks == ["job_finished", "register_commands"] and one.error == "x" and two == other
    files = [registry.Plugin("report", "", "1", f"/{each}.py") for each in "ab"]
    assert isolated_listing.merged(files) == files


def test_doctor_says_of_each_plugin_what_it_has() -> None:
    found = [*doctor.PARTS["plugins"](settings.load(), "plugins")]
    assert found and not [each.detail for each in found if each.detail.endswith((":", ": "))]
