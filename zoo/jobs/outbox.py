"""Outbox of hooks: a finished job has a row here until `job_finished` was called for it.

The transaction that ends the job writes the row, so nothing is lost if the worker dies before the
call: once the row is overdue, any worker with hooks takes it over.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from zoo.jobs.database import Database, Transaction, among
from zoo.jobs.iso_times import with_iso_times

TURN_SECONDS = 120.0
"""Time that a worker has to call the hooks of a job before another worker may take over."""

NEVER = 1e15
"""`due_at` of skipped hooks."""
ONLY_FILES = 0
"""`skipped_at` of jobs whose hooks were called, but for those that make files."""
IS_PENDING = f"(coalesce(skipped_at, {ONLY_FILES}) = {ONLY_FILES} OR asked = 1)"
MAX_ERROR = 500
"""Longest error of a hook, in characters."""


class HookTurn(NamedTuple):
    """A job whose hooks a worker has taken over."""

    job: str
    n: int
    """The number of this try."""
    only_files: bool
    """Whether only the hooks that make files are still to be called."""


@dataclass(frozen=True)
class HookError:
    """The last error of a plugin's hook for a job."""

    TIMES = ("at",)
    job: str
    plugin: str
    """Empty if the process of the hooks has died or hung."""
    error: str
    at: float

    def to_json(self) -> dict[str, Any]:
        """Return the error as JSON."""
        return with_iso_times(vars(self), self.TIMES)


class FailedHook(NamedTuple):
    """A plugin whose hook has failed lately."""

    plugin: str
    jobs: int
    last: HookError


def enqueue_hooks(rows: Transaction, job_ids: Sequence[str]) -> None:
    """Enqueue the hooks of jobs, in the transaction that ends them."""
    enqueue = f"""
        INSERT INTO outbox (job_id, due_at)
        SELECT id, {rows.sql.now} + :turn FROM job WHERE id = :id AND finished_at IS NOT NULL
        ON CONFLICT DO NOTHING"""
    rows.many(enqueue, [{"id": job, "turn": TURN_SECONDS} for job in job_ids])


def take_overdue_hooks(
    db: Database, *, limit: int = 20, besides: Sequence[str] = ()
) -> list[HookTurn]:
    """Take over hooks that are overdue, oldest first, `besides` jobs that are being called."""
    sql = db.sql
    is_called, ids = among("job_id", besides)
    others = f"AND NOT ({is_called})" if besides else ""
    due = f"""
        SELECT job_id FROM outbox WHERE due_at < {sql.now} {others}
        ORDER BY due_at LIMIT :limit"""
    take = f"""
        UPDATE outbox SET due_at = {sql.now} + :turn, tries = tries + 1
        WHERE job_id IN ({due} {sql.skip_locked}) RETURNING job_id, tries, skipped_at"""
    with db.read() as rows:  # usually there is none, and a read takes no lock
        if not rows.one(due, {"limit": 1, **ids}):
            return []
    with db.write() as rows:
        found = rows.all(take, {"limit": limit, "turn": TURN_SECONDS, **ids})
    return [HookTurn(r["job_id"], r["tries"] + 1, r["skipped_at"] is not None) for r in found]


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


def leave_only_files(db: Database, job_ids: Sequence[str]) -> None:
    """Record that the hooks of jobs were called, but for those that make files."""
    is_one, ids = among("job_id", job_ids)
    update = f"UPDATE outbox SET skipped_at = {ONLY_FILES} WHERE skipped_at IS NULL AND {is_one}"
    with db.write() as rows:
        rows.run(update, ids)


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


def take_requested_hooks(db: Database, *, limit: int = 5) -> list[HookTurn]:
    """Take over jobs whose hooks were requested."""
    sql = db.sql
    query = "SELECT job_id, skipped_at FROM outbox WHERE asked = 1 LIMIT :limit"
    with db.read() as rows:  # usually there is none, and a read takes no lock
        if not rows.one(query, {"limit": 1}):
            return []
    with db.write() as rows:
        found = rows.all(f"{query} {sql.skip_locked}", {"limit": limit})
        is_one, ids = among("job_id", [row["job_id"] for row in found])
        begin = f"""
            UPDATE outbox SET asked = 0, due_at = {sql.now} + :turn, tries = 1,
                skipped_at = CASE WHEN skipped_at IS NULL THEN NULL ELSE {ONLY_FILES} END
            WHERE {is_one}"""
        rows.run(begin, {"turn": TURN_SECONDS, **ids})
    return [HookTurn(row["job_id"], 2, row["skipped_at"] is not None) for row in found]


def complete_hooks(db: Database, job_ids: Sequence[str]) -> None:
    """Delete the rows of jobs whose hooks were called or given up."""
    is_one, ids = among("job_id", job_ids)
    with db.write() as rows:
        rows.run(f"DELETE FROM outbox WHERE {is_one}", ids)


def record_hook_errors(db: Database, job_id: str, errors: Mapping[str, str | None]) -> None:
    """Record how the hooks of these plugins have gone; None deletes an earlier error."""
    insert = f"""
        INSERT INTO hook_error (job_id, plugin, error, at)
        VALUES (:id, :plugin, :error, {db.sql.now})
        ON CONFLICT (job_id, plugin) DO UPDATE SET error = excluded.error, at = excluded.at"""
    with db.write() as rows:
        for plugin, error in errors.items():
            values = {"id": job_id, "plugin": plugin}
            if error is None:
                rows.run("DELETE FROM hook_error WHERE job_id = :id AND plugin = :plugin", values)
            elif rows.one("SELECT 1 AS yes FROM job WHERE id = :id", {"id": job_id}):
                rows.run(insert, values | {"error": error[:MAX_ERROR]})


def hook_errors(db: Database, job_id: str) -> list[HookError]:
    """Return the errors of the hooks of a job, by plugin."""
    query = """
        SELECT job_id AS job, plugin, error, at FROM hook_error
        WHERE job_id = :id ORDER BY plugin"""
    with db.read() as rows:
        return [HookError(**row) for row in rows.all(query, {"id": job_id})]


def failed_hooks(db: Database, *, seconds: float) -> list[FailedHook]:
    """Return the plugins whose hooks have failed in the last `seconds`, with the last error."""
    since = f"at > {db.sql.now} - :seconds"
    query = f"""
        SELECT plugin, job_id AS job, error, at, n FROM (
            SELECT hook_error.*, count(*) OVER (PARTITION BY plugin) AS n,
                row_number() OVER (PARTITION BY plugin ORDER BY at DESC, job_id) AS place
            FROM hook_error WHERE {since}) AS lately
        WHERE place = 1 ORDER BY plugin"""
    with db.read() as rows:
        found = rows.all(query, {"seconds": seconds})
    return [FailedHook(row["plugin"], int(row.pop("n")), HookError(**row)) for row in found]


def count_hooks(db: Database) -> tuple[int, int]:
    """Return how many jobs have hooks that are still to be called, and that were skipped."""
    with db.read() as rows:
        return count_hooks_in(rows)


def count_hooks_in(rows: Transaction) -> tuple[int, int]:
    """Return what `count_hooks` does, within a transaction."""
    query = f"SELECT {IS_PENDING} AS is_pending, count(*) AS n FROM outbox GROUP BY 1"
    counted = {bool(row["is_pending"]): int(row["n"]) for row in rows.all(query)}
    return counted.get(True, 0), counted.get(False, 0)
