"""How far a running job is, and how long it will take: by its steps, else by its like."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from statistics import median
from typing import Any, NamedTuple

from zoo.canonical_json import read_json
from zoo.jobs.database import Database, Transaction, among
from zoo.jobs.queries import clock
from zoo.jobs.records import Job, finite, span_text
from zoo.jobs.statuses import MAY_RUN

LIKE = 50
"""So many of the newest results of a model are looked through for equal jobs."""
SHORTEST = 0.5
"""Seconds: less is not told as a time left."""


@dataclass(frozen=True)
class Estimate:
    """What is known of a running job's way."""

    phase: str
    part: float | None = None
    """Done, from 0 to 1."""
    steps: str = ""
    """As it says itself: `epoch 3/5`."""
    left: float | None = None
    """Seconds; None where neither its steps nor equal jobs tell, or its worker is silent."""
    silent: float | None = None
    """Seconds since its worker was last heard of, if that is too long for a living one."""

    @property
    def remaining(self) -> float | None:
        """`left` as people are told it: None where the estimate has run out.

        A job that takes longer than the others, or stands still, has none any more: `0 s left`
        would be told for as long as it goes on.
        """
        return self.left if self.left is not None and self.left > SHORTEST else None

    def rest(self, span: Callable[[float], str] = span_text) -> str:
        """Say how long it will take, or how long its worker has been silent; else nothing.

        `span` writes seconds as they are read where this is shown.
        """
        if self.silent is not None:
            return f"silent for {span(self.silent)}"
        return "" if self.remaining is None else f"{span(self.remaining)} left"

    def to_json(self) -> dict[str, float | None]:
        """The outlook as scripts see it."""
        return {"part": self.part, "seconds_left": self.left, "seconds_silent": self.silent}


def estimate_running(db: Database, running: Iterable[Job], at: float) -> dict[str, Estimate]:
    """The outlook of each running job, by its id; `at` is the time on the database's clock."""
    found: dict[str, Estimate] = {}
    usual: dict[tuple[Any, ...], float | None] = {}
    with db.read() as rows:
        for job in running:
            known = _by_steps(job, at)
            if known.left is None:
                kind = _kind(job.model, job.dataset, job.kind, job.spec)
                if kind not in usual:
                    usual[kind] = _usual(rows, job, kind)
                known = _by_its_like(known, job, usual[kind], at)
            silent = job.silent_for(at)
            if silent is not None:
                known = dataclasses.replace(known, left=None, silent=silent)
            found[job.id] = known
    return found


def estimate_job(db: Database, job: Job) -> Estimate | None:
    """The outlook of one job now; None if it does not run."""
    return estimate_running(db, [job], clock(db))[job.id] if job.status == "running" else None


def _by_steps(job: Job, at: float) -> Estimate:
    """From what `fit` has reported: the steps to come take as long as those before."""
    told = job.progress
    phase = str(told.get("phase", "starting"))
    # A plugin reports what it likes: zero, negative and huge steps, too.
    step, total, since = (finite(told.get(name)) for name in ("step", "total", "since"))
    if phase != "fit" or step is None or not total:
        return Estimate(phase)
    steps = f"{told.get('unit', 'step')} {step}/{total}"
    if step <= 0 or total < 0 or since is None:
        return Estimate(phase, 0.0, steps)
    # From its report on the estimate only falls: nothing is known of the time since.
    told_at = finite(told.get("at"))
    heard = at if told_at is None else told_at
    left = finite(max(heard - since, 0.0) / step * max(total - step, 0.0))
    if left is not None:
        left = max(left - max(at - heard, 0.0), 0.0)
    return Estimate(phase, min(step / total, 1.0), steps, left)


def _by_its_like(known: Estimate, job: Job, usual: float | None, at: float) -> Estimate:
    if not usual or job.started_at is None:
        return known
    spent = max(at - job.started_at, 0.0)
    part = min(spent / usual, 0.99) if known.part is None else known.part
    return Estimate(known.phase, part, known.steps, max(usual - spent, 0.0))


