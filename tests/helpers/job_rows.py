"""Rows of jobs that have ended, made by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from zoo import jobs
from zoo.job_spec import JobSpec
from zoo.jobs import Database, Outcome, ProgressUpdate, QueueOptions
from zoo.jobs.environments import Environment


def spec(**changes: Any) -> JobSpec:
    base = JobSpec(kind="train", model="logistic", params={}, dataset="digits")
    return base.model_copy(update=changes)


def add(
    db: Database,
    specs: Sequence[JobSpec],
    *,
    after: Mapping[str, bool] | None = None,
    **options: Any,
) -> tuple[list[str], str | None]:
    """Add jobs with the options of `QueueOptions` and of `jobs.add`.

    `after` maps the id of each job to wait for to whether any end of it satisfies.
    """
    names = [each.name for each in fields(QueueOptions)]
    mine = {name: options.pop(name) for name in names if name in options}
    waits = after or {}
    queue = QueueOptions(
        **mine,
        after=[ref for ref, any_end in waits.items() if not any_end],
        after_any=[ref for ref, any_end in waits.items() if any_end],
    )
    return jobs.add(db, specs, queue, **options)


def done(
    db: Database, specs: Sequence[JobSpec], accuracies: Sequence[float], **options: Any
) -> list[str]:
    """Add jobs that have ended with these accuracies."""
    ids, _ = add(db, specs, **options)
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
        assert jobs.finish(
            db, taken[0], outcome, ProgressUpdate(environment=Environment(data=contents))
        )
