"""The best result of each model: on test images, and in cross-validation, never in one column."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from zoo import jobs
from zoo.jobs import Database, Group, Job

Key = tuple[str, str]
"""Dataset and model."""


def rows(db: Database, *, datasets: Sequence[str] = ()) -> list[dict[str, Any]]:
    """The best test result and the best cross-validation of each model, the most accurate first.

    {"dataset", "model", "params", "changed", "classes", "test": {"job", "accuracy", ...} or None,
    "cv": {"group", "mean", "std", "values"} or None}. Both stand in one row only if they have the
    same params. Models of fewer classes, whose task is another, come last.
    """
    done = jobs.listing(db, statuses=["succeeded"], datasets=datasets, limit=100_000)
    tested = _best_tests(done)
    validated = _best_groups(db, done)
    found = []
    for key in sorted(tested.keys() | validated.keys()):
        test, group = tested.get(key), validated.get(key)
        if test and group and test.spec["params"] == group.jobs[0].spec["params"]:
            found.append(_row(test, test, group))
            continue
        found += [_row(test, test, None)] if test else []
        found += [_row(group.jobs[0], None, group)] if group else []
    return sorted(found, key=_order)


def _best_tests(done: Sequence[Job]) -> dict[Key, Job]:
    found: dict[Key, Job] = {}
    # Oldest first, so that an evaluation that only repeats a training's number does not replace it.
    for job in reversed(done):
        if not job.spec["fold"] and job.spec["split"] == "test":
            best = found.setdefault((job.dataset, job.model), job)
            if job.metrics["accuracy"] > best.metrics["accuracy"]:
                found[job.dataset, job.model] = job
    return found


def _best_groups(db: Database, done: Sequence[Job]) -> dict[Key, Group]:
    found: dict[Key, Group] = {}
    for each in sorted({job.group for job in done if job.group}):
        group = jobs.get_group(db, each)
        if group.kind == "cv" and group.status == "succeeded":
            key = (group.jobs[0].dataset, group.jobs[0].model)
            if _mean(group) > _mean(found.setdefault(key, group)):
                found[key] = group
    return found


def _mean(group: Group) -> float:
    return float(group.metrics()["accuracy"]["mean"])


def _row(job: Job, test: Job | None, group: Group | None) -> dict[str, Any]:
    kept = ("accuracy", "loss", "n_images", "fit_seconds", "parameters")
    return {
        "dataset": job.dataset,
        "model": job.model,
        "params": job.spec["params"],
        "changed": job.changed,
        "classes": len(job.metrics["per_class"]),
        "test": {"job": test.id} | {name: test.metrics.get(name) for name in kept}
        if test
        else None,
        "cv": {"group": group.id} | group.metrics()["accuracy"] if group else None,
    }


def _order(row: dict[str, Any]) -> tuple[str, int, float]:
    accuracy = row["test"]["accuracy"] if row["test"] else row["cv"]["mean"]
    return row["dataset"], -row["classes"], -accuracy
