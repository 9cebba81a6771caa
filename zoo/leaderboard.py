"""The best result of each model: on test images, and in cross-validation, never in one column."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from zoo import jobs
from zoo.jobs import Database, Group, Job


def rows(db: Database, *, datasets: Sequence[str] = ()) -> list[dict[str, Any]]:
    """One row per dataset and model, the most accurate on test images first.

    {"dataset", "model", "test": {"job", "accuracy", ...}, "cv": {"group", "mean", "std", ...}},
    each of the last two None where there is no such result.
    """
    done = jobs.listing(db, statuses=["succeeded"], datasets=datasets, limit=100_000)
    groups = {job.group for job in done if job.group}
    tested = [job for job in done if not job.group and job.spec.get("split") == "test"]
    found: dict[tuple[str, str], dict[str, Any]] = {}
    # Oldest first, so that an evaluation that only repeats a training's number does not replace it.
    for job in reversed(tested):
        row = _row(found, job)
        if row["test"] is None or job.metrics["accuracy"] > row["test"]["accuracy"]:
            row["test"] = _test(job)
    for group in (jobs.get_group(db, each) for each in sorted(groups)):
        if group.kind == "cv" and group.status == "succeeded":
            row = _row(found, group.jobs[0])
            if row["cv"] is None or group.metrics()["accuracy"]["mean"] > row["cv"]["mean"]:
                row["cv"] = _cross_validation(group)
    return sorted(found.values(), key=_order)


def _row(found: dict[tuple[str, str], dict[str, Any]], job: Job) -> dict[str, Any]:
    empty: dict[str, Any] = {"dataset": job.dataset, "model": job.model, "test": None, "cv": None}
    return found.setdefault((job.dataset, job.model), empty)


def _test(job: Job) -> dict[str, Any]:
    kept = ("accuracy", "loss", "n_images", "fit_seconds", "parameters")
    return {"job": job.id, "params": job.spec["params"], "kind": job.kind} | {
        name: job.metrics[name] for name in kept if name in job.metrics
    }


def _cross_validation(group: Group) -> dict[str, Any]:
    params = group.jobs[0].spec["params"]
    accuracy: dict[str, Any] = group.metrics()["accuracy"]
    return {"group": group.id, "params": params} | accuracy


def _order(row: dict[str, Any]) -> tuple[str, float]:
    best = row["test"]["accuracy"] if row["test"] else -1.0
    return row["dataset"], -best


def changed(params: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    """The params that are not the model's defaults."""
    return {name: value for name, value in params.items() if defaults.get(name) != value}


def best(found: Iterable[dict[str, Any]]) -> dict[str, Any] | None:
    """The first row that has a test result."""
    return next((row for row in found if row["test"]), None)
