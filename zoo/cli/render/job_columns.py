"""The columns of `zoo jobs`: all fields of `--where`, and a few only for display."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.text import Text

from zoo.cli.render import console
from zoo.errors import unknown
from zoo.jobs import FIELD_NAMES, Job, field_values
from zoo.jobs.estimates import Estimate

USUAL = ["id", "kind", "model", "dataset", "status", "accuracy", "age", "took", "params"]
IN_CSV = ["id", "kind", "model", "dataset", "status", "accuracy", "created_at", "took", "params"]
OPTIONAL = ["params", "took", "kind", "user", "dataset", "name"]
"""Columns left out on a narrow terminal, in that order."""


@dataclass(frozen=True)
class Line:
    """A job with the data needed to show it."""

    job: Job
    at: float
    """The time on the database's clock."""
    outlook: Estimate | None = None
    """Of a running job."""
    is_paused: bool = False
    """Whether the job's pool is."""


SPANS = ("age", "waited", "took")
TIMES = ("created_at", "started_at", "finished_at")
IDS = ("id", "group", "retry_of")
ONLY_SHOWN = {"progress", "params"}


def check(names: Sequence[str]) -> list[str]:
    """Return the names as a list.

    Raises UsageError for an unknown column.
    """
    known = {name for name in FIELD_NAMES if "*" not in name} | ONLY_SHOWN
    for name in names:
        if name not in known and not name.startswith(("params.", "metrics.")):
            raise unknown("column", name, known)
    return list(names)


def raw(line: Line, name: str) -> Any:
    """Return the raw value, for JSON and CSV."""
    if name == "progress":
        return line.outlook.part if line.outlook else None
    if name == "params":
        return line.job.changed
    value: Any = field_values(line.job, line.at)
    for part in name.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def cell(line: Line, name: str) -> str | Text:
    """Return the value for display."""
    if special := SPECIAL.get(name):
        return special(line)
    value = raw(line, name)
    if value is None:
        return ""
    if name in SPANS:
        return console.ago(value)
    if name in TIMES:
        return console.clock(value)
    if name in IDS:
        return str(value)[:8]
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        return " ".join(value)
    if isinstance(value, float) and not name.startswith("params."):
        return console.number(value)
    return value if isinstance(value, str) else json.dumps(value)


def is_number(lines: Sequence[Line], name: str) -> bool:
    """Return whether the column has numbers, which are right-aligned."""
    found = [raw(line, name) for line in lines]
    return any(isinstance(each, int | float) for each in found) and name not in TIMES


def _kind(line: Line) -> str:
    fold = line.job.spec.get("fold")
    return line.job.kind + (f" {fold['index'] + 1}/{fold['k']}" if fold else "")


def _status(line: Line) -> Text:
    """The status; `held` or `paused` for queued jobs that are, or whose pool is paused."""
    status = line.job.listed_status
    if status == "queued" and line.job.held:
        return console.status("held")
    return console.status("paused" if status == "queued" and line.is_paused else status)


def progress(line: Line) -> str:
    """Return the progress of a running job: `60 %, 12 s left`."""
    return far(line.outlook) if line.outlook else ""


def far(known: Estimate) -> str:
    """How far a job is, and how long it will take."""
    part = "" if known.part is None else f"{100 * known.part:.0f} %"
    return ", ".join(filter(None, [part, left(known)])) or known.phase


def left(known: Estimate | None) -> str:
    """How long a running job will take, or how long its worker has been silent."""
    return known.rest() if known else ""


SPECIAL: dict[str, Callable[[Line], str | Text]] = {
    "kind": _kind,
    "status": _status,
    "progress": progress,
    "params": lambda line: console.params(line.job.chosen),
}