def _kind(model: str, dataset: str, kind: str, spec: dict[str, Any]) -> tuple[Any, ...]:
    """What equal jobs have in common: all but the seed, and which of the folds it is."""
    params = sorted((name, str(value)) for name, value in spec["params"].items())
    return model, dataset, kind, bool(spec["fold"]), tuple(params)


def _usual(rows: Transaction, job: Job, kind: tuple[Any, ...]) -> float | None:
    """The median time of the newest equal jobs, from claim to end; None if there was none."""
    query = """
        SELECT spec, finished_at - started_at AS seconds FROM job
        WHERE model = :model AND dataset = :dataset AND kind = :kind AND status = 'succeeded'
            AND started_at IS NOT NULL
        ORDER BY seq DESC LIMIT :like"""
    values = {"model": job.model, "dataset": job.dataset, "kind": job.kind, "like": LIKE}
    took = [
        row["seconds"]
        for row in rows.all(query, values)
        if _kind(job.model, job.dataset, job.kind, read_json(row["spec"])) == kind
    ]
    return median(took) if took else None


class JobAhead(NamedTuple):
    """A job that takes its turn before another."""

    model: str
    dataset: str
    seconds: float
    """How long it has been running; 0 while it is queued."""
    worker: str | None


class ClaimConditions(NamedTuple):
    """What keeps a queued job from being claimed, whoever is there."""

    held: bool
    blockers: int
    """How many jobs it waits for."""
    waiting_for_turn: bool
    """Its group runs as many at once as it may."""
    pool_paused: bool
    """Its pool is."""


def claim_conditions(db: Database, job_id: str) -> ClaimConditions:
    """What keeps a job from being claimed."""
    query = """
        SELECT held, blockers, parked,
            EXISTS (SELECT 1 FROM pool WHERE name = job.pool AND paused_at > 0) AS paused
        FROM job WHERE id = :id"""
    with db.read() as rows:
        row = rows.one(query, {"id": job_id}) or {}
    held, parked, paused = (bool(row.get(name)) for name in ("held", "parked", "paused"))
    return ClaimConditions(held, int(row.get("blockers", 0)), parked, paused)


def due_in(db: Database, job_id: str) -> float:
    """Seconds until a queued job may be claimed; 0 or less if it may be now."""
    sql = db.sql
    with db.read() as rows:
        found = rows.value(
            f"SELECT not_before - {sql.now} AS s FROM job WHERE id = :id", {"id": job_id}
        )
    return float(found or 0)


def jobs_ahead(db: Database, job_id: str, models: Collection[str]) -> list[JobAhead]:
    """The queued jobs of these models and the job's pool that are claimed before it."""
    sql = db.sql
    one_of, names = among("model", sorted(models))
    before = f"""
        SELECT model, dataset, CAST(0 AS DOUBLE PRECISION) AS seconds, NULL AS worker FROM job
        WHERE {MAY_RUN} AND pool = :pool AND {one_of} AND not_before <= {sql.now}
            AND (priority > :priority OR (priority = :priority AND seq < :seq))"""
    with db.read() as rows:
        own = rows.one("SELECT pool, priority, seq FROM job WHERE id = :id", {"id": job_id})
        return [JobAhead(**row) for row in rows.all(before, own | names)] if own else []


def running_on(db: Database, workers: Collection[str]) -> list[JobAhead]:
    """What these workers, by their names, run now."""
    sql = db.sql
    theirs, names = among("worker", sorted(workers))
    query = f"""
        SELECT model, dataset, {sql.now} - started_at AS seconds, worker FROM job
        WHERE status = 'running' AND {theirs}"""
    with db.read() as rows:
        return [JobAhead(**row) for row in rows.all(query, names)]


def usual_seconds(db: Database, model: str, dataset: str, last: int = 20) -> float | None:
    """The median time from claim to end of the last trainings that succeeded; None without any."""
    query = """
        SELECT finished_at - started_at AS seconds FROM job
        WHERE status = 'succeeded' AND kind = 'train' AND model = :model AND dataset = :dataset
        ORDER BY seq DESC LIMIT :last"""
    with db.read() as rows:
        found = rows.all(query, {"model": model, "dataset": dataset, "last": last})
    return median(row["seconds"] for row in found) if found else None
