"""Estimates of the time that jobs have left, and of the jobs ahead of a queued one.

The time left of a running job follows from the steps that `fit` reported, else from the duration of
equal jobs; that of many jobs from the rate at which they end. All times are of the database's
clock.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from zoo.canonical_json import read_json
from zoo.jobs.database import Database, Transaction, among, slices
from zoo.jobs.queries import clock
from zoo.jobs.records import Job, finite, span_text
from zoo.jobs.statuses import MAY_RUN

LIKE = 50
"""Number of the newest results of a model among which equal jobs are searched."""
SHORTEST = 0.5
"""Seconds; less is not shown as a time left."""


@dataclass(frozen=True)
class Estimate:
    """The progress of a running job, as far as it is known."""

    phase: str
    part: float | None = None
    """The fraction that is done, from 0 to 1."""
    steps: str = ""
    """As reported: `epoch 3/5`."""
    left: float | None = None
    """Seconds left; None if neither steps nor equal jobs are known, or its worker is silent."""
    silent: float | None = None
    """Seconds since its worker's last heartbeat, if that is too long (see `Job.silent_for`)."""

    @property
    def remaining(self) -> float | None:
        """`left` as it is shown: None once the estimate has run out.

        A job that takes longer than estimated, or hangs, would otherwise show `0 s left` until it
        ends.
        """
        return self.left if self.left is not None and self.left > SHORTEST else None

    def rest(self, span: Callable[[float], str] = span_text) -> str:
        """Format the time left, or how long its worker has been silent; "" if neither is known.

        `span` formats a number of seconds.
        """
        if self.silent is not None:
            return f"silent for {span(self.silent)}"
        return "" if self.remaining is None else f"{span(self.remaining)} left"

    def to_json(self) -> dict[str, float | None]:
        """Return the estimate in the JSON of commands."""
        return {"part": self.part, "seconds_left": self.left, "seconds_silent": self.silent}


def estimate_running(db: Database, running: Iterable[Job], at: float) -> dict[str, Estimate]:
    """Estimate running jobs, by id; `at` is the time of the database's clock."""
    found: dict[str, Estimate] = {}
    usual: dict[tuple[Any, ...], float | None] = {}
    with db.read() as rows:
        for job in running:
            known = _by_steps(job, at)
            if known.left is None:
                kind = _kind(job.model, job.dataset, job.kind, job.spec)
                if kind not in usual:
                    usual[kind] = _usual(rows, job, kind)
                known = _by_equal_jobs(known, job, usual[kind], at)
            silent = job.silent_for(at)
            if silent is not None:
                known = dataclasses.replace(known, left=None, silent=silent)
            found[job.id] = known
    return found


def estimate_job(db: Database, job: Job) -> Estimate | None:
    """Estimate one job now; return None if it is not running."""
    return estimate_running(db, [job], clock(db))[job.id] if job.status == "running" else None


def estimate_many(db: Database, ids: Sequence[str], total: int, since: float) -> Estimate:
    """Estimate jobs that run together: the others end at the rate since a time.

    Args:
        db: The database.
        ids: The jobs that have been submitted.
        total: The number of jobs, including those that are still to be submitted.
        since: The start of the measurement, as `clock` returns it.
    """
    query = """
        SELECT finished_at FROM job WHERE {} AND finished_at IS NOT NULL"""
    ends: list[float] = []
    with db.read() as rows:
        for some in slices(ids):
            one_of, names = among("id", some)
            ends += [row["finished_at"] for row in rows.all(query.format(one_of), names)]
        at = float(rows.value(f"SELECT {db.sql.now} AS at"))
    done, rest = sum(end > since for end in ends), total - len(ends)
    part = len(ends) / total if total else None
    if not done or rest <= 0:
        return Estimate("running", part)
    last = max(ends)
    # It only falls until the next job ends: it must not grow if no more jobs end.
    left = (last - since) / done * rest - max(at - last, 0.0)
    return Estimate("running", part, left=max(left, 0.0))


