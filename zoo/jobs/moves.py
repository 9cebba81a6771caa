"""What a worker does to jobs: every move of a status is one statement with its guards."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, RowMapping, Table, case, insert, or_, select, update

from zoo.jobs.database import Database, now
from zoo.jobs.records import Job, to_job
from zoo.jobs.tables import attempt, history, job, log
from zoo.spec import SPEC_VERSION, canonical

MAX_ERROR = 8 * 1024
"""Characters kept of an error."""


@dataclass(frozen=True)
class Claim:
    """The right to run one attempt of a job; every later word about the attempt must carry it."""

    job: str
    attempt: int
    owner: str


@dataclass(frozen=True)
class News:
    """What an attempt has done since the last beat."""

    progress: Mapping[str, Any] | None = None
    """{"phase", "since", "step", "total", "unit", "metrics"}, as far as known."""
    fit_started_at: float | None = None
    """Seconds since 1970, on the worker's clock."""
    steps: Sequence[tuple[int, Mapping[str, Any]]] = ()
    """(step, metrics) of each step that `fit` reported."""
    lines: Sequence[tuple[int, str]] = ()
    """(offset in bytes, text) of the log."""

    def __bool__(self) -> bool:
        return bool(self.progress or self.lines)


@dataclass(frozen=True)
class Outcome:
    """How an attempt ended."""

    status: str
    metrics: Mapping[str, Any] | None = None
    artifact: str | None = None
    """Where its files are, below the artifacts URL; set if and only if it succeeded."""
    artifact_sha256: str | None = None
    error_code: str | None = None
    error: str | None = None


NOTHING_NEW = News()


