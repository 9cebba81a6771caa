"""Outbox of hooks: a finished job has a row here until `job_finished` was called for it.

The transaction that ends the job writes the row, so nothing is lost if the worker dies before the
call: once the row is overdue, any worker with hooks takes it over.
"""

from __future__ import annotations

from collections.abc import Sequence

from zoo.jobs.database import Database, Transaction, among

TURN_SECONDS = 120.0
"""Time that a worker has to call the hooks of a job before another worker may take over."""

NEVER = 1e15
"""`due_at` of skipped hooks."""
IS_PENDING = "(skipped_at IS NULL OR asked = 1)"


def enqueue_hooks(rows: Transaction, job_ids: Sequence[str]) -> None:
    """Enqueue the hooks of jobs, in the transaction that ends them."""
    enqueue = f"""
        INSERT INTO outbox (job_id, due_at)
        SELECT id, {rows.sql.now} + :turn FROM job WHERE id = :id AND finished_at IS NOT NULL
        ON CONFLICT DO NOTHING"""
    rows.many(enqueue, [{"id": job, "turn": TURN_SECONDS} for job in job_ids])


def take_overdue_hooks(db: Database, *, limit: int = 20) -> list[tuple[str, int]]:
    """Take over hooks that are overdue: (job id, number of this try), oldest first."""
    sql = db.sql
    due = f"SELECT job_id FROM outbox WHERE due_at < {sql.now} ORDER BY due_at LIMIT :limit"
    take = f"""
        UPDATE outbox SET due_at = {sql.now} + :turn, tries = tries + 1
        WHERE job_id IN ({due} {sql.skip_locked}) RETURNING job_id, tries"""
    with db.read() as rows:  # usually there is none, and a read takes no lock
        if not rows.one(due, {"limit": 1}):
            return []
    with db.write() as rows:
        found = rows.all(take, {"limit": limit, "turn": TURN_SECONDS})
    return [(row["job_id"], row["tries"] + 1) for row in found]


def begin_hooks(db: Database, job_ids: Sequence[str]) -> list[str]:
    """Renew the time to call the hooks of jobs; return the ids that no other worker has taken."""
    sql = db.sql
    is_one, ids = among("job_id", job_ids)
    begin = f"""
        UPDATE outbox SET due_at = {sql.now} + :turn
        WHERE tries = 0 AND {is_one} RETURNING job_id"""
    with db.write() as rows:
        own = {row["job_id"] for row in rows.all(begin, {"turn": TURN_SECONDS, **ids})}
    return [job for job in dict.fromkeys(job_ids) if job in own]


def has_pending_hooks(db: Database, job_id: str) -> bool:
    """Return whether the hooks of a finished job are still to be called, or being called."""
    query = f"SELECT 1 AS yes FROM outbox WHERE job_id = :id AND {IS_PENDING}"
    with db.read() as rows:
        return rows.one(query, {"id": job_id}) is not None


def count_overdue_hooks(db: Database) -> int:
    """Return the number of jobs whose hooks are overdue."""
    sql = db.sql
    with db.read() as rows:
        return int(rows.value(f"SELECT count(*) AS n FROM outbox WHERE due_at < {sql.now}"))


def has_skipped_hooks(db: Database, job_id: str) -> bool:
    """Return whether hooks that would add files to the job were skipped."""
    query = "SELECT 1 AS yes FROM outbox WHERE job_id = :id AND skipped_at > 0 AND asked = 0"
    with db.read() as rows:
        return rows.one(query, {"id": job_id}) is not None


def skip_hooks(db: Database, job_ids: Sequence[str]) -> None:
    """Skip the hooks that add files to these jobs until they are requested."""
    sql = db.sql
    is_one, ids = among("job_id", job_ids)
    leave = f"""
        UPDATE outbox SET skipped_at = {sql.now}, due_at = :never, tries = 0
        WHERE asked = 0 AND {is_one}"""
    with db.write() as rows:
        rows.run(leave, {"never": NEVER, **ids})


def request_hooks(db: Database, job_id: str) -> bool:
    """Request that the hooks of this job are called next; return False if it has none enqueued."""
    with db.write() as rows:
        wanted = "UPDATE outbox SET asked = 1 WHERE job_id = :id RETURNING job_id"
        return rows.one(wanted, {"id": job_id}) is not None


def take_requested_hooks(db: Database, *, limit: int = 5) -> list[tuple[str, bool]]:
    """Take over jobs whose hooks were requested: (job id, whether only files are missing)."""
    sql = db.sql
    query = "SELECT job_id, skipped_at FROM outbox WHERE asked = 1 LIMIT :limit"
    with db.read() as rows:  # usually there is none, and a read takes no lock
        if not rows.one(query, {"limit": 1}):
            return []
    with db.write() as rows:
        found = rows.all(f"{query} {sql.skip_locked}", {"limit": limit})
        is_one, ids = among("job_id", [row["job_id"] for row in found])
        begin = f"""
            UPDATE outbox SET asked = 0, skipped_at = NULL, due_at = {sql.now} + :turn, tries = 1
            WHERE {is_one}"""
        rows.run(begin, {"turn": TURN_SECONDS, **ids})
    return [(row["job_id"], row["skipped_at"] is not None) for row in found]


def complete_hooks(db: Database, job_ids: Sequence[str]) -> None:
    """Delete the rows of jobs whose hooks were called or given up."""
    is_one, ids = among("job_id", job_ids)
    with db.write() as rows:
        rows.run(f"DELETE FROM outbox WHERE {is_one}", ids)
