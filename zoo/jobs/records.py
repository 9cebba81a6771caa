"""What the tables hold, as frozen records."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from zoo.errors import ArtifactError
from zoo.jobs.environments import Environment
from zoo.jobs.iso_times import with_iso_times
from zoo.jobs.statuses import TERMINAL
from zoo.metrics import from_confusion_matrix
from zoo.param_values import changed, chosen_options


@dataclass(frozen=True)
class Progress:
    """The last progress report of a job; a field that is missing or of another type is None."""

    TIMES = ("since", "at")
    """Fields that JSON also has in ISO 8601, see `iso_times`; so in the records below."""
    phase: str | None = None
    """`data`, `fit`, `evaluate` ...; None until the runner has reported."""
    since: float | None = None
    """Start of the phase, in seconds since 1970 of the database's clock."""
    at: float | None = None
    """Time of the step, on the same clock."""
    step: float | int | None = None
    total: float | int | None = None
    """The number of steps."""
    unit: str | None = None
    """The name of a step, such as `epoch`."""
    metrics: Mapping[str, Any] = field(default_factory=dict)
    from_step: float | int | None = None
    """The step of the checkpoint from which the attempt goes on."""

    @classmethod
    def read(cls, stored: Mapping[str, Any]) -> Progress:
        """Read a report, which a plugin or a worker of another version may have made."""
        phase, unit, metrics = (stored.get(name) for name in ("phase", "unit", "metrics"))
        return cls(
            phase=None if phase is None else str(phase),
            since=finite(stored.get("since")),
            at=finite(stored.get("at")),
            step=finite(stored.get("step")),
            total=finite(stored.get("total")),
            unit=None if unit is None else str(unit),
            metrics=metrics if isinstance(metrics, dict) else {},
            from_step=finite(stored.get("from_step")),
        )

    def to_json(self, reported: Collection[str]) -> dict[str, Any]:
        """Return the reported fields, as read, in the JSON of commands."""
        known = {name: value for name, value in vars(self).items() if name in reported}
        return with_iso_times(known, self.TIMES)


@dataclass(frozen=True)
class AttemptRecord:
    """One attempt at a job; times are seconds since 1970 of the database's clock."""

    TIMES = ("started_at", "ended_at")
    job_id: str
    n: int
    """The first one is 1."""
    worker: str
    plugin: str | None
    """The label of the plugin that the worker had for the model."""
    started_at: float
    ended_at: float | None
    outcome: str | None
    """The status with which it ended; None while it runs."""
    error: str | None
    error_code: str | None
    environment: Environment | None
    """Where it ran; None until the runner has recorded it."""
    counts: int
    """0 if it does not count towards the job's `max_attempts`."""
    resumed_from: Mapping[str, Any] | None = None
    """The checkpoint from which it went on, {"attempt", "step", "exact"}; None if it began anew."""

    def to_json(self) -> dict[str, Any]:
        """Return the attempt in the JSON of commands."""
        found = {name: getattr(self, name) for name in self.__dataclass_fields__}
        found["environment"] = self.environment and self.environment.to_json()
        return with_iso_times(found, self.TIMES)


