"""Take back what dead workers hold: their leases pass, and any worker may see to it."""

from __future__ import annotations

from typing import Any

from zoo.jobs import backoff as backing_off
from zoo.jobs.claims import Claim
from zoo.jobs.database import Database, Row, again_after_deadlock
from zoo.jobs.outbox import owe
from zoo.jobs.scheduling import after_ends
from zoo.jobs.transitions import end_attempt, held_by_claim

EXPIRED = "lease_until < now()"


def abandon(db: Database, worker: str) -> int:
    """Let the leases of a worker end at once, for it is known to be dead; gives their number."""
    end = """
        UPDATE job SET lease_until = 0 WHERE status = 'running' AND worker = :worker
        RETURNING id"""
    with db.write() as rows:
        return len(rows.all(end, {"worker": worker}))


@again_after_deadlock
def reap(db: Database, *, backoff: float, owes_hooks: bool = False) -> list[tuple[str, str]]:
    """Take back every running job whose lease has passed; gives (id, new status).

    Any worker may do this at any time: a job already taken back does not match again. One that
    has hooks owes them for those that end so.
    """
    expired = f"SELECT * FROM job WHERE status = 'running' AND {EXPIRED} LIMIT 100"
    with db.read() as rows:  # most often there is none, and a read disturbs nobody
        if not rows.one(expired):
            return []
    moved, ends = [], []
    with db.write() as rows:
        # A row that somebody holds just now is looked at the next time.
        for row in rows.all(f"{expired} FOR UPDATE SKIP LOCKED"):
            status, values = _after_loss(row, backing_off.after(rows, row["id"], backoff))
            held = Claim(row["id"], row["attempt"], row["owner"])
            # A beat may have come in between: on PostgreSQL the lease is looked at again.
            move = f"""
                UPDATE job SET status = :new, owner = NULL, lease_until = NULL, dispatched_at = 0,
                    error_code = :code, error = :error, not_before = now() + :wait,
                    finished_at = CASE WHEN :new = 'queued' THEN NULL ELSE now() END
                WHERE {held_by_claim()} AND {EXPIRED} RETURNING id"""
            if rows.one(move, vars(held) | values | {"new": status}):
                end_attempt(rows, held, "lost", "lost", "its worker fell silent")
                moved.append((held.job, status))
                if status != "queued":
                    ends.append(row | {"status": status})
        ended = after_ends(rows, ends)
        owe(rows, ended if owes_hooks else [])
    return moved


def _after_loss(row: Row, wait: float) -> tuple[str, dict[str, Any]]:
    if row["cancel_requested"]:
        return "cancelled", {"code": None, "error": None, "wait": 0.0}
    if row["attempt"] >= row["max_attempts"]:
        tries = f"its worker died in each of {row['attempt']} attempts"
        return "lost", {"code": "lost", "error": tries, "wait": 0.0}
    return "queued", {"code": None, "error": None, "wait": wait}
