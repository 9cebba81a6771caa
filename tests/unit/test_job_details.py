"""What `zoo show` says of a training: its rows to choose by, its curves, and how it ended."""

from __future__ import annotations

from typing import Any

import pytest
from helpers.finished_jobs import a_spec, claim, folds, succeed
from typer.testing import CliRunner

from zoo import jobs
from zoo.cli.main import app
from zoo.errors import UsageError
from zoo.jobs import Database, Outcome, ProgressUpdate
from zoo.results.leaderboard import leaderboard_rows


def shown(ref: str, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The lines of `zoo show`, without their indentation."""
    monkeypatch.setenv("COLUMNS", "120")
    done = CliRunner().invoke(app, ["show", ref])
    assert done.exit_code == 0, done.output
    return [" ".join(line.split()) for line in done.stdout.splitlines()]


def test_the_rows_to_choose_by_are_named_with_what_was_measured_on_them(
    here: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = {"n_validation": 6000, "val_accuracy": 0.75, "val_loss": 0.5, "loss": 0.25}
    spec = a_spec(validation=0.1, class_weight="balanced", positive="b")
    lines = shown(succeed(here, [spec], metrics=told), monkeypatch)
    assert "validation 0.1 of the training rows (6,000)" in lines
    assert {"class weight balanced", "positive b"} <= set(lines)
    assert any(line.startswith("on validation accuracy 0.75") for line in lines)
    own = shown(succeed(here, [a_spec()], metrics={"n_validation": 12}), monkeypatch)
    assert "validation 12 rows of the dataset's own split" in own
    assert not [line for line in own if line.startswith(("class weight", "ended early"))]


def test_metrics_of_plugins_stand_beside_those_of_zoo(
    here: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = {"accuracy": 0.5, "cohen_kappa": 0.625, "val_cohen_kappa": 0.25, "undefined": None}
    last = {"train_loss": 0.1, "norm": 7.5}
    (job,), _ = jobs.add(here, [a_spec()])
    done = Outcome("succeeded", told | last, "where", "0" * 64)
    assert jobs.finish(here, claim(here), done, ProgressUpdate(steps=[(1, last)]))
    lines = shown(job, monkeypatch)
    assert lines.index("cohen_kappa 0.6250") == lines.index("accuracy 0.5000") + 1
    assert "on validation cohen_kappa 0.2500" in lines
    assert not [line for line in lines if line.startswith(("norm", "undefined"))]


@pytest.mark.parametrize(
    ("metrics", "ending"),
    [
        ({"ended_early": "no better for 5 epochs"}, "no better for 5 epochs"),
        ({"stopped_early": True, "ended_early": "enough"}, "stopped on request"),
        ({"ended_early": 5}, ""),
    ],
)
def test_an_early_end_is_said_with_its_reason(
    here: Database, monkeypatch: pytest.MonkeyPatch, metrics: dict[str, Any], ending: str
) -> None:
    job = succeed(here, [a_spec()], metrics=metrics)
    assert jobs.get(here, job).ending == ending
    lines = [line for line in shown(job, monkeypatch) if line.startswith("ended early")]
    assert lines == ([f"ended early {ending}"] if ending else [])


@pytest.mark.parametrize("n_steps", [3, 12])
def test_curves_of_training_and_validation_rows_are_side_by_side_on_one_scale(
    here: Database, monkeypatch: pytest.MonkeyPatch, n_steps: int
) -> None:
    (job,), _ = jobs.add(here, [a_spec()])
    values = {"train_accuracy": 0.0, "train_loss": 0.0, "val_accuracy": 7.0, "val_loss": 0.0}
    ends = values | {"train_accuracy": 1.0, "val_accuracy": 6.0, "val_loss": 1.0}
    steps = [(n, values if n < n_steps else ends) for n in range(1, n_steps + 1)]
    update = ProgressUpdate(steps=steps)
    assert jobs.finish(here, claim(here), Outcome("cancelled"), update)
    lines = shown(job, monkeypatch)
    names = ["train_accuracy", "val_accuracy", "train_loss", "val_loss"]
    if n_steps == 3:
        assert " ".join(["step", *names]) in lines
        assert "▁▁▂ ██▇ ▁▁▁ ▁▁█" in lines
    else:
        found = [line.split() for line in lines if line.split()[:1] and line.split()[0] in names]
        assert [line[0] for line in found] == names
        assert [line[2][-2:] for line in found] == ["▁▂", "█▇", "▁▁", "▁█"]


def test_a_ranking_says_how_a_model_was_prepared_and_chosen(
    here: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = a_spec(preprocess="deskew", validation=0.1, changed=["a"])
    succeed(here, [spec])
    _, row = leaderboard(monkeypatch)
    assert row.endswith("preprocess=deskew validation=0.1 a=1")
    (found,) = leaderboard_rows(here)
    assert found.to_json()["options"] == {"preprocess": "deskew", "validation": 0.1}


def test_a_cross_validation_stands_beside_a_test_result_of_the_same_options(
    here: Database,
) -> None:
    succeed(here, [a_spec(validation=0.1)])
    succeed(here, folds(2), kind="cv", accuracies=[0.5, 0.6])
    assert [bool(row.test and row.cv) for row in leaderboard_rows(here)] == [False, False]
    succeed(here, folds(2, validation=0.1), kind="cv", accuracies=[0.8, 0.8])
    assert [bool(row.test and row.cv) for row in leaderboard_rows(here)] == [True]


def test_a_stopped_training_is_not_verified(here: Database) -> None:
    job = succeed(here, [a_spec()], metrics={"stopped_early": True})
    refused = CliRunner().invoke(app, ["verify", job]).exception
    assert isinstance(refused, UsageError) and "was stopped on request" in refused.message
    assert "zoo rerun" in refused.hint


def leaderboard(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setenv("COLUMNS", "200")
    done = CliRunner().invoke(app, ["leaderboard"])
    assert done.exit_code == 0, done.output
    return [line.rstrip() for line in done.stdout.splitlines()]
