"""The line that a queued job stands in: what is before it, and how long such jobs take."""

from __future__ import annotations

from collections.abc import Collection
from statistics import median
from typing import NamedTuple

from zoo.jobs.database import Database, among


class Turn(NamedTuple):
    """A job that takes its turn before another."""

    model: str
    dataset: str
    seconds: float
    """How long it has been running; 0 while it is queued."""
    worker: str | None


def due_in(db: Database, job_id: str) -> float:
    """Seconds until a queued job may be claimed; 0 or less if it may be now."""
    with db.read() as rows:
        found = rows.value("SELECT not_before - now() AS s FROM job WHERE id = :id", {"id": job_id})
    return float(found or 0)


def ahead(db: Database, job_id: str, models: Collection[str]) -> list[Turn]:
    """The queued jobs of these models and the job's pool that are claimed before it."""
    one_of, names = among("model", sorted(models))
    before = f"""
        SELECT model, dataset, CAST(0 AS DOUBLE PRECISION) AS seconds, NULL AS worker FROM job
        WHERE status = 'queued' AND pool = :pool AND {one_of} AND not_before <= now()
            AND (priority > :priority OR (priority = :priority AND seq < :seq))"""
    with db.read() as rows:
        own = rows.one("SELECT pool, priority, seq FROM job WHERE id = :id", {"id": job_id})
        return [Turn(**row) for row in rows.all(before, own | names)] if own else []


def running(db: Database, workers: Collection[str]) -> list[Turn]:
    """What these workers, by their names, run now."""
    theirs, names = among("worker", sorted(workers))
    query = f"""
        SELECT model, dataset, now() - started_at AS seconds, worker FROM job
        WHERE status = 'running' AND {theirs}"""
    with db.read() as rows:
        return [Turn(**row) for row in rows.all(query, names)]


def usual_seconds(db: Database, model: str, dataset: str, last: int = 20) -> float | None:
    """The median time from claim to end of the last trainings that succeeded; None without any."""
    query = """
        SELECT finished_at - started_at AS seconds FROM job
        WHERE status = 'succeeded' AND kind = 'train' AND model = :model AND dataset = :dataset
        ORDER BY seq DESC LIMIT :last"""
    with db.read() as rows:
        found = rows.all(query, {"model": model, "dataset": dataset, "last": last})
    return median(row["seconds"] for row in found) if found else None
