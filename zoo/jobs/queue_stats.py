"""Numbers of jobs, attempts, workers and hooks: for an exporter that looks every few seconds.

What has ended is counted once: each look adds only what has ended since the one before, in a few
queries over an index. Nothing ever removes a job or an attempt, so these numbers only grow, and
whoever counts from the beginning comes to the same ones.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from zoo.jobs.database import Database, Row, Transaction
from zoo.jobs.records import ALIVE
from zoo.jobs.worker_rows import LATE_SECONDS, alive_condition

BOUNDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 14400, 86400)
"""Seconds: the upper bounds of a `Histogram`."""
SETTLING_SECONDS = 120.0
"""An end is entered into the rows at most so long after the time that it bears: what is older is
counted for good. A transaction waits 20 or 30 s for a lock, and then gives up."""
FORGOTTEN_SECONDS = 3600.0
"""A worker that fell silent without a word is counted for this long."""
WAITS_FOR = ("worker", "time", "pool", "turn", "job", "hold")
"""What a queued job waits for: a free slot; its back-off; its pool, which is paused; its turn in
its group; another job; a person."""
MICROS = 1_000_000


@dataclass(frozen=True)
class Histogram:
    """How many spans of time there were, how long altogether, and how many within each bound."""

    within: tuple[int, ...] = (0,) * len(BOUNDS)
    count: int = 0
    micros: int = 0
    """Whole numbers: a sum of floats would depend on the order, and seem to fall."""

    def __add__(self, other: Histogram) -> Histogram:
        within = tuple(a + b for a, b in zip(self.within, other.within, strict=True))
        return Histogram(within, self.count + other.count, self.micros + other.micros)


PoolModel = tuple[str, str]
"""(pool, model)"""


@dataclass(frozen=True)
class EndedCounts:
    """What has ended in a span of time."""

    jobs: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    """Of each (pool, model, status)."""
    waits: dict[PoolModel, Histogram] = field(default_factory=dict)
    """From submission to the claim of the last attempt; jobs that no worker ever took have none."""
    runs: dict[PoolModel, Histogram] = field(default_factory=dict)
    """From that claim to the end, of jobs that came to an end of their own."""
    attempts: Counter[tuple[str, str, str, str]] = field(default_factory=Counter)
    """Of each (pool, model, worker, outcome)."""

    def __add__(self, other: EndedCounts) -> EndedCounts:
        return EndedCounts(
            self.jobs + other.jobs,
            _joined(self.waits, other.waits),
            _joined(self.runs, other.runs),
            self.attempts + other.attempts,
        )


class Baseline(NamedTuple):
    """What has ended until a time, counted for good."""

    until: float = 0.0
    ended: EndedCounts = EndedCounts()


class QueuedJobs(NamedTuple):
    """The queued jobs of a pool and model that wait for the same."""

    pool: str
    model: str
    waits_for: str
    jobs: int
    seconds: float
    """How long the first has been waiting, since it was submitted or its back-off was over."""


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
    """One look; everything in it is of the same moment."""

    queued: list[QueuedJobs]
    running: dict[PoolModel, int]
    ended: EndedCounts
    seats: list[WorkerSlots]
    pools: dict[str, bool]
    """Every pool that is known, and whether it is paused."""
    owed: int
    """Jobs whose hooks are still to be called."""
    skipped: int = 0
    """Jobs of which plugins have left no files, because too many had ended."""


def collect_stats(db: Database, settled: Baseline, *, beat: float) -> tuple[QueueStats, Baseline]:
    """Look at everything; gives the figures, and what to hand over at the next look.

    `beat` is the time between two beats of a worker that does not say it, in seconds. The first
    look, with an empty `Baseline`, reads every job.
    """
    sql = db.sql
    with db.read() as rows:
        at = float(rows.value(f"SELECT {sql.now} AS at"))
        until = max(at - SETTLING_SECONDS, settled.until)
        settled = Baseline(until, settled.ended + _ended(rows, settled.until, until))
        # They may be joined by others that bear an earlier time: counted anew at each look.
        fresh = _ended(rows, until, math.inf)
        fresh.attempts.update(_open_attempts(rows))
        queued, running, seats = _queued(rows), _running(rows), _worker_slots(rows, beat)
        paused = {row["name"]: row["paused_at"] for row in rows.all("SELECT * FROM pool")}
        outbox = rows.all("SELECT skipped_at IS NULL AS owed, count(*) AS n FROM outbox GROUP BY 1")
    names = {"default", *paused, *(q.pool for q in queued), *(pool for pool, _ in running)}
    names |= {seat.pool for seat in seats}
    counted = {bool(row["owed"]): int(row["n"]) for row in outbox}
    owed, skipped = counted.get(True, 0), counted.get(False, 0)
    pools = {name: paused.get(name) is not None for name in sorted(names)}
    return QueueStats(queued, running, settled.ended + fresh, seats, pools, owed, skipped), settled


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
    """Those that have ended of jobs that have not."""
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
    """Null if it has not begun; a clock that was set back makes no negative time."""
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
    # As in `reads.waiting`, which counts those that wait for a worker alone.
    sql = rows.sql
    since = "CASE WHEN not_before > created_at THEN not_before ELSE created_at END"
    counted = f"""
        SELECT pool, model, waits_for, count(*) AS jobs, {sql.now} - min(since) AS seconds FROM (
            SELECT pool, model, {since} AS since, CASE
                WHEN held > 0 THEN 'hold'
                WHEN blockers > 0 THEN 'job'
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


def _worker_slots(rows: Transaction, beat: float) -> list[WorkerSlots]:
    """The workers that are there, and those that fell silent of late."""
    sql = rows.sql
    alive = ", ".join(f"'{state}'" for state in ALIVE)
    found = f"""
        SELECT name AS worker, pool, slots, busy,
            CASE WHEN {alive_condition(sql, beat=":beat")} THEN state ELSE 'silent' END AS state
        FROM worker WHERE state IN ({alive}) AND beat_at > {sql.now} - :forgotten
        ORDER BY started_at"""
    values = {"beat": beat, "late": LATE_SECONDS, "forgotten": FORGOTTEN_SECONDS}
    return [WorkerSlots(**row) for row in rows.all(found, values)]
