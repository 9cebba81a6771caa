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
from zoo.results.published_tables import Cost, Row
from zoo.results.reproducibility import Verdict
from zoo.results.significance import SignificanceTest
from zoo.storage.home_backup import Copied
from zoo.storage.job_files import File
from zoo.storage.packing import Packed, Unpacked
from zoo.sweeps.driver import SweepEstimate
from zoo.sweeps.importance import Importance
from zoo.testing.checks import Result

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
    fields = _fields(Prediction, "predicted", "label", "job", "model")
    return _record("Prediction", "The prediction for one input.", fields, of_image, _optional(row))


def _in_process() -> Any:
    values = {"spec": _record("Spec", "What was run.", _fields(JobSpec))}
    about = "A training without queue or record."
    return _record("InProcess", about, values, {"metrics": dict[str, Any]})


def _sweep_estimate() -> Any:
    fields = _fields(SweepEstimate, "jobs", "slots", "epochs", "most_epochs")
    seconds = {"seconds_each": _fields(SweepEstimate)["each"], "seconds": float | None}
    of_plan = {"trials": int, "metric": str}
    return _record("SweepEstimate", SweepEstimate.__doc__ or "", of_plan, fields, seconds)


def _published_row() -> Any:
    cost = _record("Cost", Cost.__doc__ or "", _fields(Cost))
    return _record("PublishedRow", Row.__doc__ or "", _fields(Row), {"dataset": str, "cost": cost})


def _export() -> Any:
    check = {"images": int, "rows": int}
    differs = _described(
        float | None, "Largest difference of a probability; null if one has no probabilities."
    )
    about = "Number of test inputs for which both predicted the same labels: images or rows."
    return _record(
        "Export",
        "An exported model.",
        {"file": str, "format": str, "bytes": int, "sha256": str},
        {"check": _record("Check", about, _optional(check), {"max_difference": differs})},
        {"job": str, "card": _described(str | None, "The path of its model card.")},
    )


def _removal() -> Any:
    removed = "Ids of the removed jobs; with --dry-run of those that would be."
    refused = "Id of a job that stays -> why."
    fields = {
        "removed": _described(list[str], removed),
        "refused": _described(dict[str, str], refused),
    }
    return _record("Removal", "What `zoo rm` did.", fields)


def _garbage() -> Any:
    about = "Things of one kind that were removed; with --dry-run that would be."
    fields = {"kind": str, "where": str, "count": int, "bytes": int}
    return _record("Garbage", about, fields)


def _prepared_data() -> Any:
    fields = {"dtype": str, "preprocess": str, "path": str, "bytes": int}
    return _record("PreparedData", "A file of prepared data.", fields)


def _dataset_split() -> Any:
    column = {"name": str, "kind": str, "categories": list[str], "missing": int}
    of_table = {
        "columns": _list(_record("Column", "", column)),
        "first_rows": list[dict[str, Any]],
    }
    sizes = _optional({"images": int, "rows": int})
    return _record(
        "DatasetSplit",
        "One split of a dataset; `images` or `rows` is its size.",
        {"dataset": str, "split": str, "kind": Literal["image", "table"], "shape": list[int]},
        {"fingerprint": str, "splits": dict[str, int]},
        sizes,
        {"first_labels": list[str], "class_counts": dict[str, int]},
        _optional(of_table),
    )


def _plugin_check() -> Any:
    about = "The checks of one model or dataset."
    counts = dict.fromkeys(("passed", "failed", "skipped"), int)
    checks = {"seconds": float, "checks": _list(_record("CheckResult", "", _fields(Result)))}
    subject = _optional({"model": str, "dataset": str})
    return _record("PluginCheck", about, subject, {"plugin": str}, counts, checks)


class Schema(NamedTuple):
    """A schema that `zoo schema` prints."""

    commands: tuple[str, ...]
    """Commands whose `--json` prints such an object, or a list of them.

    Some print another one with an option, which then stands behind the command.
    """
    build: Callable[[], Any]
    """Returns the type."""


def _plain(name: str, about: type, *parts: Fields) -> Callable[[], Any]:
    """Return a builder of the type of a record with these keys before its own."""
    return lambda: _record(name, about.__doc__ or "", *parts, _fields(about))


SUBMIT = ("train", "evaluate", "rerun", "wait")
SCHEMAS = {
    "job": Schema(("jobs", "show", *SUBMIT, "retry"), _job),
    "group": Schema(("show", "sweep", "reproduce", *SUBMIT), _group),
    "in-process": Schema(("train --in-process",), _in_process),
    "sweep-estimate": Schema(("sweep --dry-run",), _sweep_estimate),
    "published-row": Schema(("reproduce --dry-run",), _published_row),
    "verdict": Schema(("verify",), _plain("Verdict", Verdict)),
    "leaderboard": Schema(("leaderboard",), _leaderboard),
    "comparison": Schema(("compare",), _comparison),
    "file": Schema(("files",), _file),
    "prediction": Schema(("predict",), _prediction),
    "export": Schema(("export",), _export),
    "removal": Schema(("rm",), _removal),
    "garbage": Schema(("gc",), _garbage),
    "pack": Schema(("pack",), _plain("Pack", Packed, {"file": str})),
    "unpack": Schema(("unpack",), _plain("Unpack", Unpacked, {"file": str})),
    "backup": Schema(("backup", "restore"), _plain("Backup", Copied, {"folder": str})),
    "model": Schema(("models", "models list", "models show"), _model),
    "plugin": Schema(("plugins",), _plain("Plugin", Plugin)),
    "plugin-check": Schema(("plugins check",), _plugin_check),
    "dataset": Schema(("data", "data list"), _dataset),
    "dataset-version": Schema(("data add", "data refresh"), _version),
    "dataset-split": Schema(("data show",), _dataset_split),
    "prepared-data": Schema(("data prepare",), _prepared_data),
    "worker": Schema(("worker list",), _worker),
    "pool": Schema(("pool list",), _pool),
    "finding": Schema(("doctor",), _plain("Finding", Finding)),
}
"""By name, in the order of the commands."""
