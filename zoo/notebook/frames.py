"""Records as DataFrames with typed columns; missing values are missing, not text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from zoo.errors import ZooError
from zoo.jobs import Job
from zoo.jobs.records import finite
from zoo.queue.catalogue import Offer
from zoo.results.leaderboard import LeaderboardRow

if TYPE_CHECKING:
    from pandas import DataFrame, Series

OWN = ("submitted_by", "name", "note")
TEXTS = ("id", "kind", "model", "dataset", "status", "group", "pool", "worker", "error", *OWN)
TIMES = ("created_at", "started_at", "finished_at")
SPANS = {"waited": ("created_at", "started_at"), "took": ("started_at", "finished_at")}
"""The times between two times."""
WHOLE = ("seed", "fold", "attempt", "priority")
COUNTS = ("n_images", "parameters", "weights_bytes")
"""Metrics that are integers."""
COLUMNS = (
    *("id", "kind", "model", "dataset", "split", "preprocess", "status", "accuracy", "loss"),
    *("validation", "class_weight", "seed", "fold", "group", "tags"),
    *("created_at", "started_at", "finished_at", "waited", "took"),
    *(
        "submitted_by",
        "name",
        "note",
        "pinned",
        "attempt",
        "pool",
        "priority",
        "worker",
        "plugin",
        "fingerprint",
        "error",
    ),
)
"""The first columns of every DataFrame of jobs; other metrics and the params follow."""


def jobs_frame(found: Sequence[Job]) -> DataFrame:
    """Return one row per job: COLUMNS, other metrics, and `params.NAME`."""
    pd = _pandas()
    records = [_record(job) for job in found]
    names = list(COLUMNS)
    for prefix in ("", "params."):
        several = (n for r in records for n in r if n.startswith("params.") == bool(prefix))
        names += [name for name in dict.fromkeys(several) if name not in COLUMNS]
    frame = pd.DataFrame.from_records(records, columns=names)
    for name in TIMES:
        frame[name] = _times(frame[name])
    for name, (begin, end) in SPANS.items():
        frame[name] = frame[end] - frame[begin]
    for name in (*WHOLE, *(n for n in COUNTS if n in frame)):
        frame[name] = frame[name].astype("Int64")
    texts = ("split", "preprocess", "class_weight", "plugin", "fingerprint")
    numbers = ("accuracy", "loss", "validation")
    # Fixed types, also for an empty frame or column.
    fixed = dict.fromkeys((*TEXTS, *texts), "str") | dict.fromkeys(numbers, "float64")
    return frame.astype(fixed | {"pinned": "bool"})


def _times(seconds: Series) -> Series:
    """Return seconds since 1970 as datetimes, UTC."""
    # A wrong clock may give times outside the calendar: they become missing values.
    given = seconds.astype("float64")
    at = _pandas().to_datetime(given, unit="s", utc=True, errors="coerce")
    return at.dt.as_unit("us")


def _record(job: Job) -> dict[str, Any]:
    spec = job.spec
    record: dict[str, Any] = {name: getattr(job, name) for name in (*TEXTS, *TIMES)}
    others = ("tags", "pinned", "attempt", "priority", "fingerprint")
    record |= {name: getattr(job, name) for name in others}
    names = ("split", "preprocess", "validation", "class_weight", "seed", "plugin")
    record |= {name: spec.get(name) for name in names}
    record["fold"] = (spec.get("fold") or {}).get("index")
    for name, value in job.metrics.items():
        # Lists and tables are left to `zoo.get_job(...).metrics`.
        is_whole = isinstance(value, int) and abs(value) < 2**63
        if finite(value) is not None and (is_whole or name not in COUNTS):
            record[f"metrics.{name}" if name in record else name] = value
    return record | {f"params.{name}": value for name, value in spec["params"].items()}


def steps_frame(steps: Sequence[Mapping[str, Any]]) -> DataFrame:
    """Return one row per step, which is the index, and one column per metric; the time in `at`.

    `steps` is as returned by `jobs.timed_steps`.
    """
    records = [{"step": s["step"]} | s["metrics"] for s in steps]
    names = dict.fromkeys(name for record in records for name in record) or ["step"]
    frame = _pandas().DataFrame.from_records(records, columns=[*names])
    if "at" not in names:  # no metric is called so
        at = [s["at"] for s in steps]
        frame["at"] = _times(_pandas().Series(at, index=frame.index, dtype="float64"))
    return frame.set_index("step")


def leaderboard_frame(rows: Sequence[LeaderboardRow]) -> DataFrame:
    """Return one row per row of the leaderboard; test and cross-validation in columns of their own.

    `value` is that of `metric`, by which the row is ranked. `contents` is the fingerprint of the
    images and labels, `is_newest` whether the dataset's name still means them.
    """
    by = list(dict.fromkeys(name for row in rows for name in row.by))
    columns = [
        *("dataset", "model", *by, "accuracy", "std", "cv_accuracy", "cv_std", "loss"),
        *("metric", "value", "value_std", "cv_value", "cv_value_std"),
        *("fit_time", "parameters", "classes", "published_error", "job", "group", "cv_group"),
        *("params", "contents", "is_newest"),
    ]
    frame = _pandas().DataFrame.from_records([_flat(row) for row in rows], columns=columns)
    numbers = (
        *("accuracy", "std", "cv_accuracy", "cv_std", "loss", "published_error"),
        *("value", "value_std", "cv_value", "cv_value_std"),
    )
    types = dict.fromkeys(numbers, "float64") | dict.fromkeys(("parameters", "classes"), "Int64")
    frame["fit_time"] = _pandas().to_timedelta(frame["fit_time"].astype("float64"), unit="s")
    return frame.astype(types | {"is_newest": "bool"})


def _flat(row: LeaderboardRow) -> dict[str, Any]:
    test, cv = row.test, row.cv
    return {
        # A value that the job does not have is JSON's null.
        **{name: None if value == "null" else value for name, value in row.by.items()},
        "dataset": row.dataset,
        "model": row.model,
        "accuracy": test.accuracy if test else None,
        "std": test.std if test else None,
        "loss": test.loss if test else None,
        "metric": row.objective.metric,
        "value": test.value.mean if test else None,
        "value_std": test.value.std if test else None,
        "cv_value": cv.value.mean if cv else None,
        "cv_value_std": cv.value.std if cv else None,
        "job": test.id if test and not test.is_group else None,
        "group": test.id if test and test.is_group else None,
        "cv_accuracy": cv.accuracy if cv else None,
        "cv_std": cv.std if cv else None,
        "cv_group": cv.id if cv else None,
        "fit_time": row.result.fit_seconds,
        "parameters": row.result.parameters,
        "classes": row.classes,
        "published_error": (row.published or {}).get("error"),
        "params": row.params,
        "contents": row.contents,
        "is_newest": row.is_newest,
    }


def models_frame(offers: Mapping[str, Offer]) -> DataFrame:
    """Return one row per model, by name; `params` are its defaults."""
    rows = [
        {
            "name": o.card.name,
            "plugin": o.card.plugin,
            "family": o.card.family,
            "summary": o.card.summary,
            "paper": o.card.paper,
            "here": o.here,
            "workers": len(o.workers),
            "missing": list(o.missing),
            "params": {name: each.get("default") for name, each in o.card.param_schemas.items()},
        }
        for o in offers.values()
    ]
    columns = ["name", "plugin", "family", "summary", "paper", "here", "workers", "missing"]
    return _pandas().DataFrame.from_records(rows, columns=[*columns, "params"])


def _pandas() -> Any:
    try:
        import pandas
    except ModuleNotFoundError:
        raise ZooError(
            "Tables in a notebook need pandas.", "pip install 'mnist-zoo[notebook]'"
        ) from None
    return pandas
