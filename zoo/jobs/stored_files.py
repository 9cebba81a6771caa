"""What the rows say of stored files: which there are, and how large they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from zoo.jobs.database import Database, among
from zoo.jobs.records import Job, to_job
from zoo.jobs.removal import checkpoint_place


@dataclass(frozen=True)
class StoredJob:
    """What a row says of the files of its job."""

    id: str
    is_over: bool
    """Whether it has ended."""
    is_removed: bool
    """Whether its files were removed."""
    attempt: int
    seconds: float
    """Duration of the last attempt."""
    artifact: str | None
    """Place of its files."""
    checkpoint: str | None
    """Place of its newest checkpoint."""


def stored_jobs(db: Database, job_ids: Sequence[str]) -> dict[str, StoredJob]:
    """Return what the rows of jobs say of their files, by id; jobs without a row are left out."""
    is_one, ids = among("id", job_ids)
    query = f"""
        SELECT id, attempt, artifact, checkpoint, started_at, finished_at, files_removed_at
        FROM job WHERE {is_one}"""
    return {
        row["id"]: StoredJob(
            row["id"],
            row["finished_at"] is not None,
            row["files_removed_at"] is not None,
            row["attempt"],
            (row["finished_at"] or 0.0) - (row["started_at"] or 0.0),
            row["artifact"],
            checkpoint_place(row),
        )
        for row in db.alone(query, ids)
    }


@dataclass(frozen=True)
class StoredTotals:
    """The files of all jobs."""

    jobs: int
    with_files: int
    unknown: int
    """Jobs with files of unknown size, stored by a worker of an older version."""
    bytes: int


def sum_stored(db: Database) -> StoredTotals:
    """Return the number of jobs and the size of their files."""
    row = db.alone("""
        SELECT count(*) AS n, count(artifact) AS stored, count(artifact_bytes) AS known,
            coalesce(sum(artifact_bytes), 0) AS bytes FROM job""")[0]
    return StoredTotals(row["n"], row["stored"], row["stored"] - row["known"], int(row["bytes"]))


def next_with_files(db: Database, begin: str) -> Job | None:
    """Return the job with files whose id is the next one from `begin` on; the first at the end."""
    query = "SELECT * FROM job WHERE id >= :begin AND artifact IS NOT NULL ORDER BY id LIMIT 1"
    found = db.alone(query, {"begin": begin}) or db.alone(query, {"begin": ""})
    return to_job(found[0]) if found else None


def list_with_files(db: Database, after: int, limit: int) -> list[Job]:
    """List jobs with files in the order of submission, from the place `after` on."""
    query = """
        SELECT * FROM job WHERE seq > :after AND artifact IS NOT NULL
        ORDER BY seq LIMIT :limit"""
    return [to_job(row) for row in db.alone(query, {"after": after, "limit": limit})]


def database_bytes(db: Database) -> int:
    """Return the size of the database on disk."""
    return int(db.alone(f"SELECT {db.sql.database_bytes} AS n")[0]["n"])
