"""The best result of each model: on test images, and in cross-validation, never in one column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from zoo import jobs
from zoo.jobs import Best, Database, Filter, Group, Job

SAME = ("n_images", "parameters", "weights_bytes")
"""Numbers that are the same in each job of a group."""
KEPT = ("accuracy", "loss", "fit_seconds", "predict_us_per_image", *SAME)


def rows(
    db: Database, wanted: Filter | None = None, *, by: Sequence[str] = ()
) -> list[dict[str, Any]]:
    """The best test result and the best cross-validation of each model, the most accurate first.

    {"dataset", "contents", "is_newest", "model", "by", "params", "changed", "classes",
    "published", "test": {"job" or "group", "accuracy", ...} or None, "cv": {"group", "mean",
    "std", "values", ...} or None}. With names in `by`, such as `params.epochs`, of each value of
    them. Results on different contents of a dataset, told apart by the fingerprint `contents`,
    are ranked apart: the newest first, older ones marked by `is_newest`; a result that does not
    know its contents (None) stands by itself. A group of seeds counts by its mean, never by its
    luckiest seed, and so does each trial of a sweep. Test and cross-validation stand in one row
    only if they have the same params. `published` is what a job says that it reproduces. Models
    of fewer classes, whose task is another, come last. Raises UsageError for a name in `by` that
    is not known.
    """
    found: list[tuple[Best, dict[str, Any]]] = []
    sides: list[tuple[Job | Group | None, Group | None]]
    for each in jobs.best(db, wanted or Filter(), by=by):
        test, cv = each.test, each.cv
        known = dict(zip(by, each.by, strict=True))
        sides = [(test, None), (None, cv)]
        if test and cv and _recipe(test) == _recipe(cv):
            sides = [(test, cv)]
        found += [(each, _row(*pair, known) | _contents(each)) for pair in sides if any(pair)]
    return [row for _, row in sorted(found, key=lambda pair: _order(*pair))]


def _contents(best: Best) -> dict[str, Any]:
    return {"contents": best.contents, "is_newest": best.is_newest}


def test_error(row: Mapping[str, Any]) -> float | None:
    """Return the share of test images that are wrong; None for a cross-validation alone.

    Folds are rows of the training split, so their error stands in no column of test errors.
    """
    return None if row["test"] is None else float(1 - row["test"]["accuracy"])


def mark(row: Mapping[str, Any]) -> str:
    """Say in a word or two that a row is about older contents; nothing if they are the newest."""
    if row["is_newest"]:
        return ""
    return f"older {row['contents'][:8]}" if row["contents"] else "unknown"


def mark_job(job: Job, newest: Mapping[str, str | None]) -> str:
    """Mark a job as `mark` does; `newest` is what `jobs.newest_contents` gives."""
    is_newest = job.contents == newest.get(job.dataset, job.contents)
    return mark({"contents": job.contents, "is_newest": is_newest})


def _first(result: Job | Group) -> Job:
    return result.jobs[0] if isinstance(result, Group) else result


def _recipe(result: Job | Group) -> tuple[Any, ...]:
    spec = _first(result).spec
    return spec["params"], spec.get("preprocess")


def _row(test: Job | Group | None, cv: Job | Group | None, by: dict[str, Any]) -> dict[str, Any]:
    job = _first(test or cv)  # type: ignore[arg-type]
    return {
        "dataset": job.dataset,
        "model": job.model,
        "by": by,
        "params": job.spec["params"],
        "changed": job.changed,
        "classes": len(job.per_class),
        "published": job.spec.get("published"),
        "test": _test(test) if test else None,
        "cv": _validated(cv) if isinstance(cv, Group) else None,
    }


def _test(result: Job | Group) -> dict[str, Any]:
    """A job's numbers, or the means of a group's with the spread of its accuracies."""
    if isinstance(result, Job):
        return {"job": result.id} | {name: result.number(name) for name in KEPT}
    spread = {name: result.metrics()["accuracy"][name] for name in ("std", "values")}
    return {"group": result.id} | _means(result) | spread


def _validated(group: Group) -> dict[str, Any]:
    accuracy: dict[str, Any] = group.metrics()["accuracy"]
    means = {name: _means(group)[name] for name in ("fit_seconds", "parameters")}
    return {"group": group.id} | accuracy | means


def _means(group: Group) -> dict[str, Any]:
    found = group.metrics()
    means = {name: found[name]["mean"] if name in found else None for name in KEPT}
    return means | {name: group.jobs[0].number(name) for name in SAME}


def _order(best: Best, row: dict[str, Any]) -> tuple[str, bool, float, int, float]:
    """By dataset; of one, the newest contents first; then by classes and accuracy."""
    accuracy = row["test"]["accuracy"] if row["test"] else row["cv"]["mean"]
    return best.dataset, not best.is_newest, -best.since, -row["classes"], -accuracy