def claim(
    db: Database,
    *,
    pool: str,
    models: Mapping[str, str],
    datasets: Sequence[str],
    worker: str,
    lease: float,
) -> tuple[Claim, Job] | None:
    """Take the most urgent job (priority, then age) of the pool that this worker can run.

    It can if it has the model, of `models` (name to plugin label), and the dataset: one of
    `datasets`, or files that every worker reads (`idx:...`, `npz:...`). The same statement
    sets the lease, in seconds.
    """
    owner = uuid.uuid4().hex
    best = (
        select(job.c.seq)
        .where(job.c.status == "queued", job.c.pool == pool, job.c.model.in_(list(models)))
        .where(or_(job.c.dataset.in_(list(datasets)), job.c.dataset.like("%:%")))
        .where(job.c.not_before <= now(), job.c.spec_version <= SPEC_VERSION)
        .where(job.c.cancel_requested == 0, job.c.attempt < job.c.max_attempts)
        .order_by(job.c.priority.desc(), job.c.seq)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    take = (
        update(job)
        .where(job.c.seq == best.scalar_subquery(), job.c.status == "queued")
        .values(
            status="running",
            attempt=job.c.attempt + 1,
            owner=owner,
            worker=worker,
            lease_until=now() + lease,
            started_at=now(),
            fit_started_at=None,
            progress=None,
        )
        .returning(job)
    )
    with db.write() as connection:
        row = connection.execute(take).mappings().one_or_none()
        if row is None:
            return None
        taken = to_job(row)
        connection.execute(
            insert(attempt).values(
                job_id=taken.id,
                n=taken.attempt,
                worker=worker,
                plugin=models[taken.model],
                started_at=taken.started_at,
            )
        )
    return Claim(taken.id, taken.attempt, owner), taken


def beat(db: Database, held: Claim, *, lease: float, news: News = NOTHING_NEW) -> bool | None:
    """Extend the lease, keep what is new, and say whether a cancel was requested.

    None: the claim is lost. The runner must be killed and nothing more be written.
    """
    values = {"lease_until": now() + lease} | _told(news)
    with db.write() as connection:
        hold = update(job).where(*_held(held)).values(values).returning(job.c.cancel_requested)
        row = connection.execute(hold).one_or_none()
        if row is None:
            return None
        _keep(connection, held, news)
    return bool(row.cancel_requested)


def _told(news: News) -> dict[str, Any]:
    values: dict[str, Any] = {}
    if news.progress:
        values["progress"] = canonical(dict(news.progress))
    if news.fit_started_at is not None:
        values["fit_started_at"] = news.fit_started_at
    return values


def _held(held: Claim) -> list[Any]:
    return [
        job.c.id == held.job,
        job.c.status == "running",
        job.c.attempt == held.attempt,
        job.c.owner == held.owner,
    ]


def _keep(connection: Connection, held: Claim, news: News) -> None:
    base = {"job_id": held.job, "attempt": held.attempt}
    steps = [base | {"step": n, "metrics": canonical(dict(m))} for n, m in news.steps]
    lines = [base | {"start": start, "text": text} for start, text in news.lines]
    _add_once(connection, history, steps)
    _add_once(connection, log, lines)


def _add_once(connection: Connection, table: Table, rows: list[dict[str, Any]]) -> None:
    """Insert rows; one whose key is there already is left as it is."""
    if not rows:
        return
    if connection.dialect.name == "sqlite":
        from sqlalchemy.dialects.sqlite import insert as dialect_insert
    else:
        from sqlalchemy.dialects.postgresql import (  # type: ignore[assignment]
            insert as dialect_insert,
        )
    connection.execute(dialect_insert(table).on_conflict_do_nothing(), rows)


def finish(db: Database, held: Claim, outcome: Outcome, news: News = NOTHING_NEW) -> bool:
    """Commit how the attempt ended; False if the claim was lost, and then nothing is written."""
    metrics, error = outcome.metrics, (outcome.error or "")[:MAX_ERROR] or None
    values = _told(news) | {
        "status": outcome.status,
        "metrics": canonical(dict(metrics)) if metrics is not None else None,
        "artifact": outcome.artifact,
        "artifact_sha256": outcome.artifact_sha256,
        "error_code": outcome.error_code,
        "error": error,
        "finished_at": now(),
        "owner": None,
        "lease_until": None,
    }
    with db.write() as connection:
        done = connection.execute(update(job).where(*_held(held)).values(values))
        if done.rowcount != 1:
            return False
        _keep(connection, held, news)
        _end_attempt(connection, held, outcome.status, outcome.error_code, error)
    return True


def _end_attempt(
    connection: Connection, held: Claim, outcome: str, code: str | None, error: str | None
) -> None:
    this = (attempt.c.job_id == held.job, attempt.c.n == held.attempt)
    connection.execute(
        update(attempt)
        .where(*this, attempt.c.ended_at.is_(None))
        .values(ended_at=now(), outcome=outcome, error_code=code, error=error)
    )


def release(
    db: Database,
    held: Claim,
    *,
    code: str,
    reason: str,
    counts: bool = False,
    delay: float = 0,
    news: News = NOTHING_NEW,
) -> bool:
    """Put a running job back into the queue, due in `delay` seconds; False if the claim was lost.

    Unless the attempt `counts` it is given back: `attempt` never falls, so `max_attempts` grows.
    A job whose cancel was requested meanwhile is cancelled instead.
    """
    cancelled = job.c.cancel_requested == 1
    values: dict[str, Any] = _told(news) | {
        "status": case((cancelled, "cancelled"), else_="queued"),
        "finished_at": case((cancelled, now()), else_=None),
        "owner": None,
        "lease_until": None,
        "dispatched_at": 0,
        "not_before": now() + delay,
    }
    if not counts:
        values["max_attempts"] = job.c.max_attempts + 1
    with db.write() as connection:
        put = update(job).where(*_held(held)).values(values).returning(job.c.status)
        status = connection.execute(put).scalar_one_or_none()
        if status is None:
            return False
        _keep(connection, held, news)
        _end_attempt(connection, held, status, code, reason)
    return True


def reap(db: Database, *, backoff: float) -> list[tuple[str, str]]:
    """Take back every running job whose lease has passed; gives (id, new status).

    Any worker may do this at any time: a job already taken back does not match again.
    """
    moved = []
    with db.write() as connection:
        expired = connection.execute(
            select(job).where(job.c.status == "running", job.c.lease_until < now()).limit(100)
        ).mappings()
        for row in expired.all():
            status, values = _after_loss(row, backoff)
            held = Claim(row["id"], row["attempt"], row["owner"])
            # A beat may have come in between: on PostgreSQL the lease is looked at again.
            still = (*_held(held), job.c.lease_until < now())
            if connection.execute(update(job).where(*still).values(values)).rowcount == 1:
                _end_attempt(connection, held, "lost", "lost", "its worker fell silent")
                moved.append((held.job, status))
    return moved


def _after_loss(row: RowMapping, backoff: float) -> tuple[str, dict[str, Any]]:
    values: dict[str, Any] = {"owner": None, "lease_until": None, "dispatched_at": 0}
    if row["cancel_requested"]:
        return "cancelled", values | {"status": "cancelled", "finished_at": now()}
    if row["attempt"] >= row["max_attempts"]:
        tries = f"its worker died in each of {row['attempt']} attempts"
        ended = {"error_code": "lost", "error": tries, "finished_at": now()}
        return "lost", values | {"status": "lost"} | ended
    wait = backoff * 2 ** min(row["attempt"] - 1, 10)
    return "queued", values | {"status": "queued", "not_before": now() + wait}
