"""Look at jobs, groups, logs and history; nothing here changes a row."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Select, case, exists, func, select

from zoo.errors import UsageError
from zoo.jobs.database import Database, now
from zoo.jobs.records import Group, Job, Waiting, to_job
from zoo.jobs.tables import attempt, history, job, job_group, log


def get(db: Database, job_id: str) -> Job:
    """The job of that whole id.

    Raises UsageError if there is none.
    """
    with db.read() as connection:
        row = connection.execute(select(job).where(job.c.id == job_id)).mappings().one_or_none()
    if row is None:
        raise _no_job(job_id)
    return to_job(row)


def find(db: Database, ref: str) -> Job | Group:
    """The job or group that `ref` names: a unique prefix of its id, or @last for the newest.

    Raises UsageError if there is none, or more than one.
    """
    if ref == "@last":
        newest = listing(db, limit=1)
        if not newest:
            raise UsageError("There is no job yet.", "Submit one: `zoo train logistic`.")
        return get_group(db, newest[0].group) if newest[0].group else newest[0]
    if not ref or not all(c in "0123456789abcdef" for c in ref):
        raise _no_job(ref)
    with db.read() as connection:
        jobs = connection.execute(_starting(job.c.id, ref)).scalars().all()
        groups = connection.execute(_starting(job_group.c.id, ref)).scalars().all()
    found = [*jobs, *groups]
    if not found:
        raise _no_job(ref)
    if len(found) > 1:
        some = ", ".join(each[: len(ref) + 4] for each in found[:5])
        raise UsageError(
            f"'{ref}' is the beginning of several ids ({some}).", "Give one more letter."
        )
    return get(db, found[0]) if jobs else get_group(db, found[0])


def _starting(column: Any, prefix: str) -> Select[Any]:
    # A range uses the index, where LIKE might not.
    return select(column).where(column >= prefix, column < prefix + "g").limit(6)


def _no_job(ref: str) -> UsageError:
    return UsageError(
        f"No job or group has an id that begins with '{ref}'.", "`zoo jobs` lists them."
    )


def get_group(db: Database, group_id: str) -> Group:
    """The group of that whole id, with its jobs in the order of their submission."""
    with db.read() as connection:
        row = connection.execute(select(job_group).where(job_group.c.id == group_id)).one_or_none()
        if row is None:
            raise _no_job(group_id)
        rows = connection.execute(select(job).where(job.c.group_id == group_id).order_by(job.c.seq))
        found = [to_job(r) for r in rows.mappings()]
    # A retry takes the place of the job that it repeats.
    repeated = {each.retry_of for each in found}
    return Group(row.id, row.kind, row.created_at, [j for j in found if j.id not in repeated])


def listing(
    db: Database,
    *,
    statuses: Sequence[str] = (),
    models: Sequence[str] = (),
    datasets: Sequence[str] = (),
    tags: Sequence[str] = (),
    kind: str | None = None,
    worker: str | None = None,
    not_retried: bool = False,
    limit: int = 100,
) -> list[Job]:
    """The newest jobs that match every filter, newest first."""
    query = select(job).order_by(job.c.seq.desc()).limit(limit)
    for column, wanted in (
        (job.c.status, statuses),
        (job.c.model, models),
        (job.c.dataset, datasets),
    ):
        if wanted:
            query = query.where(column.in_(list(wanted)))
    for tag in tags:
        query = query.where(job.c.tags.contains(json.dumps(tag), autoescape=True))
    if kind:
        query = query.where(job.c.kind == kind)
    if worker:
        query = query.where(job.c.worker == worker)
    if not_retried:
        again = job.alias()
        query = query.where(~exists().where(again.c.retry_of == job.c.id))
    with db.read() as connection:
        return [to_job(row) for row in connection.execute(query).mappings()]


def counts(db: Database) -> dict[str, int]:
    """How many jobs there are of each status."""
    with db.read() as connection:
        rows = connection.execute(
            select(job.c.status, func.count().label("n")).group_by(job.c.status)
        )
        return {row.status: row.n for row in rows}


def waiting(db: Database) -> list[Waiting]:
    """The queued jobs that are due, by pool and model."""
    # Since a job was submitted, or put back and its back-off is over.
    since = case((job.c.not_before > job.c.created_at, job.c.not_before), else_=job.c.created_at)
    query = (
        select(job.c.pool, job.c.model, func.count(), now() - func.min(since))
        .where(job.c.status == "queued", job.c.not_before <= now())
        .group_by(job.c.pool, job.c.model)
        .order_by(job.c.pool, job.c.model)
    )
    with db.read() as connection:
        return [Waiting(*row) for row in connection.execute(query)]


def attempts(db: Database, job_id: str) -> list[dict[str, Any]]:
    """Every attempt at the job, first to last."""
    query = select(attempt).where(attempt.c.job_id == job_id).order_by(attempt.c.n)
    with db.read() as connection:
        return [dict(row) for row in connection.execute(query).mappings()]


def log_after(db: Database, job_id: str, seen: tuple[int, int] = (0, -1)) -> list[Any]:
    """Chunks of the job's log after `seen`, (attempt, start); rows of attempt, start and text."""
    n, start = seen
    query = (
        select(log)
        .where(log.c.job_id == job_id)
        .where((log.c.attempt > n) | ((log.c.attempt == n) & (log.c.start > start)))
        .order_by(log.c.attempt, log.c.start)
    )
    with db.read() as connection:
        return list(connection.execute(query))


def steps(db: Database, job_id: str) -> list[dict[str, Any]]:
    """What the last attempt reported at each step."""
    last = select(func.max(history.c.attempt)).where(history.c.job_id == job_id)
    query = (
        select(history.c.step, history.c.metrics)
        .where(history.c.job_id == job_id, history.c.attempt == last.scalar_subquery())
        .order_by(history.c.step)
    )
    with db.read() as connection:
        return [{"step": n} | json.loads(metrics) for n, metrics in connection.execute(query)]


def clock(db: Database) -> float:
    """The time on the database's clock."""
    with db.read() as connection:
        return float(connection.execute(select(now())).scalar_one())
