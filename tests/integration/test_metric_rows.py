"""Rows of metrics: written with the result, and by the upgrade for results of before."""

from __future__ import annotations

from typing import Any

import pytest
from helpers.job_rows import spec

from zoo import jobs
from zoo.errors import UsageError
from zoo.jobs import Database, Outcome, metric_rows, schema
from zoo.jobs.cards import Card
from zoo.jobs.worker_rows import NewWorker

MATRIX = [[6, 2], [1, 1]]
DERIVED = {
    "balanced_accuracy": pytest.approx((6 / 8 + 1 / 2) / 2),
    "f1_macro": pytest.approx((12 / 15 + 2 / 5) / 2),
    "matthews_corrcoef": pytest.approx((6 * 1 - 2 * 1) / (8 * 2 * 7 * 3) ** 0.5),
}


def finish(db: Database, metrics: dict[str, Any], status: str = "succeeded") -> str:
    """Add a job, claim it and end it with these metrics."""
    jobs.add(db, [spec()])
    models = {"logistic": "p"}
    taken = jobs.claim(db, pool="default", models=models, datasets=["digits"], worker="w", lease=60)
    assert taken
    outcome = (
        Outcome("succeeded", metrics, "a/1", "0" * 64)
        if status == "succeeded"
        else Outcome(status, metrics, error_code="exception", error="no")
    )
    assert jobs.finish(db, taken[0], outcome)
    return taken[1].id


def stored(db: Database, job_id: str) -> dict[str, float]:
    with db.read() as rows:
        found = rows.all("SELECT name, value FROM metric WHERE job_id = :id", {"id": job_id})
    return {row["name"]: row["value"] for row in found}


def test_a_result_has_a_row_for_each_finite_number(db: Database) -> None:
    odd = {"loss": None, "classes": ["a"], "is": True, "text": "1", "big": 10**400, "a\0": 1.0}
    done = finish(db, {"accuracy": 0.5, "parameters": 7, "roc auc": -1.5} | odd)
    assert stored(db, done) == {"accuracy": 0.5, "parameters": 7.0, "roc auc": -1.5}
    assert stored(db, finish(db, {"accuracy": 0.5}, "failed")) == {}


def test_an_upgrade_fills_the_rows_of_earlier_results(db: Database) -> None:
    from alembic import command

    old = finish(db, {"accuracy": 0.7, "classes": ["\0", "b"], "confusion_matrix": MATRIX})
    odd = finish(db, {"accuracy": 0.7, "confusion_matrix": [["a"]]})
    failed = finish(db, {"accuracy": 0.7}, "failed")
    with schema.locked(db) as config:
        command.downgrade(config, "8")
    jobs.upgrade(db)
    assert stored(db, old) == {"accuracy": 0.7, **DERIVED}
    assert (stored(db, odd), stored(db, failed)) == ({"accuracy": 0.7}, {})
    assert {name: jobs.get(db, old).number(name) for name in DERIVED} == DERIVED


def test_a_metric_to_rank_by_is_one_that_a_job_has_and_whose_direction_is_known(
    db: Database,
) -> None:
    def objective(name: str) -> Any:
        with db.read() as rows:
            return metric_rows.objective(rows, name)

    with pytest.raises(UsageError, match=r"'f1_macro' to rank by.*No job has succeeded yet"):
        objective("f1_macro")
    finish(db, {"accuracy": 0.5, "loss": 0.1, "val_loss": 0.2, "epochs": 3, "errors": 4})
    with pytest.raises(UsageError, match=r"'f1' to rank by.*There are accuracy, loss, val_loss"):
        objective("f1")
    with pytest.raises(UsageError, match="'errors' to rank by"):
        objective("errors")
    card = Card("logistic", "p 1", metrics={"errors": {"higher_is_better": False}})
    jobs.register_worker(db, NewWorker("w", "w", "h", 1, "default", 1, "1", [card]))
    found = [objective(name) for name in ("accuracy", "val_loss", "errors")]
    assert [each.higher_is_better for each in found] == [True, False, False]
    with db.read() as rows:
        names = ["accuracy", "epochs", "errors", "loss", "val_loss"]
        assert metric_rows.names(rows) == names
