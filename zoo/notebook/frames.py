"""Records as DataFrames with typed columns; missing values are missing, not text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from zoo.errors import ZooError
from zoo.jobs import Group, Job
from zoo.jobs.group_metrics import Statistics
from zoo.jobs.records import finite
from zoo.queue.catalogue import Offer
from zoo.results.comparison import Comparison
from zoo.results.leaderboard import LeaderboardRow
from zoo.storage.job_files import File
from zoo.sweeps.trials import list_trials, sort_trials, varied_params

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
COUNTED = ("both_right", "only_a", "only_b", "both_wrong", "different")
"""Numbers of inputs: a is the first result, b the other one."""
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


def trials_frame(group: Group) -> DataFrame:
    """Return one row per trial of a sweep, the best first; `params.NAME` for varied params."""
    names = varied_params(group)
    rows = []
    for trial in sort_trials(list_trials(group)):
        value, accuracy = trial.statistics, trial.accuracy
        values = {
            "value": value.mean if value else None,
            "value_std": value.std if value else None,
            "accuracy": accuracy.mean if accuracy else None,
        }
        own = {f"params.{name}": trial.value(name) for name in names}
        row = {"status": trial.status, "job": trial.group.jobs[0].id}
        rows.append(row | {"metric": group.objective.metric} | values | own)
    columns = ["job", "status", "metric", "value", "value_std", "accuracy"]
    columns += [f"params.{name}" for name in names]
    frame = _pandas().DataFrame.from_records(rows, columns=columns)
    numbers = dict.fromkeys(("value", "value_std", "accuracy"), "float64")
    return frame.astype(numbers | dict.fromkeys(("job", "status", "metric"), "str"))


def files_frame(found: Sequence[File]) -> DataFrame:
    """Return one row per file of a job: its name, bytes and sha256."""
    rows = [{"name": each.name, "bytes": each.size, "sha256": each.sha256} for each in found]
    frame = _pandas().DataFrame.from_records(rows, columns=["name", "bytes", "sha256"])
    return frame.astype({"name": "str", "bytes": "int64", "sha256": "str"})


def differences_frame(compared: Comparison) -> DataFrame:
    """Return one row per fact that differs, one column per result, named by its id."""
    names = [each.id[:8] for each in compared.results]
    pd = _pandas()
    return pd.DataFrame.from_dict(compared.differs, orient="index", columns=names, dtype="object")


def metrics_frame(compared: Comparison) -> DataFrame:
    """Return one row per result, one column per metric; of a group its mean, and `NAME_std`."""
    columns: dict[str, list[float | None]] = {}
    for name, row in compared.metrics.items():
        groups = [each if isinstance(each, Statistics) else None for each in row]
        columns[name] = [each.mean if isinstance(each, Statistics) else each for each in row]
        if any(groups):
            columns[f"{name}_std"] = [each.std if each else None for each in groups]
    names = [each.id[:8] for each in compared.results]
    return _pandas().DataFrame(columns, index=names, dtype="float64")


def tests_frame(compared: Comparison) -> DataFrame:
    """Return one row per further result: the test against the first, and counts of inputs."""
    rows = []
    for result, pair in zip(compared.results[1:], compared.pairs, strict=True):
        test, found = pair.test, pair.disagreement
        rows.append(
            {
                "against": compared.results[0].id[:8],
                "other": result.id[:8],
                "metric": compared.objective.metric,
                "difference": test.difference if test else None,
                "p": test.p if test else None,
                "test": test.name if test else None,
                **{name: getattr(found, name) if found else None for name in COUNTED},
                "note": " ".join(pair.notes),
            }
        )
    texts = ("against", "other", "metric", "test", "note")
    columns = [*texts[:3], "difference", "p", "test", *COUNTED, "note"]
    frame = _pandas().DataFrame.from_records(rows, columns=columns)
    types = dict.fromkeys(("difference", "p"), "float64") | dict.fromkeys(COUNTED, "Int64")
    return frame.astype(types | dict.fromkeys(texts, "str"))


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