def _by_steps(job: Job, at: float) -> Estimate:
    """Estimate from reported steps: those to come take as long as those before."""
    progress = job.progress
    phase = progress.phase or "starting"
    # A plugin may report anything, such as zero, negative and huge steps.
    step, total, since = progress.step, progress.total, progress.since
    first = progress.from_step or 0
    is_known = phase == "fit" or (phase == "prepare" and first > 0)
    if not is_known or step is None or not total:
        return Estimate(phase)
    steps = f"{progress.unit or 'step'} {step}/{total}"
    if step <= 0 or total < 0 or since is None:
        return Estimate(phase, 0.0, steps)
    if step <= first:  # an attempt that goes on from a checkpoint, and has not reported yet
        return Estimate(phase, min(step / total, 1.0), steps)
    # After the last report the estimate only falls with the clock.
    known_at = at if progress.at is None else progress.at
    left = finite(max(known_at - since, 0.0) / (step - first) * max(total - step, 0.0))
    if left is not None:
        left = max(left - max(at - known_at, 0.0), 0.0)
    return Estimate(phase, min(step / total, 1.0), steps, left)


def _by_equal_jobs(known: Estimate, job: Job, usual: float | None, at: float) -> Estimate:
    if not usual or job.started_at is None:
        return known
    spent = max(at - job.started_at, 0.0)
    if known.part and job.progress.from_step:
        spent = max(spent, known.part * usual)
    part = min(spent / usual, 0.99) if known.part is None else known.part
    return Estimate(known.phase, part, known.steps, max(usual - spent, 0.0))


def _kind(model: str, dataset: str, kind: str, spec: dict[str, Any]) -> tuple[Any, ...]:
    """Return a key that equal jobs share: everything but the seed and the number of the fold."""
    params = sorted((name, str(value)) for name, value in spec["params"].items())
    return model, dataset, kind, bool(spec["fold"]), tuple(params)


def _usual(rows: Transaction, job: Job, kind: tuple[Any, ...]) -> float | None:
    """Return the median duration of the newest equal jobs, claim to end; None without any."""
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
    return _median(took) if took else None


class JobAhead(NamedTuple):
    """A job that a queued one waits for: claimed before it, or running now."""

    model: str
    dataset: str
    seconds: float
    """Seconds that it has been running; 0 while it is queued."""
    worker: str | None


class ClaimConditions(NamedTuple):
    """Conditions that keep a queued job from being claimed by any worker."""

    held: bool
    blockers: int
    """Number of dependencies that have not ended."""
    waiting_for_turn: bool
    """Whether its group runs as many jobs at once as it may."""
    waiting_at_rung: bool
    """Whether it is a trial that has neither been promoted nor pruned yet."""
    pool_paused: bool
    """Whether its pool is paused."""


def claim_conditions(db: Database, job_id: str) -> ClaimConditions:
    """Return the conditions that keep a job from being claimed."""
    query = """
        SELECT held, blockers, parked, paused,
            EXISTS (SELECT 1 FROM pool WHERE name = job.pool AND paused_at > 0) AS pool_paused
        FROM job WHERE id = :id"""
    with db.read() as rows:
        row = rows.one(query, {"id": job_id}) or {}
    held, *others = (bool(row.get(n)) for n in ("held", "parked", "paused", "pool_paused"))
    return ClaimConditions(held, int(row.get("blockers", 0)), *others)


def due_in(db: Database, job_id: str) -> float:
    """Return the seconds until a queued job is due; 0 or less if it is due now."""
    sql = db.sql
    with db.read() as rows:
        found = rows.value(
            f"SELECT not_before - {sql.now} AS s FROM job WHERE id = :id", {"id": job_id}
        )
    return float(found or 0)


def jobs_ahead(db: Database, job_id: str, models: Collection[str]) -> list[JobAhead]:
    """List the queued jobs of these models in the job's pool that are claimed before it."""
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
    """List the jobs that these workers, by name, run now."""
    sql = db.sql
    theirs, names = among("worker", sorted(workers))
    query = f"""
        SELECT model, dataset, {sql.now} - started_at AS seconds, worker FROM job
        WHERE status = 'running' AND {theirs}"""
    with db.read() as rows:
        return [JobAhead(**row) for row in rows.all(query, names)]


def usual_seconds(db: Database, model: str, dataset: str, last: int = 20) -> float | None:
    """Return the median duration of the last trainings that succeeded; None without any."""
    query = """
        SELECT finished_at - started_at AS seconds FROM job
        WHERE status = 'succeeded' AND kind = 'train' AND model = :model AND dataset = :dataset
        ORDER BY seq DESC LIMIT :last"""
    with db.read() as rows:
        found = rows.all(query, {"model": model, "dataset": dataset, "last": last})
    return _median([row["seconds"] for row in found]) if found else None


def _median(values: Sequence[float]) -> float:
    # `statistics`, which would be imported by every command with jobs, takes 5 ms.
    from statistics import median

    return median(values)
