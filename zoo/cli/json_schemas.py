"""JSON schemas of what commands print with `--json`, made from the types of the printed records.

VERSION rises when a key is removed, or gets another type or meaning. New keys do not raise it, so
readers ignore keys that they do not know.
"""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Callable, Mapping
from datetime import datetime
from itertools import pairwise
from typing import Annotated, Any, Literal, NamedTuple, NotRequired, get_type_hints

from pydantic import Field, TypeAdapter
from pydantic.json_schema import GenerateJsonSchema
from typing_extensions import TypedDict  # which pydantic needs before Python 3.12

from zoo.data.datasets import Listed
from zoo.job_spec import JobSpec
from zoo.jobs import records
from zoo.jobs.cards import OF_WORKER, Card
from zoo.jobs.dataset_rows import DatasetVersion
from zoo.jobs.environments import CodeVersion, Environment, Machine
from zoo.jobs.group_metrics import Statistics
from zoo.jobs.groups import Group
from zoo.jobs.iso_times import SUFFIX
from zoo.jobs.outbox import HookError
from zoo.jobs.pruning import RungEntry
from zoo.jobs.statuses import STATUSES
from zoo.jobs.worker_records import Gpu, Pool, Worker
from zoo.plugins.registry import Plugin
from zoo.queue.doctor import Finding
from zoo.results.comparison import Disagreement
from zoo.results.leaderboard import METRICS, LeaderboardRow, TestResult
from zoo.results.significance import SignificanceTest
from zoo.storage.job_files import File
from zoo.sweeps.importance import Importance

VERSION = 1
DIALECT = "https://json-schema.org/draft/2020-12/schema"

Fields = Mapping[str, Any]
"""Types by key."""


def json_schema(name: str) -> dict[str, Any]:
    """Return the schema of one of SCHEMAS."""
    made = TypeAdapter(SCHEMAS[name].build()).json_schema(schema_generator=_WithoutTitles)
    return {"$schema": DIALECT, "$id": f"urn:zoo:{name}:{VERSION}", "version": VERSION, **made}


class _WithoutTitles(GenerateJsonSchema):
    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


# --- from types of records to types of JSON ---


