"""Results of before their metrics were measured: find them, and add what their files determine."""

from __future__ import annotations

import json
from collections.abc import Mapping

from zoo.canonical_json import canonical
from zoo.jobs.database import Database
from zoo.jobs.metric_rows import insert_metrics
from zoo.jobs.records import Job, to_job

LATEST = "expected_calibration_error"
"""A metric that every job has since metrics are measured; null without probabilities."""


def newest_number(db: Database) -> int:
    """Return the number of the newest job, see `list_unmeasured`; 0 without any."""
    with db.read() as rows:
        return int(rows.value("SELECT max(seq) AS n FROM job") or 0)


def list_unmeasured(db: Database, after: int, until: int) -> list[Job]:
    """List the jobs with numbers above `after` and up to `until` that lack metrics.

    They have succeeded, with files and classes; the newest comes first.
    """
    query = f"""
        SELECT * FROM job
        WHERE seq > :after AND seq <= :until AND accuracy IS NOT NULL AND artifact IS NOT NULL
            AND NOT EXISTS (SELECT 1 FROM metric WHERE job_id = job.id AND name = '{LATEST}')
        ORDER BY seq DESC"""
    with db.read() as rows:
        found = [to_job(row) for row in rows.all(query, {"after": after, "until": until})]
    return [job for job in found if job.class_names and LATEST not in job.metrics]


def add_metrics(db: Database, job_id: str, measured: Mapping[str, float | None]) -> None:
    """Add metrics to a result; one that it has already is not changed."""
    sql = db.sql
    select = f"SELECT metrics FROM job WHERE id = :id AND status = 'succeeded' {sql.for_update}"
    with db.write() as rows:
        stored = rows.value(select, {"id": job_id})
        if stored is None:
            return
        known = json.loads(stored)
        rows.run(
            "UPDATE job SET metrics = :metrics WHERE id = :id",
            {"id": job_id, "metrics": canonical({**measured, **known})},
        )
        insert_metrics(rows, [(job_id, {n: v for n, v in measured.items() if n not in known})])
