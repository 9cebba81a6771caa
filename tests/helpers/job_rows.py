"""Rows of jobs that have ended, made by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from zoo import jobs
from zoo.job_spec import JobSpec
from zoo.jobs import Database, Outcome, ProgressUpdate


def spec(**changes: Any) -> JobSpec:
    base = JobSpec(kind="train", model="logistic", params={}, dataset="digits")
    return base.model_copy(update=changes)


def done(
    db: Database, specs: Sequence[JobSpec], accuracies: Sequence[float], **options: Any
) -> list[str]:
    """Add jobs that have ended with these accuracies."""
    ids, _ = jobs.add(db, specs, **options)
    end(db, accuracies)
    return ids


def end(db: Database, accuracies: Sequence[float | None], contents: str | None = "d" * 64) -> None:
    """Claim and end the oldest queued jobs; None fails one. `contents` are those they saw."""
    models = {"logistic": "p", "dense-softmax": "p"}
    for accuracy in accuracies:
        taken = jobs.claim(
            db, pool="default", models=models, datasets=["digits", "mnist"], worker="w", lease=60
        )
        assert taken is not None
        outcome = (
            Outcome("failed", error_code="exception", error="no")
            if accuracy is None
            else Outcome("succeeded", {"accuracy": accuracy, "loss": 0.5}, "a/1", "0" * 64)
        )
        assert jobs.finish(db, taken[0], outcome, ProgressUpdate(environment={"data": contents}))
