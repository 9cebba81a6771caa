"""Look at jobs, groups, logs and history; nothing here changes a row."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from zoo.errors import UsageError
from zoo.jobs.database import Database, among
from zoo.jobs.records import Group, Job, Pool, Waiting, to_job
from zoo.jobs.statuses import MAY_RUN


class Chunk(NamedTuple):
    """A piece of an attempt's log."""

    attempt: int
    start: int
    """Where it stands in the log, in bytes."""
    text: str


def get(db: Database, job_id: str) -> Job:
    """The job of that whole id.

    Raises UsageError if there is none.
    """
    with db.read() as rows:
        row = rows.one("SELECT * FROM job WHERE id = :id", {"id": job_id})
    if row is None:
        raise _no_job(job_id)
    return to_job(row)


def find(db: Database, ref: str) -> Job | Group:
    """The job or group that `ref` names: a unique prefix of its id, or @last for the newest.

    Raises UsageError if there is none, or more than one.
    """
    if ref == "@last":
        newest = listing(db, limit=1)
        if not newest:
            raise UsageError("There is no job yet.", "Submit one: `zoo train logistic`.")
        return get_group(db, newest[0].group) if newest[0].group else newest[0]
    if not ref or not all(c in "0123456789abcdef" for c in ref):
        raise _no_job(ref)
    # A range uses the index, where LIKE might not.
    starting = "SELECT id FROM {} WHERE id >= :ref AND id < :end LIMIT 6"
    with db.read() as rows:
        ends = {"ref": ref, "end": ref + "g"}
        jobs, groups = (
            [row["id"] for row in rows.all(starting.format(table), ends)]
            for table in ("job", "job_group")
        )
    found = [*jobs, *groups]
    if not found:
        raise _no_job(ref)
    if len(found) > 1:
        some = ", ".join(each[: len(ref) + 4] for each in found[:5])
        raise UsageError(
            f"'{ref}' is the beginning of several ids ({some}).", "Give one more letter."
        )
    return get(db, found[0]) if jobs else get_group(db, found[0])


def _no_job(ref: str) -> UsageError:
    return UsageError(
        f"No job or group has an id that begins with '{ref}'.", "`zoo jobs` lists them."
    )


def get_group(db: Database, group_id: str) -> Group:
    """The group of that whole id, with its jobs in the order of their submission."""
    with db.read() as rows:
        row = rows.one("SELECT * FROM job_group WHERE id = :id", {"id": group_id})
        if row is None:
            raise _no_job(group_id)
        members = rows.all("SELECT * FROM job WHERE group_id = :id ORDER BY seq", {"id": group_id})
    found = [to_job(each) for each in members]
    # A retry takes the place of the job that it repeats.
    repeated = {each.retry_of for each in found}
    kept = [job for job in found if job.id not in repeated]
    about = json.loads(row["about"])
    return Group(row["id"], row["kind"], row["created_at"], kept, about, row["max_parallel"])


def listing(
    db: Database,
    *,
    statuses: Sequence[str] = (),
    models: Sequence[str] = (),
    datasets: Sequence[str] = (),
    tags: Sequence[str] = (),
    kind: str | None = None,
    worker: str | None = None,
    not_retried: bool = False,
    limit: int = 100,
) -> list[Job]:
    """The newest jobs that match every filter, newest first."""
    wanted = {"status": statuses, "model": models, "dataset": datasets}
    wanted |= {"kind": [kind] if kind else [], "worker": [worker] if worker else []}
    conditions: list[str] = ["1 = 1"]
    values: dict[str, Any] = {"limit": limit}
    for column, names in wanted.items():
        if names:
            condition, named = among(column, names)
            conditions.append(condition)
            values |= named
    for number, tag in enumerate(tags):
        conditions.append(f"tags LIKE :tag_{number} ESCAPE '!'")
        values |= {f"tag_{number}": f"%{_plainly(json.dumps(tag))}%"}
    if not_retried:
        conditions.append("NOT EXISTS (SELECT 1 FROM job AS again WHERE again.retry_of = job.id)")
    query = f"SELECT * FROM job WHERE {' AND '.join(conditions)} ORDER BY seq DESC LIMIT :limit"
    with db.read() as rows:
        found = [to_job(row) for row in rows.all(query, values)]
    # LIKE looks at the text of the list: a tag that is only a comma is in many.
    return [job for job in found if set(tags) <= set(job.tags)]


