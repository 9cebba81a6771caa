"""What a submitter does to jobs: add them, cancel them, and see that each has a hint under way."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import case, exists, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from zoo.jobs.database import Database, now
from zoo.jobs.tables import job, job_group
from zoo.spec import SPEC_VERSION, JobSpec, canonical


@dataclass(frozen=True)
class Hint:
    """Where to send the wake-up call for a queued job."""

    job: str
    pool: str
    model: str


def add(
    db: Database,
    specs: Sequence[JobSpec],
    *,
    group_kind: str | None = None,
    pool: str = "default",
    priority: int = 0,
    tags: Sequence[str] = (),
    max_attempts: int = 3,
    retry_of: str | None = None,
    idem_key: str | None = None,
) -> tuple[list[str], str | None]:
    """Accept jobs, all or none, and give their ids and the group's: from here none can be lost.

    With an `idem_key` that was used before, nothing is added and the earlier job is given.
    """
    group = uuid.uuid4().hex if group_kind else None
    shared = {
        "pool": pool,
        "priority": priority,
        "tags": canonical(list(tags)),
        "max_attempts": max_attempts,
        "retry_of": retry_of,
        "idem_key": idem_key,
        "group_id": group,
        "status": "queued",
        "spec_version": SPEC_VERSION,
    }
    rows: list[dict[str, Any]] = [
        shared
        | {"id": uuid.uuid4().hex, "kind": s.kind, "model": s.model, "dataset": s.dataset}
        | {"spec": s.dump()}
        for s in specs
    ]
    try:
        with db.write() as connection:
            at = connection.execute(select(now())).scalar_one()
            if group:
                connection.execute(
                    insert(job_group).values(id=group, kind=group_kind, created_at=at)
                )
            stamps = {"created_at": at, "dispatched_at": at}
            connection.execute(insert(job), [row | stamps for row in rows])
    except IntegrityError:
        with db.read() as connection:
            found = select(job.c.id, job.c.group_id).where(job.c.idem_key == idem_key)
            earlier = connection.execute(found).one_or_none()
        if earlier is None:
            raise
        return [earlier.id], earlier.group_id
    return [row["id"] for row in rows], group


def retry(db: Database, job_ids: Sequence[str], *, max_attempts: int = 3) -> list[str]:
    """Add each job that did not succeed once more, as it was; gives the new ids, in that order.

    A job of a group is retried in its group, where it takes the place of the earlier one. A job
    that has not ended, has succeeded, or was retried before is left out.
    """
    names = ["kind", "model", "dataset", "pool", "priority", "group_id", "tags"]
    kept = [job.c[name] for name in [*names, "spec_version", "spec"]]
    again = job.alias()
    over = job.c.status.in_(["failed", "timed_out", "cancelled", "lost"])
    fresh = ~exists().where(again.c.retry_of == job.c.id)
    with db.write() as connection:
        at = connection.execute(select(now())).scalar_one()
        shared = {"status": "queued", "max_attempts": max_attempts}
        shared |= {"created_at": at, "dispatched_at": at}
        rows = []
        for some in _slices(list(job_ids)):
            found = select(job.c.id, *kept).where(job.c.id.in_(some), over, fresh)
            for row in connection.execute(found.order_by(job.c.seq)).mappings():
                copy = {"id": uuid.uuid4().hex, "retry_of": row["id"]}
                rows.append(dict(row) | shared | copy)
        if rows:
            connection.execute(insert(job), rows)
    return [row["id"] for row in rows]


def _slices(ids: list[str], size: int = 500) -> Iterator[list[str]]:
    # A statement takes a limited number of values.
    return (ids[start : start + size] for start in range(0, len(ids), size))


def stale(db: Database, *, after: float, limit: int = 200) -> list[Hint]:
    """Mark queued jobs that got no hint for `after` seconds as hinted now, and give their hints."""
    due = (
        select(job.c.seq)
        .where(job.c.status == "queued", job.c.not_before <= now())
        .where(job.c.dispatched_at < now() - after)
        .order_by(job.c.priority.desc(), job.c.seq)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    mark = (
        update(job)
        .where(job.c.seq.in_(due), job.c.status == "queued")
        .values(dispatched_at=now())
        .returning(job.c.id, job.c.pool, job.c.model)
    )
    with db.read() as connection:  # most often there is none, and a read disturbs nobody
        if connection.execute(select(func.count()).select_from(due.subquery())).scalar() == 0:
            return []
    with db.write() as connection:
        return [Hint(*row) for row in connection.execute(mark)]


def cancel(db: Database, job_id: str) -> str | None:
    """Cancel a queued job, ask for the cancel of a running one; None if it has ended already."""
    queued = job.c.status == "queued"
    ask = (
        update(job)
        .where(job.c.id == job_id, job.c.status.in_(["queued", "running"]))
        .values(
            cancel_requested=1,
            status=case((queued, "cancelled"), else_=job.c.status),
            finished_at=case((queued, now()), else_=None),
        )
        .returning(job.c.status)
    )
    with db.write() as connection:
        return connection.execute(ask).scalar_one_or_none()