@dataclass(frozen=True)
class Job:
    """One submitted training or evaluation; times are seconds since 1970, the database's clock."""

    TIMES = (
        *("created_at", "started_at", "fit_started_at", "finished_at", "beat_at"),
        "files_removed_at",
    )
    id: str
    kind: str
    model: str
    dataset: str
    pool: str
    priority: int
    group: str | None
    tags: list[str]
    spec: dict[str, Any]
    """As stored, with defaults for what an older version did not write; `JobSpec.parse` checks."""
    status: str
    attempt: int
    max_attempts: int
    owner: str | None
    """Who holds the lease: one claim of one worker."""
    worker: str | None
    """The name of the worker of the last attempt."""
    cancel_requested: bool
    stored_progress: dict[str, Any]
    """As stored; `progress` reads it."""
    metrics: dict[str, Any]
    artifact: str | None
    """Where the files are, below the artifacts URL."""
    artifact_sha256: str | None
    error_code: str | None
    error: str | None
    fingerprint: str | None
    """Of all that decides the result: `zoo.training.provenance.fingerprint`; set once known."""
    contents: str | None
    """The fingerprint of the contents that it was judged on; None until then, or if unknown."""
    retry_of: str | None
    created_at: float
    started_at: float | None
    fit_started_at: float | None
    finished_at: float | None
    beat_at: float | None = None
    """Time of the last heartbeat of its worker, on the database's clock."""
    lease_until: float | None = None
    held: bool = False
    """By a person: it stays queued until it is released."""
    blockers: int = 0
    """How many of the jobs that it waits for have not ended."""
    parked: bool = False
    """While as many jobs of its group as may are running or next."""
    seq: int = 0
    """Its place in the order of submission."""
    dataset_version: int | None = None
    """The version of an added dataset, which any worker can fetch."""
    stop_requested: bool = False
    """Whether somebody has asked to end its training with what it has learned so far."""
    checkpoint: Mapping[str, Any] | None = None
    """The newest one: {"where", "sha256", "attempt", "step", "total", "unit", "bytes", "at",
    "advanced"}; the last is false if its attempt has begun anew instead of from an earlier one."""
    resumed_from: Mapping[str, Any] | None = None
    """The checkpoint from which the last attempt went on; None if it began anew."""
    pruner: str | None = None
    """The pruner of its sweep: `median` or `asha`."""
    pause_at: int | None = None
    """The epoch at which it pauses, or is paused; None if it runs to its end."""
    paused: bool = False
    """Whether it waits at a rung of its sweep until it is promoted or pruned."""
    submitted_by: str | None = None
    """USER@HOST of the submitter; None of a job of an older version."""
    name: str | None = None
    """Given by the submitter; not unique."""
    note: str | None = None
    pinned: bool = False
    """Whether retention leaves it alone."""
    files_removed_at: float | None = None
    """When its files were removed while its row was kept."""
    artifact_bytes: int | None = None
    """Total size of its files; None if a worker of an older version has stored them."""

    @property
    def checkpoint_step(self) -> str:
        """The step of its newest checkpoint: `epoch 3/10`; empty without one."""
        found = self.checkpoint
        if not found:
            return ""
        of = f"/{found['total']}" if found.get("total") else ""
        return f"{found.get('unit') or 'step'} {found['step']}{of}"

    @property
    def removal_note(self) -> str:
        """When the files were removed, as a sentence; empty if they were not."""
        if self.files_removed_at is None:
            return ""
        at = time.strftime("%Y-%m-%d %H:%M", time.localtime(self.files_removed_at))
        return f"The files of the job {self.id[:8]} were removed at {at}."

    def stored_artifact(self) -> tuple[str, str]:
        """Return the place of the artifact and the sha256 of its manifest.

        Raises ArtifactError if its files were removed, or it has none.
        """
        if self.artifact and self.artifact_sha256:
            return self.artifact, self.artifact_sha256
        raise ArtifactError(
            self.removal_note or f"The job {self.id[:8]} is {self.status}: it has no files.",
            "Its metrics are kept: `zoo show` prints them." if self.removal_note else "",
        )

    @property
    def is_paused(self) -> bool:
        """Whether it waits at a rung now."""
        return self.paused and self.status == "queued"

    @property
    def listed_status(self) -> str:
        """The status in listings: `paused` while it waits at a rung."""
        return "paused" if self.is_paused else self.status

    @property
    def is_terminal(self) -> bool:
        return self.status in TERMINAL

    @property
    def needed_dataset(self) -> str | None:
        """The dataset that a worker must have itself; None if any worker can get it."""
        return self.dataset if self.dataset_version is None else None

    @property
    def device(self) -> str | None:
        """`gpu` if only a slot with a GPU runs it; None: the processor."""
        return self.spec.get("device")

    @property
    def dataset_label(self) -> str:
        """The dataset, of an added one with its version: `wine@1`."""
        version = self.dataset_version
        return self.dataset if version is None else f"{self.dataset}@{version}"

    @property
    def progress(self) -> Progress:
        """The last progress report."""
        return Progress.read(self.stored_progress)

    def silent_for(self, at: float) -> float | None:
        """Seconds since the last heartbeat of its worker, if that is too long for a living one.

        A lease spans at least four beats, so half a lease without one is two beats missed. `at`
        is the time on the database's clock.
        """
        if self.status != "running" or self.lease_until is None:
            return None
        last_beat = self.lease_until if self.beat_at is None else self.beat_at
        return at - last_beat if at - last_beat > (self.lease_until - last_beat) / 2 else None

    @property
    def accuracy(self) -> float | None:
        """What it is ranked by, once it has succeeded."""
        found = self.number("accuracy") if self.status == "succeeded" else None
        return None if found is None else float(found)

    def number(self, name: str) -> float | int | None:
        """Return a metric if it is a finite number, else None."""
        return finite(self.metrics.get(name))

    @property
    def ending(self) -> str:
        """How its training has ended before its last step; empty if it has not.

        `stopped on request`, else in the words of the model: `no better for 5 epochs`.
        """
        why = self.metrics.get("ended_early")
        if self.metrics.get("stopped_early") is True:
            return "stopped on request"
        return why if isinstance(why, str) else ""

    @property
    def validation_label(self) -> str:
        """The rows it had to choose by: `0.1 of the training rows (144)`; empty without any."""
        share, measured = self.spec.get("validation"), self.number("n_validation")
        rows = "" if measured is None else f"{int(measured):,}"
        if share is None:
            return f"{rows} rows of the dataset's own split" if rows else ""
        return f"{share:g} of the training rows" + (f" ({rows})" if rows else "")

    @property
    def unit(self) -> str:
        """The word for what it was judged on: `images`, or `rows` of a table."""
        return "rows" if self.metrics.get("inputs") == "rows" else "images"

    @property
    def class_names(self) -> list[str]:
        """The names of the classes in the order of their labels; empty if it has not told."""
        names = self.metrics.get("classes")
        is_known = isinstance(names, list) and all(isinstance(name, str) for name in names)
        return list(names) if is_known else []  # type: ignore[arg-type]

    @property
    def confusion_matrix(self) -> list[list[int]] | None:
        """Counts by true and predicted class; None unless it has a row and column for each."""
        rows, size = self.metrics.get("confusion_matrix"), len(self.class_names)
        if not size or not isinstance(rows, list) or len(rows) != size:
            return None
        is_square = all(isinstance(row, list) and len(row) == size for row in rows)
        is_counted = is_square and all(type(n) is int and n >= 0 for row in rows for n in row)
        return rows if is_counted else None

    @property
    def per_class(self) -> dict[str, dict[str, float | int | None]]:
        """The metrics of each class: finite numbers, None for what is none."""
        found = self.metrics.get("per_class")
        if not isinstance(found, dict):
            return {}
        return {
            name: {each: finite(value) for each, value in numbers.items()}
            for name, numbers in found.items()
            if isinstance(numbers, dict)
        }

    @property
    def changed(self) -> dict[str, Any]:
        """The params that are not the model's defaults; all, if that was not recorded."""
        return changed(self.spec["params"], self.spec.get("changed"))

    @property
    def chosen(self) -> dict[str, Any]:
        """What listings show of how it was trained: changed params, and options such as
        `preprocess` and `validation` that are not the defaults."""
        return chosen_options(self.spec) | self.changed

    def to_json(self) -> dict[str, Any]:
        """The job as scripts see it."""
        spec = self.spec
        shown = {
            name.removeprefix("stored_"): getattr(self, name)
            for name in self.__dataclass_fields__
            if name not in (*UNTOLD, "spec", "error_code")
        }
        return with_iso_times(shown, self.TIMES) | {
            "progress": self.progress.to_json(reported=self.stored_progress),
            "checkpoint": self.checkpoint and with_iso_times(self.checkpoint, ("at",)),
            **{name: spec.get(name, default) for name, default in FROM_SPEC.items()},
            "source": (spec.get("source") or {}).get("job"),
            "error": {"code": self.error_code, "message": self.error} if self.error_code else None,
        }


