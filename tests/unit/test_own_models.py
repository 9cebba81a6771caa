"""Errors shown to the author of a model: the line at fault, and what to change or install."""

from __future__ import annotations

import sys
import traceback
from pathlib import Path
from unittest.mock import Mock

import pytest
from helpers.finished_jobs import a_spec
from helpers.plugin_files import write
from typer.testing import CliRunner
from zoo_workers import runner_main

from zoo.cli.in_process import run_here
from zoo.cli.main import app
from zoo.data import takes
from zoo.errors import UsageError
from zoo.jobs import Worker
from zoo.jobs.cards import Card
from zoo.plugins import registry
from zoo.queue import catalogue

FIT = """
    def fit(self, x, y, report):
        [][1]
"""


@pytest.fixture
def folder(home: Path) -> Path:
    (home / "plugins").mkdir(parents=True, mode=0o700)
    return home / "plugins"


def test_an_error_of_fit_names_its_line_and_its_traceback_begins_there(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write(folder, "own", body=FIT)
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
    with pytest.raises(IndexError) as raised:
        run_here([a_spec(model="mine", dataset="digits", params={})], as_json=False)
    source = registry.source_of("mine")
    told = runner_main.failure(raised.value, "files", source)["error"]
    where = f"{folder / 'own.py'}:8"
    expected = f"IndexError: list index out of range ({where}). The traceback is in its log."
    assert told == expected
    sys.excepthook(IndexError, raised.value, raised.value.__traceback__)
    shown = capsys.readouterr().err
    assert shown.count("  File ") == 1 and 'own.py", line 8, in fit' in shown
    # Of an error elsewhere everything is shown.
    with pytest.raises(ZeroDivisionError) as other:
        _ = 1 / 0
    assert runner_main.failure(other.value, "files", source)["error"].startswith(
        "ZeroDivisionError: division by zero. The"
    )
    assert len(traceback.extract_tb(other.value.__traceback__)) == 1


def test_a_model_of_images_says_where_it_would_take_tables(folder: Path) -> None:
    write(folder, "own")
    table = Mock(kind="table", **{"describe_shape.return_value": "4 columns"})
    with pytest.raises(UsageError) as told:
        takes.check_inputs(takes.Takes.of(registry.model("mine")), table, "none")
    assert told.value.hint.endswith('tables. In own.py: takes = ("image", "table").')


def test_a_plugin_that_has_broken_is_named_before_a_job_is_queued(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "own.py").write_text("x = = 3\n")
    shown = CliRunner().invoke(app, ["models"])
    assert "The plugin own is broken: SyntaxError: invalid syntax" in shown.stderr
    # The worker that runs has it as it was.
    card = Card("mine", "own 0123456789ab")
    worker = Worker("a", "a", "h", 1, "default", 1, 0, "online", "1", [card], 0.0, 0.0)
    monkeypatch.setattr(catalogue, "workers", lambda: [worker])
    with pytest.raises(UsageError, match=r"'mine' cannot be loaded here: SyntaxError.*own.py:1"):
        catalogue.model("mine")
    # In a team others have it.
    monkeypatch.setenv("ZOO_BROKER_URL", "redis://elsewhere")
    assert catalogue.model("mine").card is card
