"""Results of before metrics were measured get them from their stored predictions."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.finished_jobs import a_spec, succeed
from helpers.report_jobs import predictions
from zoo_workers import earlier_metrics
from zoo_workers.earlier_metrics import EarlierMetrics

from zoo import jobs, settings
from zoo.jobs import Database
from zoo.jobs.ranking import best
from zoo.training.evaluation import Predictions, measure

LABELS, PREDICTED = [0, 0, 1, 1], [0, 1, 1, 1]
PROBABILITIES = np.array([[0.9, 0.1], [0.3, 0.7], [0.4, 0.6], [0.05, 0.95]], "float32")
MEASURED = measure(
    np.array(LABELS), Predictions(np.array(PREDICTED), PROBABILITIES, 0.0), ["0", "1"]
)


@pytest.fixture
def fill(db: Database, home: Path, monkeypatch: pytest.MonkeyPatch) -> EarlierMetrics:
    home.mkdir()
    monkeypatch.setattr(earlier_metrics, "PAUSE_SECONDS", 0)
    monkeypatch.setattr(earlier_metrics, "WINDOW", 2)
    return EarlierMetrics(db, settings.load(), lambda: False)


def add(db: Database, *, probabilities: Any = PROBABILITIES, **metrics: Any) -> str:
    """Add a result as a worker of before has stored it."""
    arrays = {"index": range(4), "label": LABELS, "predicted": PREDICTED}
    if probabilities is not None:
        arrays["probabilities"] = probabilities
    url = settings.load().artifacts
    files = predictions(**{name: np.array(each) for name, each in arrays.items()})
    return succeed(db, [a_spec()], artifacts_url=url, files=files, metrics=metrics)


def test_earlier_results_get_the_metrics_of_their_predictions_once(
    db: Database, fill: EarlierMetrics
) -> None:
    old, unsure = add(db, f1_macro=0.125), add(db, probabilities=None)
    gone = add(db)
    shutil.rmtree(Path(settings.load().artifacts) / gone)
    new = add(db, expected_calibration_error=None)
    assert fill.measure_all() == 2
    found = jobs.get(db, old).metrics
    for name in ("roc_auc", "average_precision", "expected_calibration_error"):
        assert found[name] == pytest.approx(MEASURED[name])
    assert found["balanced_accuracy"] == MEASURED["balanced_accuracy"]
    assert (found["f1_macro"], found["accuracy"]) == (0.125, 0.9), "what was there stays"
    with db.read() as rows:
        stored = rows.all("SELECT name, value FROM metric WHERE job_id = :id", {"id": old})
        text = rows.value("SELECT metrics FROM job WHERE id = :id", {"id": unsure})
    assert {row["name"]: row["value"] for row in stored} == {
        name: value for name, value in found.items() if isinstance(value, float)
    }
    assert json.loads(text)["roc_auc"] is None
    assert "roc_auc" not in jobs.get(db, new).metrics
    (result,) = best(db, metric="roc_auc")
    assert result.test and result.test.id == old
    assert fill.measure_all() == 0
