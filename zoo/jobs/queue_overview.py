"""Overview of running and recently ended jobs, in a few queries on indexes, for `zoo watch`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from zoo.jobs.database import Database, Transaction
from zoo.jobs.estimates import Estimate, estimate_running
from zoo.jobs.filters import ALL_JOBS, Filter, Values
from zoo.jobs.queries import jobs_of, listed_counts
from zoo.jobs.records import Job
from zoo.jobs.statuses import PAUSED

MINUTE = 60
Place = tuple[int, int]
"""(attempt, offset in bytes) of a chunk of a log."""


@dataclass(frozen=True)
class Overview:
    """The state of the jobs that match a filter."""

    at: float
    counts: Mapping[str, int]
    """Jobs of each status of `LISTED`."""
    running: list[Job]
    """Longest running first."""
    estimates: Mapping[str, Estimate]
    ended: list[Job]
    """The jobs that ended last, newest first."""
    last_minute: int
    """Number of jobs that ended within the last minute."""
    logs: Mapping[str, tuple[Place, str]] = field(default_factory=dict)
    """The last line of each running job's log, with its place."""


def overview(
    db: Database, wanted: Filter = ALL_JOBS, *, most: int = 50, ended: int = 8
) -> Overview:
    """Read the overview of jobs: at most `most` running ones and `ended` that have ended."""
    sql = db.sql
    values = Values(db.sql)
    matching, limits = wanted.sql(values), (values.add(most), values.add(ended))
    with db.read() as rows:
        at = float(rows.value(f"SELECT {sql.now} AS at"))
        counts = rows.all(
            f"SELECT status, count(*) AS n FROM job WHERE {matching} GROUP BY status", values.named
        )
        waiting = f"SELECT count(*) AS n FROM job WHERE {PAUSED} AND {matching}"
        paused = int(rows.value(waiting, values.named))
        running = _some(
            rows, values, f"status = 'running' AND {matching} ORDER BY started_at LIMIT {limits[0]}"
        )
        has_ended = f"finished_at IS NOT NULL AND {matching}"
        last = _some(rows, values, f"{has_ended} ORDER BY finished_at DESC LIMIT {limits[1]}")
        since = values.add(at - MINUTE)
        recent = f"SELECT count(*) AS n FROM job WHERE finished_at > {since} AND {matching}"
        last_minute = int(rows.value(recent, values.named))
        logs = {job.id: line for job in running if (line := _last_line(rows, job))}
    return Overview(
        at=at,
        counts=listed_counts({row["status"]: row["n"] for row in counts}, paused),
        running=running,
        estimates=estimate_running(db, running, at),
        ended=last,
        last_minute=last_minute,
        logs=logs,
    )


def _some(rows: Transaction, values: Values, which: str) -> list[Job]:
    found = rows.all(f"SELECT seq FROM job WHERE {which}", values.named)
    return jobs_of(rows, [row["seq"] for row in found])


def _last_line(rows: Transaction, job: Job) -> tuple[Place, str] | None:
    row = rows.one(
        """
        SELECT attempt, start, text FROM log WHERE job_id = :id
        ORDER BY attempt DESC, start DESC LIMIT 1""",
        {"id": job.id},
    )
    lines = [each.strip() for each in row["text"].splitlines() if each.strip()] if row else []
    return ((row["attempt"], row["start"]), lines[-1]) if row and lines else None
