"""Statistics of jobs, attempts, workers and hooks, for an exporter that reads every few seconds.

Ended jobs are counted once: each call adds only those that have ended since the call before, in a
few queries on an index. Jobs and attempts are never deleted, so these counts only grow, and a count
from the beginning gives the same numbers.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from zoo.jobs.database import Database, Row, Transaction
from zoo.jobs.outbox import count_hooks_in
from zoo.jobs.worker_records import ALIVE
from zoo.jobs.worker_rows import LATE_SECONDS, SILENT_SECONDS, alive_condition

BOUNDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 14400, 86400)
"""Upper bounds of a `Histogram`, in seconds."""
FINAL_AFTER_SECONDS = 120.0
"""An end is committed at most this long after its `finished_at`, so older ends are final. (A
transaction gives up after it has waited 20 or 30 s for a lock.)"""
WAITS_FOR = ("worker", "time", "pool", "turn", "rung", "job", "hold")
"""What a queued job waits for: a free slot; its back-off; its paused pool; its turn in its group;
its promotion from a rung; another job; a person."""
MICROS = 1_000_000


@dataclass(frozen=True)
class Histogram:
    """Durations: how many within each bound, their number and their sum."""

    within: tuple[int, ...] = (0,) * len(BOUNDS)
    count: int = 0
    micros: int = 0
    """The sum, an integer: a sum of floats depends on the order and might fall."""

    def __add__(self, other: Histogram) -> Histogram:
        within = tuple(a + b for a, b in zip(self.within, other.within, strict=True))
        return Histogram(within, self.count + other.count, self.micros + other.micros)


PoolModel = tuple[str, str]
"""(pool, model)"""


@dataclass(frozen=True)
class EndedCounts:
    """Counts of the jobs and attempts that ended in an interval."""

    jobs: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    """By (pool, model, status)."""
    waits: dict[PoolModel, Histogram] = field(default_factory=dict)
    """From submission to the claim of the last attempt; jobs never claimed are left out."""
    runs: dict[PoolModel, Histogram] = field(default_factory=dict)
    """From that claim to the end, of jobs that succeeded, failed or timed out."""
    attempts: Counter[tuple[str, str, str, str]] = field(default_factory=Counter)
    """By (pool, model, worker, outcome)."""

    def __add__(self, other: EndedCounts) -> EndedCounts:
        return EndedCounts(
            self.jobs + other.jobs,
            _joined(self.waits, other.waits),
            _joined(self.runs, other.runs),
            self.attempts + other.attempts,
        )


class Baseline(NamedTuple):
    """Final counts of everything that ended up to a time; handed from call to call."""

    until: float = 0.0
    ended: EndedCounts = EndedCounts()


class QueuedJobs(NamedTuple):
    """The queued jobs of a pool and model that wait for the same thing."""

    pool: str
    model: str
    waits_for: str
    jobs: int
    seconds: float
    """Seconds that the first has waited since its submission or the end of its back-off."""


class WorkerSlots(NamedTuple):
    """A worker and its slots."""

    worker: str
    pool: str
    state: str
    """`online`, `sick`, `draining` or `silent`."""
    slots: int
    busy: int


@dataclass(frozen=True)
class QueueStats:
    """Statistics at one moment."""

    queued: list[QueuedJobs]
    running: dict[PoolModel, int]
    ended: EndedCounts
    workers: list[WorkerSlots]
    pools: dict[str, bool]
    """Every known pool, and whether it is paused."""
    pending_hooks: int
    """Number of jobs whose hooks are still to be called."""
    skipped_hooks: int = 0
    """Number of jobs whose hooks that add files were skipped, because too many jobs ended."""


def collect_stats(db: Database, baseline: Baseline) -> tuple[QueueStats, Baseline]:
    """Read the statistics; return them with the baseline to pass to the next call.

    The first call, with an empty `Baseline`, reads every job.
    """
    sql = db.sql
    with db.read() as rows:
        at = float(rows.value(f"SELECT {sql.now} AS at"))
        until = max(at - FINAL_AFTER_SECONDS, baseline.until)
        baseline = Baseline(until, baseline.ended + _ended(rows, baseline.until, until))
        # More ends with an earlier `finished_at` may follow: these are counted anew by each call.
        fresh = _ended(rows, until, math.inf)
        fresh.attempts.update(_open_attempts(rows))
        queued, running, workers = _queued(rows), _running(rows), _worker_slots(rows)
        paused = {row["name"]: row["paused_at"] for row in rows.all("SELECT * FROM pool")}
        pending_hooks, skipped_hooks = count_hooks_in(rows)
    names = {"default", *paused, *(q.pool for q in queued), *(pool for pool, _ in running)}
    names |= {worker.pool for worker in workers}
    pools = {name: paused.get(name) is not None for name in sorted(names)}
    stats = QueueStats(
        queued=queued,
        running=running,
        ended=baseline.ended + fresh,
        workers=workers,
        pools=pools,
        pending_hooks=pending_hooks,
        skipped_hooks=skipped_hooks,
    )
    return stats, baseline


def _joined(
    some: dict[PoolModel, Histogram], more: dict[PoolModel, Histogram]
) -> dict[PoolModel, Histogram]:
    return {
        kind: some.get(kind, Histogram()) + more.get(kind, Histogram())
        for kind in sorted(some.keys() | more.keys())
    }


def _ended(rows: Transaction, after: float, until: float) -> EndedCounts:
    span = {"after": after, "until": until}
    counted = f"""
        SELECT pool, model, status, count(*) AS n, {_spread("wait")}, {_spread("run")} FROM (
            SELECT pool, model, status, {_seconds("created_at", "started_at")} AS wait,
                CASE WHEN status IN ('succeeded', 'failed', 'timed_out')
                    THEN {_seconds("started_at", "finished_at")} END AS run
            FROM job WHERE finished_at > :after AND finished_at <= :until) AS ended
        GROUP BY pool, model, status"""
    found = rows.all(counted, span)
    tried = """
        SELECT pool, model, attempt.worker, outcome, count(*) AS n
        FROM job JOIN attempt ON job_id = id
        WHERE finished_at > :after AND finished_at <= :until AND outcome IS NOT NULL
        GROUP BY pool, model, attempt.worker, outcome"""
    return EndedCounts(
        Counter({(row["pool"], row["model"], row["status"]): row["n"] for row in found}),
        _spreads(found, "wait"),
        _spreads(found, "run"),
        _attempts(rows.all(tried, span)),
    )


def _open_attempts(rows: Transaction) -> Counter[tuple[str, str, str, str]]:
    """Count the ended attempts at jobs that have not ended."""
    tried = """
        SELECT pool, model, attempt.worker, outcome, count(*) AS n
        FROM job JOIN attempt ON job_id = id
        WHERE status IN ('queued', 'running') AND job.attempt > 0 AND outcome IS NOT NULL
        GROUP BY pool, model, attempt.worker, outcome"""
    return _attempts(rows.all(tried))


def _attempts(found: Iterable[Row]) -> Counter[tuple[str, str, str, str]]:
    names = ("pool", "model", "worker", "outcome")
    return Counter({tuple(row[name] for name in names): row["n"] for row in found})


def _seconds(start: str, end: str) -> str:
    """Return a duration: NULL without a start, and not negative if the clock was set back."""
    return f"CASE WHEN {end} < {start} THEN 0 ELSE {end} - {start} END"


def _spread(name: str) -> str:
    within = [
        f"sum(CASE WHEN {name} <= {bound} THEN 1 ELSE 0 END) AS {name}_{i}"
        for i, bound in enumerate(BOUNDS)
    ]
    micros = f"sum(CAST(round({name} * {MICROS}) AS BIGINT)) AS {name}_micros"
    return ", ".join([*within, f"count({name}) AS {name}_count", micros])


def _spreads(found: Iterable[Row], name: str) -> dict[PoolModel, Histogram]:
    spreads: dict[PoolModel, Histogram] = {}
    for row in found:
        within = tuple(int(row[f"{name}_{i}"]) for i in range(len(BOUNDS)))
        one = Histogram(within, int(row[f"{name}_count"]), int(row[f"{name}_micros"] or 0))
        kind = (row["pool"], row["model"])
        if one.count:
            spreads[kind] = spreads.get(kind, Histogram()) + one
    return spreads


def _queued(rows: Transaction) -> list[QueuedJobs]:
    # As in `queries.waiting`, which counts jobs that wait for a worker only.
    sql = rows.sql
    since = "CASE WHEN not_before > created_at THEN not_before ELSE created_at END"
    counted = f"""
        SELECT pool, model, waits_for, count(*) AS jobs, {sql.now} - min(since) AS seconds FROM (
            SELECT pool, model, {since} AS since, CASE
                WHEN held > 0 THEN 'hold'
                WHEN blockers > 0 THEN 'job'
                WHEN paused > 0 THEN 'rung'
                WHEN parked > 0 THEN 'turn'
                WHEN pool IN (SELECT name FROM pool WHERE paused_at > 0) THEN 'pool'
                WHEN not_before > {sql.now} THEN 'time'
                ELSE 'worker' END AS waits_for
            FROM job WHERE status = 'queued') AS queued
        GROUP BY pool, model, waits_for ORDER BY pool, model, waits_for"""
    return [QueuedJobs(**row) for row in rows.all(counted)]


def _running(rows: Transaction) -> dict[PoolModel, int]:
    counted = """
        SELECT pool, model, count(*) AS n FROM job WHERE status = 'running'
        GROUP BY pool, model ORDER BY pool, model"""
    return {(row["pool"], row["model"]): row["n"] for row in rows.all(counted)}


def _worker_slots(rows: Transaction) -> list[WorkerSlots]:
    """List the workers that are alive, and those that became silent recently."""
    sql = rows.sql
    alive = ", ".join(f"'{state}'" for state in ALIVE)
    found = f"""
        SELECT name AS worker, pool, slots, busy,
            CASE WHEN {alive_condition(sql)} THEN state ELSE 'silent' END AS state
        FROM worker WHERE state IN ({alive}) AND beat_at > {sql.now} - :forgotten
        ORDER BY started_at"""
    values = {"late": LATE_SECONDS, "forgotten": SILENT_SECONDS}
    return [WorkerSlots(**row) for row in rows.all(found, values)]
