"""The best result of each model: on test images, and in cross-validation, never in one column."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from zoo import jobs
from zoo.jobs import Database, Filter, Group, Job


def rows(db: Database, *, datasets: Sequence[str] = ()) -> list[dict[str, Any]]:
    """The best test result and the best cross-validation of each model, the most accurate first.

    {"dataset", "model", "params", "changed", "classes", "test": {"job" or "group", "accuracy", ...}
    or None, "cv": {"group", "mean", "std", "values"} or None}. A group of seeds counts by its mean,
    never by its luckiest seed, and so does each trial of a sweep. Test and cross-validation stand
    in one row only if they have the same params. Models of fewer classes, whose task is another,
    come last.
    """
    found = []
    for each in jobs.best(db, Filter(datasets=datasets)):
        test, cv = each.test, each.cv
        if test and cv and _first(test).spec["params"] == _first(cv).spec["params"]:
            found.append(_row(test, cv))
            continue
        found += [_row(test, None)] if test else []
        found += [_row(None, cv)] if cv else []
    return sorted(found, key=_order)


def _first(result: Job | Group) -> Job:
    return result.jobs[0] if isinstance(result, Group) else result


def _row(test: Job | Group | None, cv: Job | Group | None) -> dict[str, Any]:
    job = _first(test or cv)  # type: ignore[arg-type]
    return {
        "dataset": job.dataset,
        "model": job.model,
        "params": job.spec["params"],
        "changed": job.changed,
        "classes": len(job.metrics["per_class"]),
        "test": _test(test) if test else None,
        "cv": {"group": cv.id} | cv.metrics()["accuracy"] if isinstance(cv, Group) else None,
    }


def _test(result: Job | Group) -> dict[str, Any]:
    """A job's numbers, or the means of a group's with the spread of its accuracies."""
    same = ("n_images", "parameters", "weights_bytes")
    kept = ("accuracy", "loss", "fit_seconds", "predict_us_per_image", *same)
    if isinstance(result, Job):
        return {"job": result.id} | {name: result.metrics.get(name) for name in kept}
    found = result.metrics()
    means = {name: found[name]["mean"] if name in found else None for name in kept}
    means |= {name: result.jobs[0].metrics.get(name) for name in same}
    spread = {name: found["accuracy"][name] for name in ("std", "values")}
    return {"group": result.id} | means | spread


def _order(row: dict[str, Any]) -> tuple[str, int, float]:
    accuracy = row["test"]["accuracy"] if row["test"] else row["cv"]["mean"]
    return row["dataset"], -row["classes"], -accuracy
