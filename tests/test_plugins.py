"""Plugins: found, asked, and kept from doing harm."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from zoo import plugins
from zoo.errors import UsageError

MODEL = """
import zoo
class Mine(zoo.Model):
    "A model for a test."
    name = {name!r}
    {body}
@zoo.hookimpl
def register_models(register):
    register({what})
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ZOO_PLUGINS_DIR", str(tmp_path))
    return tmp_path


def write(folder: Path, file: str, name: str = "mine", body: str = "", what: str = "Mine") -> None:
    (folder / f"{file}.py").write_text(MODEL.format(name=name, body=body, what=what))


def find(name: str) -> plugins.Plugin:
    return next(p for p in plugins.catalogue().plugins if p.name == name)


def test_installed_plugins_and_files_are_found_with_what_they_bring(folder: Path) -> None:
    write(folder, "extra")
    assert "logistic" in find("sklearn").models and find("sklearn").datasets == ["digits"]
    assert find("extra").models == ["mine"] and find("extra").hooks == ["register_models"]
    assert plugins.model("mine").__name__ == "Mine"
    assert find("keras").label.startswith("zoo-keras ")


def test_a_changed_file_is_another_version(folder: Path) -> None:
    write(folder, "extra")
    before = find("extra").version
    plugins.catalogue.cache_clear()
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
)
def test_a_broken_plugin_is_listed_with_its_reason_and_the_others_work(
    folder: Path, source: str, why: str
) -> None:
    (folder / "bad.py").write_text(source)
    write(folder, "good", name="fine")
    assert why in find("bad").error, find("bad").error
    assert {"fine", "logistic", "dense-softmax"} <= set(plugins.catalogue().models)


def test_what_a_plugin_prints_does_not_reach_stdout(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "loud.py").write_text("print('hello')")
    plugins.catalogue()
    assert capsys.readouterr().out == ""


def test_plugins_can_be_narrowed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(folder, "extra")
    monkeypatch.setenv("ZOO_PLUGINS", "extra")
    assert list(plugins.catalogue().models) == ["mine"]
    plugins.catalogue.cache_clear()
    monkeypatch.setenv("ZOO_PLUGINS", "")
    assert plugins.catalogue().plugins == []


def test_an_unknown_model_is_refused_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="Did you mean 'logistic'"):
        plugins.model("logistics")


def test_a_card_has_what_a_terminal_without_the_plugin_needs() -> None:
    card = next(card for card in plugins.cards() if card["name"] == "logistic")
    assert card["schema"]["properties"]["max_iter"]["default"] == 5
    assert card["summary"] and card["plugin"].startswith("zoo-sklearn ")


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
        plugins.catalogue.cache_clear()
        assert f"'{plugins.model('mine').layout}'" == layout.strip()
