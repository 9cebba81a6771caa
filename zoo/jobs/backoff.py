"""The wait before the next attempt at a job: one definition for workers and the reaper."""

from __future__ import annotations

from zoo.jobs.database import Transaction

LONGEST_SECONDS = 300.0
"""Upper limit of the wait, however many attempts have failed."""


def seconds(base: float, tries: int) -> float:
    """Return the wait after `tries` failed attempts: `base`, doubled each time, with a limit."""
    # 2.0 ** 1024 overflows.
    return min(base * 2.0 ** min(max(tries - 1, 0), 64), LONGEST_SECONDS)


def after(rows: Transaction, job_id: str, base: float) -> float:
    """Return the wait after the attempt of a job that is about to end.

    Attempts that were given back (a drained worker, a broken machine) do not count.
    """
    counted = """
        SELECT count(*) AS n FROM attempt
        WHERE job_id = :job AND ended_at IS NOT NULL AND counts = 1"""
    return seconds(base, int(rows.value(counted, {"job": job_id})) + 1)
