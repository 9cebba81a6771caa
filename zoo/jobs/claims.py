"""What a worker holds of a job, and what it says about it: claim, news, outcome."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Claim:
    """The right to run one attempt of a job; every later word about the attempt must carry it."""

    job: str
    attempt: int
    owner: str


@dataclass(frozen=True)
class ProgressUpdate:
    """What an attempt has done since the last beat."""

    progress: Mapping[str, Any] | None = None
    """{"phase", "since", "at", "step", "total", "unit", "metrics"}, as far as known: since when it
    is in that phase, and when it came to the step, on the database's clock."""
    fit_started_at: float | None = None
    """Seconds since 1970, on the database's clock."""
    steps: Sequence[tuple[int, Mapping[str, Any]]] = ()
    """(step, metrics) of each step that `fit` reported."""
    lines: Sequence[tuple[int, str]] = ()
    """(offset in bytes, text) of the log."""
    environment: Mapping[str, Any] | None = None
    """What `zoo.training.provenance.measure` told; known once the runner is done."""

    def __bool__(self) -> bool:
        return bool(self.progress or self.lines)


@dataclass(frozen=True)
class Outcome:
    """How an attempt ended."""

    status: str
    metrics: Mapping[str, Any] | None = None
    artifact: str | None = None
    """Where its files are, below the artifacts URL; set if and only if it succeeded."""
    artifact_sha256: str | None = None
    error_code: str | None = None
    error: str | None = None
    with_hooks: bool = False
    """Whether plugins wait to be told."""


@dataclass(frozen=True)
class AttemptEnd:
    """How the attempt of a claim ended, with what it has done since the last beat."""

    claim: Claim
    outcome: Outcome
    update: ProgressUpdate = field(default_factory=ProgressUpdate)
