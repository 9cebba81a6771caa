"""Actions on many jobs; each part of them is one transaction."""

from __future__ import annotations

import json
from collections.abc import Sequence

from zoo.canonical_json import canonical
from zoo.jobs import metric_names
from zoo.jobs.database import Database, Row, Transaction, again_after_deadlock, among, slices
from zoo.jobs.filters import Filter, Values, order_terms
from zoo.jobs.scheduling import unblock_dependents


def list_ids(
    db: Database,
    wanted: Filter,
    *,
    sort: str = "created_at",
    limit: int = 10**6,
    offset: int = 0,
) -> list[str]:
    """List the ids of the jobs that match, oldest first unless `sort` says otherwise."""
    values = Values(db.sql)
    query = f"""
        SELECT id FROM job WHERE {wanted.sql(values)}
        ORDER BY {", ".join(order_terms(sort, values))}
        LIMIT {values.add(limit)} OFFSET {values.add(offset)}"""
    with db.read() as rows:
        metric_names.check(rows, [sort.lstrip("-")])
        return [row["id"] for row in rows.all(query, values.named)]


def other_owners(db: Database, job_ids: Sequence[str], user: str) -> dict[str, int]:
    """Count the jobs of each owner other than `user`; jobs without an owner are anybody's."""
    found: dict[str, int] = {}
    for some in slices(job_ids):
        is_one, named = among("id", some)
        query = f"""
            SELECT submitted_by, count(*) AS n FROM job
            WHERE {is_one} AND submitted_by <> :user GROUP BY submitted_by ORDER BY submitted_by"""
        with db.read() as rows:
            for row in rows.all(query, {**named, "user": user}):
                found[row["submitted_by"]] = found.get(row["submitted_by"], 0) + row["n"]
    return found


def cancel_many(db: Database, job_ids: Sequence[str]) -> dict[str, str]:
    """Cancel queued jobs and request it of running ones; return the new status by id.

    Jobs that have ended already are left out.
    """
    found: dict[str, str] = {}
    for some in slices(job_ids):
        found |= _cancel(db, some)
    return found


@again_after_deadlock
def _cancel(db: Database, some: Sequence[str]) -> dict[str, str]:
    sql = db.sql
    is_one, named = among("id", some)
    with db.write() as rows:
        # Locked in this order, so that two such transactions do not wait for each other.
        rows.all(f"SELECT id FROM job WHERE {is_one} ORDER BY seq {sql.for_update}", named)
        moved = rows.all(
            f"""
            UPDATE job SET cancel_requested = 1,
                finished_at = CASE WHEN status = 'queued' THEN {sql.now} END,
                status = CASE WHEN status = 'queued' THEN 'cancelled' ELSE status END
            WHERE {is_one} AND status IN ('queued', 'running')
            RETURNING id, status, group_id""",
            named,
        )
        _update_others(rows, [row for row in moved if row["status"] == "cancelled"])
    return {row["id"]: row["status"] for row in moved}


def _update_others(rows: Transaction, ends: Sequence[Row]) -> None:
    """Update the jobs that depend on cancelled ones, and the turns in their groups."""
    is_needed, named = among("needs_id", [end["id"] for end in ends])
    found = rows.all(f"SELECT DISTINCT needs_id FROM dependency WHERE {is_needed}", named)
    needed = {row["needs_id"] for row in found}
    # Usually few; to query for each of ten thousand jobs would take a minute.
    few = [end for end in ends if end["id"] in needed]
    # All groups in one call, so that their locks are taken in one order.
    unblock_dependents(rows, few, {end["group_id"] for end in ends})


@again_after_deadlock
def set_note(db: Database, job_ids: Sequence[str], note: str | None) -> None:
    """Set the note of jobs, or remove it with None."""
    for some in slices(job_ids):
        is_one, named = among("id", some)
        with db.write() as rows:
            rows.run(f"UPDATE job SET note = :note WHERE {is_one}", {**named, "note": note})


@again_after_deadlock
def tag(
    db: Database, job_ids: Sequence[str], add: Sequence[str] = (), remove: Sequence[str] = ()
) -> list[str]:
    """Add and remove tags; return the ids of the jobs whose tags have changed."""
    sql = db.sql
    changed = []
    for some in slices(job_ids):
        is_one, named = among("id", some)
        with db.write() as rows:
            query = f"SELECT id, tags FROM job WHERE {is_one} ORDER BY seq {sql.for_update}"
            found = {row["id"]: json.loads(row["tags"]) for row in rows.all(query, named)}
            new = {
                job: list(dict.fromkeys(each for each in [*old, *add] if each not in remove))
                for job, old in found.items()
            }
            fresh = [job for job in new if new[job] != found[job]]
            rows.many(
                "UPDATE job SET tags = :tags WHERE id = :id",
                [{"id": job, "tags": canonical(new[job])} for job in fresh],
            )
        changed += fresh
    return changed
