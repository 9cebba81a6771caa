"""What a worker passes to `transitions`: the claim, progress updates and the outcome."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from zoo.jobs.environments import Environment


@dataclass(frozen=True)
class Claim:
    """The right to run one attempt of a job; later updates of the attempt must present it."""

    job: str
    attempt: int
    owner: str


@dataclass(frozen=True)
class ProgressUpdate:
    """What an attempt has reported since the last heartbeat."""

    progress: Mapping[str, Any] | None = None
    """{"phase", "since", "at", "step", "total", "unit", "metrics"}, as far as known. `since` is the
    start of the phase, `at` the time of the step, both on the database's clock."""
    fit_started_at: float | None = None
    """Seconds since 1970, on the database's clock."""
    steps: Sequence[tuple[int, Mapping[str, Any]]] = ()
    """(step, metrics) of each step that `fit` reported."""
    lines: Sequence[tuple[int, str]] = ()
    """(offset in bytes, text) of the log."""
    environment: Environment | None = None
    """Where it runs; known once the runner is done."""
    resumed_from: Mapping[str, Any] | None = None
    """The checkpoint from which it went on: {"attempt", "step", "exact"}."""
    step_times: Mapping[int, float] = field(default_factory=dict)
    """The time of each of `steps`, on the database's clock, as far as it is known."""

    def __bool__(self) -> bool:
        return bool(self.progress or self.lines or self.resumed_from)


@dataclass(frozen=True)
class Requests:
    """What was requested of a running job."""

    cancel: bool
    stop: bool
    """Whether its training is to end now, with what it has learned so far."""
    prune: bool = False
    """Whether it has fallen behind the other trials of its sweep and is to end as pruned."""


@dataclass(frozen=True)
class Outcome:
    """The result of an attempt."""

    status: str
    metrics: Mapping[str, Any] | None = None
    artifact: str | None = None
    """Path of its files below the artifacts URL; set if and only if it succeeded."""
    artifact_sha256: str | None = None
    artifact_bytes: int | None = None
    error_code: str | None = None
    error: str | None = None
    with_hooks: bool = False
    """Whether to enqueue the plugins' `job_finished` hooks."""


@dataclass(frozen=True)
class AttemptEnd:
    """The end of a claim's attempt, with its last progress update."""

    claim: Claim
    outcome: Outcome
    update: ProgressUpdate = field(default_factory=ProgressUpdate)
