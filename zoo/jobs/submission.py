"""What a submitter does to jobs: add them, cancel them, and see that each has a hint under way."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from zoo.jobs.database import Database, RowRefused, among, slices
from zoo.spec import SPEC_VERSION, JobSpec, canonical

COLUMNS = (
    *("id", "kind", "model", "dataset", "pool", "priority", "group_id", "tags", "spec_version"),
    *("spec", "status", "max_attempts", "retry_of", "idem_key", "created_at", "dispatched_at"),
    "ranked",
)
"""What is known of a job when it is added."""
INSERT = f"INSERT INTO job ({', '.join(COLUMNS)}) VALUES (:{', :'.join(COLUMNS)})"


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
        | {"spec": s.dump(), "ranked": int(_is_ranked(s, group_kind))}
        for s in specs
    ]
    try:
        with db.write() as table:
            at = table.value("SELECT now() AS at")
            if group:
                table.run(
                    "INSERT INTO job_group (id, kind, created_at) VALUES (:id, :kind, :at)",
                    {"id": group, "kind": group_kind, "at": at},
                )
            stamps = {"created_at": at, "dispatched_at": at}
            table.many(INSERT, [row | stamps for row in rows])
    except RowRefused:
        same = "SELECT id, group_id FROM job WHERE idem_key = :idem_key"
        with db.read() as rows_now:
            earlier = rows_now.one(same, {"idem_key": idem_key})
        if earlier is None:
            raise
        return [earlier["id"]], earlier["group_id"]
    return [row["id"] for row in rows], group


def _is_ranked(spec: JobSpec, group_kind: str | None) -> bool:
    """Whether its accuracy is a result of its own: on test images, and not a part of a mean."""
    return spec.split == "test" and spec.fold is None and group_kind not in ("cv", "seeds")


def retry(db: Database, job_ids: Sequence[str], *, max_attempts: int = 3) -> list[str]:
    """Add each job that did not succeed once more, as it was; gives the new ids, in that order.

    A job of a group is retried in its group, where it takes the place of the earlier one. A job
    that has not ended, has succeeded, or was retried before is left out.
    """
    rows: list[dict[str, Any]] = []
    with db.write() as table:
        at = table.value("SELECT now() AS at")
        for some in slices(list(job_ids)):
            is_one, ids = among("id", some)
            found = f"""
                SELECT * FROM job WHERE {is_one}
                    AND status IN ('failed', 'timed_out', 'cancelled', 'lost')
                    AND NOT EXISTS (SELECT 1 FROM job AS again WHERE again.retry_of = job.id)
                ORDER BY seq"""
            fresh = {"status": "queued", "max_attempts": max_attempts, "idem_key": None}
            fresh |= {"created_at": at, "dispatched_at": at}
            # So that of two who retry the same jobs at once, one finds them taken.
            table.all(f"SELECT id FROM job WHERE {is_one} FOR UPDATE", ids)
            for row in table.all(found, ids):
                kept = {name: row[name] for name in COLUMNS}
                rows.append(kept | fresh | {"id": uuid.uuid4().hex, "retry_of": row["id"]})
        table.many(INSERT, rows)
    return [row["id"] for row in rows]


def stale(db: Database, *, after: float, limit: int = 200) -> list[Hint]:
    """Mark queued jobs that got no hint for `after` seconds as hinted now, and give their hints.

    Those that have waited longest for one come first: else the head of a long queue that nobody
    serves would take every hint, and a job behind it that somebody could run would get none.
    """
    due = """
        SELECT seq FROM job
        WHERE status = 'queued' AND not_before <= now() AND dispatched_at < now() - :after
        ORDER BY dispatched_at, priority DESC, seq LIMIT :limit FOR UPDATE SKIP LOCKED"""
    mark = f"""
        UPDATE job SET dispatched_at = now() WHERE status = 'queued' AND seq IN ({due})
        RETURNING id, pool, model"""
    values = {"after": after, "limit": limit}
    with db.read() as rows:  # most often there is none, and a read disturbs nobody
        if not rows.one(due.replace("FOR UPDATE SKIP LOCKED", ""), values | {"limit": 1}):
            return []
    with db.write() as rows:
        return [Hint(row["id"], row["pool"], row["model"]) for row in rows.all(mark, values)]


def cancel(db: Database, job_id: str) -> str | None:
    """Cancel a queued job, ask for the cancel of a running one; None if it has ended already."""
    with db.write() as rows:
        status: str | None = rows.value(
            """
            UPDATE job SET cancel_requested = 1,
                finished_at = CASE WHEN status = 'queued' THEN now() END,
                status = CASE WHEN status = 'queued' THEN 'cancelled' ELSE status END
            WHERE id = :id AND status IN ('queued', 'running') RETURNING status""",
            {"id": job_id},
        )
    return status
