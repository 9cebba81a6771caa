"""When and where jobs run: one record for every entry point, and the bounds of options."""

from __future__ import annotations

import numbers
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple

from zoo.errors import UsageError
from zoo.jobs.labels import check_name

MOST_URGENT = 1_000_000
DEFAULT_POOL, GPU_POOL = "default", "gpu"
"""The pools of jobs for which none is named."""
GPU = "gpu"
"""The device of a job that only a slot with a GPU runs."""


class Limits(NamedTuple):
    """Default and bounds of an option; None where there is no bound."""

    default: Any
    min: float | None
    max: float | None


def bounded(default: Any, min: float, max: float | None = None) -> Any:
    """Declare a field of a record whose value, unless None, is a number within these bounds."""
    return field(default=default, metadata={"min": min} | ({} if max is None else {"max": max}))


def limits(record: type, name: str) -> Limits:
    """Return default and bounds of an option."""
    (found,) = (each for each in fields(record) if each.name == name)
    return Limits(found.default, found.metadata.get("min"), found.metadata.get("max"))


def check_bounds(record: Any) -> None:
    """Raise UsageError for the first number of a record that is out of its bounds."""
    for each in fields(record):
        value = getattr(record, each.name)
        if not each.metadata or value is None:
            continue
        _, low, high = limits(type(record), each.name)
        kind, what = (
            (numbers.Integral, "a whole number")
            if isinstance(low, int)
            else (numbers.Real, "a number")
        )
        is_number = isinstance(value, kind) and not isinstance(value, bool)
        if not is_number or not low <= value or not (high is None or value <= high):
            span = f"of at least {low:,}" if high is None else f"from {low:,} to {high:,}"
            raise UsageError(f"The {each.name} is {value!r}, but it must be {what} {span}.")


@dataclass(frozen=True)
class QueueOptions:
    """When and where jobs run, the same for command line, notebook and page."""

    pool: str | None = None
    """The pool of workers; None: `gpu` for a job that needs a GPU, else `default`."""
    priority: int = bounded(0, -MOST_URGENT, MOST_URGENT)
    """The highest runs first."""
    after: Sequence[str] = ()
    """References to jobs or groups that must succeed first."""
    after_any: Sequence[str] = ()
    """References to jobs or groups that must end first."""
    tags: Sequence[str] = ()
    max_parallel: int | None = bounded(None, 1)
    """Limit of the jobs of the group that run at once."""
    name: str | None = None
    """A name for the jobs, which need not be unique."""
    submitted_by: str | None = None
    """USER@HOST of the submitter."""

    def __post_init__(self) -> None:
        check_bounds(self)
        if self.name is not None:
            object.__setattr__(self, "name", check_name(self.name))

    def pool_of(self, device: str | None) -> str:
        """Return the pool of a job for the device, `gpu` or None for the processor."""
        return self.pool or (GPU_POOL if device == GPU else DEFAULT_POOL)