def finite(value: Any) -> float | int | None:
    """Return a JSON value if it is a number that a float can hold, else None."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return value if is_number and abs(value) <= sys.float_info.max else None


LARGE = 10**12
TINY = 5e-5
"""Below that four decimals say nothing."""


def is_whole(value: float) -> bool:
    """Return whether a metric is shown without decimals.

    Metrics are stored as floats, also counts such as 5 epochs. Between -1 and 1 a float may be a
    share, such as an accuracy of 1.0, and keeps its decimals.
    """
    return isinstance(value, int) or (value.is_integer() and abs(value) > 1)


def number_text(value: Any, digits: int | None = None, missing: str = "") -> str:
    """Format a number of a page; from 10^12 on with an exponent, so that no column grows.

    A float gets `digits` decimals; without `digits` four, as in an accuracy of 0.9247, or none
    where `is_whole` says so. What would be 0.0000 has two significant digits.
    """
    known = finite(value)
    if known is None:
        return missing
    if abs(known) >= LARGE:
        return f"{known:.3e}"
    if isinstance(known, int) or (digits is None and is_whole(known)):
        return f"{int(known):,}"
    if digits is None:
        return f"{known:.1e}" if 0 < abs(known) < TINY else f"{known:.4f}"
    return f"{known:.{digits}f}"


LONGEST = 999 * 86400
"""Seconds: above that a span of time says nothing."""


def span_text(seconds: float) -> str:
    """Format a span of time, short: 4 s, 12 min, 3 h, 5 d."""
    if seconds > LONGEST:
        return f"over {LONGEST / 86400:.0f} d"
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size * (1.5 if unit == "min" else 1):
            return f"{seconds / size:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"


def size_text(size: float) -> str:
    """Format a number of bytes: 12 bytes, 3.4 kB, 120 MB, 2.5 GB."""
    for unit, factor in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= factor:
            digits = 1 if size < 10 * factor else 0
            return f"{size / factor:.{digits}f} {unit}"
    return f"{size:.0f} bytes"


SPEC_DEFAULTS: Mapping[str, Any] = {
    **dict.fromkeys(("changed", "fold", "source", "published", "timeout", "memory_mb")),
    **dict.fromkeys(("version", "contents", "validation", "class_weight", "positive", "device")),
    "exact": False,
    **{"params": {}, "preprocess": "none", "split": "test", "seed": 42},
    **{"keep_weights": True, "plugin": ""},
}
"""What `JobSpec` has for fields that a stored spec lacks."""


def to_job(row: Mapping[str, Any]) -> Job:
    """Read a row of the job table."""
    flags: dict[str, Any] = {name: bool(row[name]) for name in _FLAGS}
    stored: dict[str, Any] = {n: json.loads(row[n]) if row[n] else None for n in _JSON}
    return Job(
        group=row["group_id"],
        contents=row["contents"] if row["contents"] != row["id"] else None,
        tags=json.loads(row["tags"]),
        spec=SPEC_DEFAULTS | json.loads(row["spec"]),
        stored_progress=json.loads(row["progress"] or "{}"),
        metrics=with_derived(json.loads(row["metrics"] or "{}")),
        **flags,
        **stored,
        **{name: row[name] for name in _PLAIN},
    )


def with_derived(metrics: dict[str, Any]) -> dict[str, Any]:
    """Add the metrics that follow from a result's confusion matrix and were not measured then."""
    if "confusion_matrix" not in metrics or "f1_macro" in metrics:
        return metrics
    try:
        return from_confusion_matrix(metrics["confusion_matrix"]) | metrics
    except (TypeError, ValueError):  # of a worker of another version
        return metrics


UNTOLD = ("owner", "cancel_requested", "lease_until", "seq")
"""Fields that are of no use to scripts."""
FROM_SPEC: Mapping[str, Any] = {
    **{"params": {}, "preprocess": "none"},
    **dict.fromkeys(("seed", "split", "validation", "class_weight", "positive", "device")),
    **{"exact": False, "fold": None, "published": None, "plugin": None},
}
"""Fields of the spec in the JSON of commands, with their values where a spec lacks them."""
_FLAGS = ("cancel_requested", "held", "parked", "paused", "pinned", "stop_requested")
_JSON = ("checkpoint", "resumed_from")
_PLAIN = [
    name
    for name in Job.__dataclass_fields__
    if name
    not in ("group", "tags", "spec", "stored_progress", "metrics", "contents", *_FLAGS, *_JSON)
]