def _fields(kind: type, *names: str, without: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return the types and docstrings of a record's fields, and the ISO form of its times.

    Without `names` all fields, in their order.
    """
    hints, docs, times = _hints(kind), _docstrings(kind), getattr(kind, "TIMES", ())
    found: dict[str, Any] = {}
    for name in names or [each for each in hints if each not in without]:
        found[name] = _described(hints[name], docs.get(name))
        if name in times:
            found[name] = _described(hints[name], docs.get(name) or "Seconds since 1970.")
            about = f"The same time as {name}, in UTC; null if that is no time."
            found[name + SUFFIX] = _described(datetime | None, about)
    return found


def _hints(kind: type) -> dict[str, Any]:
    """Return the annotations of the fields: of a pydantic model, record or named tuple."""
    names = getattr(kind, "model_fields", None) or getattr(kind, "__dataclass_fields__", None)
    hints = get_type_hints(kind, include_extras=True)
    return {name: hints[name] for name in names or kind._fields}  # type: ignore[attr-defined]


def _docstrings(kind: type) -> dict[str, str]:
    """Return the docstring below each field that has one."""
    found = {}
    for base in reversed([each for each in kind.__mro__ if each.__module__.startswith("zoo.")]):
        (node,) = ast.parse(textwrap.dedent(inspect.getsource(base))).body
        body = getattr(node, "body", [])
        for field, after in pairwise(body):
            is_text = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
            if isinstance(field, ast.AnnAssign) and is_text:
                found[ast.unparse(field.target)] = inspect.cleandoc(after.value.value)
    return found


def _described(kind: Any, text: str | None) -> Any:
    if not text:
        return kind
    words = re.sub(r"\bNone\b", "null", " ".join(text.split()))
    return Annotated[kind, Field(description=words)]


def _optional(fields: Fields) -> dict[str, Any]:
    return {name: NotRequired[kind] for name, kind in fields.items()}


def _record(name: str, about: str, *parts: Fields) -> Any:
    """Return the type of an object with these keys; later parts replace keys of earlier ones."""
    fields = {key: kind for part in parts for key, kind in part.items()}
    made: Any = TypedDict(name, fields)  # type: ignore[misc]
    made.__doc__ = about
    return made


def _list(kind: Any) -> Any:
    return list[kind]


# --- the objects ---

Status: Any = Literal[(*STATUSES,)]
"""Of a job."""
GroupStatus: Any = Literal[(*STATUSES, "paused")]
STATISTICS: Any = _record("Statistics", "Statistics of a metric.", _fields(Statistics))
MAY_WAIT = {"waits": _described(str | None, "Why it is still queued; `zoo show`.")}


def _job() -> Any:
    progress = {**_fields(records.Progress)}
    checkpoint = {
        **{"where": str, "sha256": str, "attempt": int, "step": float, "total": float | None},
        **{"unit": str | None, "bytes": int, "at": float, f"at{SUFFIX}": datetime | None},
        "advanced": bool,
    }
    error = _record("JobError", "Why a job did not succeed.", {"code": str, "message": str | None})
    shown = {
        "outlook": _described(_outlook() | None, "Of a running job; `zoo jobs`, `zoo show`."),
        "attempts": _described(_list(_attempt()), "`zoo show`."),
        "steps": _described(list[dict[str, Any]], "Metrics of each step; `zoo show`."),
        "hook_errors": _list(_record("HookError", "", _fields(HookError))),
    }
    return _record(
        "Job",
        "One submitted training or evaluation.",
        _fields(records.Job, without=(*records.UNTOLD, "spec", "error_code", "stored_progress")),
        _fields(JobSpec, *records.FROM_SPEC),
        {
            "status": Status,
            "progress": _record("Progress", records.Progress.__doc__ or "", _optional(progress)),
            "checkpoint": _record("Checkpoint", "", _optional(checkpoint)) | None,
            "source": _described(str | None, "Of an evaluation: the job of the trained model."),
            "error": error | None,
        },
        _optional(shown | MAY_WAIT),
    )


def _outlook() -> Any:
    fields = dict.fromkeys(("part", "seconds_left", "seconds_silent"), float | None)
    return _record("Outlook", "How far a running job is.", fields)


def _attempt() -> Any:
    code = _record("CodeVersion", "", _optional(_fields(CodeVersion, without=("others",))))
    machine = _record("Machine", "", _optional(_fields(Machine, without=("others",))))
    environment = _record(
        "Environment",
        "Where an attempt ran; what is not known is left out.",
        _optional(_fields(Environment, without=("others",)) | {"code": code, "machine": machine}),
    )
    return _record(
        "Attempt",
        "One attempt at a job.",
        _fields(records.AttemptRecord),
        {"environment": environment | None, "worker_id": str | None},
    )


def _group() -> Any:
    best = {"job": str, "metric": str, **dict.fromkeys(("accuracy", "value"), STATISTICS | None)}
    trial = {
        **{"params": dict[str, Any], "status": GroupStatus, "contents": str | None},
        **{"accuracy": best["accuracy"], "value": best["value"], "jobs": list[str]},
    }
    of_sweep = {
        "trials": _described(
            _list(_record("Trial", "", trial)),
            "Best first; `zoo sweep`.",
        ),
        "rungs": _list(_record("Rung", "", _fields(RungEntry))),
        "importance": _record("Importance", "", _fields(Importance)) | None,
    }
    return _record(
        "Group",
        "Jobs submitted together whose results are read together.",
        {
            "id": _described(str | None, "Null of a sweep all of whose trials were reused."),
            "kind": Literal["cv", "seeds", "sweep"],
            "status": GroupStatus,
        },
        _fields(Group, "created_at", "about", "max_parallel"),
        {"jobs": _list(_job())},
        {"metrics": dict[str, STATISTICS], "best": _record("Best", "", best) | None},
        _optional(MAY_WAIT | of_sweep),
    )


def _card(*without: str) -> dict[str, Any]:
    found = _fields(Card, without=("others", *without))
    return found | _optional({n: found[n] for n in found if n not in ("name", "plugin")})


def _worker() -> Any:
    cards = _list(_record("Card", Card.__doc__ or "", _card()))
    gpus = _list(_record("Gpu", "", _fields(Gpu)))
    return _record("Worker", "One worker.", _fields(Worker), {"models": cards, "gpus": gpus})


def _pool() -> Any:
    of_workers = dict.fromkeys(("workers", "busy", "slots"), int)
    return _record("Pool", "A named set of workers.", _fields(Pool), of_workers)


def _result() -> dict[str, Any]:
    """Return the keys of a test result: of a `job` or of a `group`, with `std` and `values`."""
    of_group = _fields(TestResult, "std", "values")
    ids = {"job": str, "group": str}
    return {"value": STATISTICS, **_fields(TestResult, *METRICS), **_optional(ids | of_group)}


def _leaderboard() -> Any:
    test = _record("TestResult", "A result on test images.", _result())
    cv = _record(
        "CrossValidation",
        "A result over folds; `mean`, `std` and `values` are of the accuracy.",
        {"group": str, "value": STATISTICS},
        _fields(Statistics),
        _fields(TestResult, "fit_seconds", "parameters"),
    )
    return _record(
        "LeaderboardRow",
        "The best results of a model on one dataset's contents.",
        _fields(LeaderboardRow, without=("objective",)),
        {"metric": str, "test": test | None, "cv": cv | None},
    )


def _model() -> Any:
    able = _record("AbleWorker", "", {"name": str, "pool": str, "plugin": str})
    row = _fields(LeaderboardRow, "dataset", "contents", "is_newest")
    result = _record("ModelResult", "", row, {"metric": str}, _result())
    return _record(
        "Model",
        "A model of this machine or of a worker.",
        _card(*OF_WORKER),
        {
            "here": bool,
            "workers": _list(able),
            "missing": list[str],
            "results": _list(result),
        },
    )


def _dataset() -> Any:
    of_version = {
        **_fields(DatasetVersion, "version"),
        **{"kind": Literal["image", "table"], "shape": list[int], "classes": int, "rows": int},
        **_fields(DatasetVersion, "fingerprint"),
        "source": _described(str, "Where its contents were read from."),
        **_fields(DatasetVersion, "created_at"),
    }
    about = "A dataset; an added one has an entry for each of its versions."
    return _record("Dataset", about, _fields(Listed), _optional(of_version))


def _version() -> Any:
    new = {"is_new": _described(bool, "False if the contents were there already.")}
    return _record("DatasetVersion", "An added dataset.", _fields(DatasetVersion), new)


def _file() -> Any:
    return _record(
        "File", "A file of a job.", _fields(File, "name"), {"bytes": int}, _fields(File, "sha256")
    )


def _comparison() -> Any:
    side = {"id": str, "kind": str, "facts": dict[str, Any], "note": str}
    disputed = {"index": int, "label": str, "predicted": list[str]}
    disagreement = _record(
        "Disagreement",
        Disagreement.__doc__ or "",
        _fields(Disagreement, without=("unit",)),
        {"first": _list(_record("Disputed", "", disputed))},
    )
    pair = {
        "between": list[str],
        "test": _record("SignificanceTest", "", _fields(SignificanceTest)) | None,
        "disagreement": disagreement | None,
        "notes": list[str],
    }
    return _record(
        "Comparison",
        "Results side by side, and each of the others against the first.",
        {
            "sides": _list(_record("Side", "", side)),
            "differs": dict[str, list[Any]],
            "metrics": dict[str, list[float | STATISTICS | None]],
            "metric": str,
            "against_first": _list(_record("Pair", "", pair)),
        },
    )


def _prediction() -> Any:
    from zoo.inference.predictor import Prediction

    row = {"row": _described(dict[str, Any], "Of a table.")}
    of_image = {"file": str, "probabilities": dict[str, float] | None}
    fields = _fields(Prediction, "predicted", "label")
    return _record("Prediction", "The prediction for one input.", fields, of_image, _optional(row))


class Schema(NamedTuple):
    """A schema that `zoo schema` prints."""

    commands: tuple[str, ...]
    """Commands whose `--json` prints such an object, or a list of them."""
    build: Callable[[], Any]
    """Returns the type."""


SUBMIT = ("train", "evaluate", "rerun", "wait")
SCHEMAS = {
    "job": Schema(("jobs", "show", *SUBMIT, "retry"), _job),
    "group": Schema(("show", "sweep", "reproduce", *SUBMIT), _group),
    "leaderboard": Schema(("leaderboard",), _leaderboard),
    "comparison": Schema(("compare",), _comparison),
    "file": Schema(("files",), _file),
    "prediction": Schema(("predict",), _prediction),
    "model": Schema(("models", "models show"), _model),
    "plugin": Schema(("plugins",), lambda: _record("Plugin", "", _fields(Plugin))),
    "dataset": Schema(("data", "data list"), _dataset),
    "dataset-version": Schema(("data add", "data refresh"), _version),
    "worker": Schema(("worker list",), _worker),
    "pool": Schema(("pool list",), _pool),
    "finding": Schema(("doctor",), lambda: _record("Finding", "", _fields(Finding))),
}
"""By name, in the order of the commands."""
