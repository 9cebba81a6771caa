"""Scaling of sleeping jobs with workers and slots, relative to linear."""

from __future__ import annotations

import contextlib
import time

from benchmarks.queue import Figure, site
from zoo import jobs

SECONDS = 1.0
EACH = 10
"""Number of jobs per slot."""


def rate(kind: str, workers: int, slots: int, seconds: float = SECONDS, each: int = EACH) -> float:
    """Return the rate of sleeping jobs per second, from the first claim to the last end."""
    number = each * workers * slots
    with site(kind) as here, contextlib.ExitStack() as crew:
        for _ in range(workers):
            crew.enter_context(here.worker(slots))
        while len(jobs.workers(here.db)) < workers:
            time.sleep(0.1)
        # Each slot has a warm runner before the measurement.
        here.submit(4 * workers * slots, seconds=1.0)
        here.finish()
        here.submit(number, seconds=seconds)
        here.finish()
        with here.db.read() as rows:
            last = "SELECT * FROM job ORDER BY seq DESC LIMIT :n"
            span = f"SELECT max(finished_at) - min(started_at) AS s FROM ({last}) AS l"
            return number / float(rows.value(span, {"n": number}))


def over_linear(kind: str, workers: int, slots: int) -> float:
    """Return the rate under linear scaling from one slot, over the measured rate."""
    return rate(kind, 1, 1) * workers * slots / rate(kind, workers, slots)


def _figure(kind: str, name: str, workers: int, slots: int) -> Figure:
    what = (
        f"{max(workers, slots)} {name} for 1, jobs that sleep {SECONDS:g} s, {kind}: below linear"
    )
    return Figure(
        f"scaling-{name}-{kind}", what, 1.1, "times", lambda: over_linear(kind, workers, slots)
    )


FIGURES = [
    _figure(kind, name, workers, slots)
    for kind in ("sqlite", "postgresql")
    for name, workers, slots in (("workers", 4, 1), ("slots", 1, 8))
]