def _plainly(text: str) -> str:
    """The text for LIKE, so that no letter of it stands for others."""
    return text.replace("!", "!!").replace("%", "!%").replace("_", "!_")


def counts(db: Database) -> dict[str, int]:
    """How many jobs there are of each status."""
    with db.read() as rows:
        found = rows.all("SELECT status, count(*) AS n FROM job GROUP BY status")
    return {row["status"]: row["n"] for row in found}


def waiting(db: Database) -> list[Waiting]:
    """The queued jobs that are due and wait for nothing but a worker, by pool and model."""
    # Since a job was submitted, or put back and its back-off is over.
    since = "CASE WHEN not_before > created_at THEN not_before ELSE created_at END"
    query = f"""
        SELECT pool, model, count(*) AS jobs, now() - min({since}) AS seconds FROM job
        WHERE {MAY_RUN} AND not_before <= now()
            AND pool NOT IN (SELECT name FROM pool WHERE paused_at > 0)
        GROUP BY pool, model ORDER BY pool, model"""
    with db.read() as rows:
        return [Waiting(**row) for row in rows.all(query)]


def has_work(db: Database) -> bool:
    """Whether a job is queued that a worker may take, now or after its back-off."""
    query = f"""
        SELECT 1 AS yes FROM job
        WHERE {MAY_RUN} AND pool NOT IN (SELECT name FROM pool WHERE paused_at > 0) LIMIT 1"""
    with db.read() as rows:
        return rows.one(query) is not None


def pools(db: Database) -> list[Pool]:
    """Every pool that has unfinished jobs or was ever paused, by name."""
    query = """
        SELECT pool AS name, status, count(*) AS n FROM job
        WHERE status IN ('queued', 'running') GROUP BY pool, status"""
    with db.read() as rows:
        paused = {row["name"]: row["paused_at"] for row in rows.all("SELECT * FROM pool")}
        found = {(row["name"], row["status"]): row["n"] for row in rows.all(query)}
    return [
        Pool(
            name, paused.get(name), found.get((name, "queued"), 0), found.get((name, "running"), 0)
        )
        for name in sorted(paused.keys() | {name for name, _ in found})
    ]


def needs(db: Database, job_id: str) -> list[Job]:
    """The jobs that a job was submitted to wait for and that have not ended."""
    query = """
        SELECT job.* FROM dependency JOIN job ON job.id = needs_id
        WHERE job_id = :id AND finished_at IS NULL ORDER BY seq"""
    with db.read() as rows:
        return [to_job(row) for row in rows.all(query, {"id": job_id})]


def attempts(db: Database, job_id: str) -> list[dict[str, Any]]:
    """Every attempt at the job, first to last."""
    with db.read() as rows:
        return rows.all("SELECT * FROM attempt WHERE job_id = :id ORDER BY n", {"id": job_id})


def log_after(db: Database, job_id: str, seen: tuple[int, int] = (0, -1)) -> list[Chunk]:
    """Chunks of the job's log after `seen`, (attempt, start)."""
    query = """
        SELECT attempt, start, text FROM log
        WHERE job_id = :id AND (attempt > :n OR (attempt = :n AND start > :start))
        ORDER BY attempt, start"""
    with db.read() as rows:
        found = rows.all(query, {"id": job_id, "n": seen[0], "start": seen[1]})
    return [Chunk(**row) for row in found]


def steps(db: Database, job_id: str) -> list[dict[str, Any]]:
    """What the last attempt reported at each step."""
    query = """
        SELECT step, metrics FROM history
        WHERE job_id = :id AND attempt = (SELECT max(attempt) FROM history WHERE job_id = :id)
        ORDER BY step"""
    with db.read() as rows:
        found = rows.all(query, {"id": job_id})
    return [{"step": row["step"]} | json.loads(row["metrics"]) for row in found]


def clock(db: Database) -> float:
    """The time on the database's clock."""
    with db.read() as rows:
        return float(rows.value("SELECT now() AS at"))
