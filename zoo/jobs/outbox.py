"""The hooks that are owed: a job that has ended stands here until `job_finished` was called for it.

The row is written by the transaction that ends the job, so a worker that dies in between forgets
nothing: after a while any worker that has hooks takes it over.
"""

from __future__ import annotations

from collections.abc import Sequence

from zoo.jobs.database import Database, Transaction, among

TURN_SECONDS = 120.0
"""A worker's time to call the hooks for a job, before another one may."""

OWE = """
    INSERT INTO outbox (job_id, due_at)
    SELECT id, now() + :turn FROM job WHERE id = :id AND finished_at IS NOT NULL
    ON CONFLICT DO NOTHING"""


def owe(rows: Transaction, job_ids: Sequence[str]) -> None:
    """Write down, in the transaction that ends jobs, that their hooks are to be called."""
    rows.many(OWE, [{"id": job, "turn": TURN_SECONDS} for job in job_ids])


def overdue(db: Database, *, limit: int = 20) -> list[tuple[str, int]]:
    """Take over the hooks that are owed for too long: (job, which try this is), oldest first."""
    due = "SELECT job_id FROM outbox WHERE due_at < now() ORDER BY due_at LIMIT :limit"
    take = f"""
        UPDATE outbox SET due_at = now() + :turn, tries = tries + 1
        WHERE job_id IN ({due} FOR UPDATE SKIP LOCKED) RETURNING job_id, tries"""
    with db.read() as rows:  # most often there is none, and a read disturbs nobody
        if not rows.one(due, {"limit": 1}):
            return []
    with db.write() as rows:
        found = rows.all(take, {"limit": limit, "turn": TURN_SECONDS})
    return [(row["job_id"], row["tries"] + 1) for row in found]


def renew(db: Database, job_ids: Sequence[str]) -> list[str]:
    """Begin one's turn at jobs that ended a while ago; gives those that nobody else has taken."""
    is_one, ids = among("job_id", job_ids)
    begin = f"""
        UPDATE outbox SET due_at = now() + :turn WHERE tries = 0 AND {is_one} RETURNING job_id"""
    with db.write() as rows:
        own = {row["job_id"] for row in rows.all(begin, {"turn": TURN_SECONDS, **ids})}
    return [job for job in dict.fromkeys(job_ids) if job in own]


def is_owed(db: Database, job_id: str) -> bool:
    """Whether the hooks of a job that has ended are still to be called, or under way."""
    with db.read() as rows:
        found = rows.one("SELECT 1 AS yes FROM outbox WHERE job_id = :id", {"id": job_id})
    return found is not None


def settle(db: Database, job_ids: Sequence[str]) -> None:
    """Strike out jobs whose hooks were called, or are given up."""
    is_one, ids = among("job_id", job_ids)
    with db.write() as rows:
        rows.run(f"DELETE FROM outbox WHERE {is_one}", ids)
