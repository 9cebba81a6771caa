"""Look at many jobs at once: a sweep has hundreds."""

from __future__ import annotations

from collections.abc import Sequence

from zoo.jobs.database import Database, among, slices
from zoo.jobs.records import Job, to_job


def several(db: Database, job_ids: Sequence[str]) -> list[Job]:
    """The jobs of those whole ids, oldest first; an id without a job gives none."""
    found = []
    with db.read() as rows:
        for some in slices(job_ids):
            is_one, ids = among("id", some)
            found += rows.all(f"SELECT * FROM job WHERE {is_one} ORDER BY seq", ids)
    return [to_job(row) for row in sorted(found, key=lambda row: int(row["seq"]))]


def statuses_of(db: Database, job_ids: Sequence[str]) -> dict[str, str]:
    """The status of each of those jobs, by its id."""
    found = {}
    with db.read() as rows:
        for some in slices(job_ids):
            is_one, ids = among("id", some)
            for row in rows.all(f"SELECT id, status FROM job WHERE {is_one}", ids):
                found[row["id"]] = row["status"]
    return found


def group_size(db: Database, group: str) -> int:
    """How many jobs were ever submitted in a group, those that were retried among them."""
    query = "SELECT count(*) AS n FROM job WHERE group_id = :group"
    with db.read() as rows:
        return int(rows.value(query, {"group": group}))
