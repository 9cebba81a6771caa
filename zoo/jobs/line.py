"""The line that a queued job stands in: what is before it, and how long such jobs take."""

from __future__ import annotations

from collections.abc import Collection
from statistics import median
from typing import NamedTuple

from zoo.jobs.database import Database, among
from zoo.jobs.statuses import MAY_RUN


class Turn(NamedTuple):
    """A job that takes its turn before another."""

    model: str
    dataset: str
    seconds: float
    """How long it has been running; 0 while it is queued."""
    worker: str | None


class Gate(NamedTuple):
    """What keeps a queued job from being claimed, whoever is there."""

    held: bool
    blockers: int
    """How many jobs it waits for."""
    parked: bool
    """Its group runs as many at once as it may."""
    paused: bool
    """Its pool is."""


def gate(db: Database, job_id: str) -> Gate:
    """What keeps a job from being claimed."""
    query = """
        SELECT held, blockers, parked,
            EXISTS (SELECT 1 FROM pool WHERE name = job.pool AND paused_at > 0) AS paused
        FROM job WHERE id = :id"""
    with db.read() as rows:
        row = rows.one(query, {"id": job_id}) or {}
    held, parked, paused = (bool(row.get(name)) for name in ("held", "parked", "paused"))
    return Gate(held, int(row.get("blockers", 0)), parked, paused)


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
        WHERE {MAY_RUN} AND pool = :pool AND {one_of} AND not_before <= now()
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
