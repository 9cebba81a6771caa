"""Read jobs, groups, logs and history; nothing here changes a row."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from zoo.errors import UsageError
from zoo.jobs import metric_names
from zoo.jobs.database import Database, Row, Transaction, among, slices
from zoo.jobs.environments import Environment
from zoo.jobs.filters import Filter, Values, order_terms
from zoo.jobs.groups import Group
from zoo.jobs.records import AttemptRecord, Job, to_job
from zoo.jobs.statuses import MAY_RUN, PAUSED
from zoo.jobs.worker_records import Pool, Waiting
from zoo.metrics import ACCURACY, Objective


class Chunk(NamedTuple):
    """A part of an attempt's log."""

    attempt: int
    start: int
    """Its offset in the log, in bytes."""
    text: str


class JobNotFound(UsageError):
    """No job or group has that id."""


def get(db: Database, job_id: str) -> Job:
    """Return the job with this full id.

    Raises JobNotFound, a UsageError, if there is none.
    """
    with db.read() as rows:
        row = rows.one("SELECT * FROM job WHERE id = :id", {"id": job_id})
    if row is None:
        raise job_not_found(job_id)
    return to_job(row)


def job_not_found(ref: str) -> JobNotFound:
    """Return the error for an id that no job or group has."""
    return JobNotFound(
        f"No job or group has an id that begins with '{ref}', or that name.",
        "`zoo jobs` lists them.",
    )


def get_group(db: Database, group_id: str) -> Group:
    """Return the group with this full id, its jobs in the order of submission."""
    with db.read() as rows:
        return group_of(rows, group_id)


def group_of(rows: Transaction, group_id: str) -> Group:
    """Return the group with this full id, read in an open transaction."""
    row = rows.one("SELECT * FROM job_group WHERE id = :id", {"id": group_id})
    if row is None:
        raise job_not_found(group_id)
    members = rows.all("SELECT * FROM job WHERE group_id = :id ORDER BY seq", {"id": group_id})
    found = [to_job(each) for each in members]
    # A retry takes the place of the job that it repeats.
    repeated = {each.retry_of for each in found}
    kept = [job for job in found if job.id not in repeated]
    about = json.loads(row["about"])
    # Results that were there before the sweep, and that it reuses.
    for some in slices(about.get("reused") or []):
        is_one, ids = among("id", some)
        earlier = rows.all(f"SELECT * FROM job WHERE {is_one} ORDER BY seq", ids)
        kept = [to_job(each) for each in earlier] + kept
    return Group(row["id"], row["kind"], row["created_at"], kept, about, row["max_parallel"])


def group_objective(db: Database, group_id: str | None) -> Objective:
    """Return the metric by which the trials of a group are ranked; accuracy without a group."""
    query = "SELECT about FROM job_group WHERE id = :id"
    with db.read() as rows:
        about = rows.value(query, {"id": group_id}) if group_id else None
    return Objective.from_json(json.loads(about)) if about else ACCURACY


def group_kinds(db: Database, found: Iterable[Job]) -> dict[str, str]:
    """Return the kinds of the groups of these jobs, by group id."""
    kinds: dict[str, str] = {}
    with db.read() as rows:
        for some in slices(sorted({job.group for job in found if job.group})):
            is_one, named = among("id", some)
            groups = rows.all(f"SELECT id, kind FROM job_group WHERE {is_one}", named)
            kinds |= {row["id"]: row["kind"] for row in groups}
    return kinds


def listing(
    db: Database,
    wanted: Filter | None = None,
    *,
    sort: str = "-created_at",
    limit: int = 100,
    offset: int = 0,
    **fields: Any,
) -> list[Job]:
    """List the jobs that match, newest first or sorted by a field of `FIELD_NAMES`.

    Without a Filter, its fields may be passed directly: `listing(db, statuses=["lost"])`. Raises
    UsageError for an unknown field to sort by, or a metric that no job has.
    """
    values = Values(db.sql)
    # `seq` first: whole rows are large, and an index often covers this query.
    page = f"""
        WHERE {(wanted or Filter(**fields)).sql(values)}
        ORDER BY {", ".join(order_terms(sort, values))}
        LIMIT {values.add(limit)} OFFSET {values.add(offset)}"""
    with db.read() as rows:
        metric_names.check(rows, [sort.lstrip("-")])
        found: list[Row] = []
        if db.is_sqlite and sort == "-accuracy":
            found = rows.all(f"SELECT seq FROM {BEST} {page}", values.named)
        if len(found) < limit:
            found = rows.all(f"SELECT seq FROM job {page}", values.named)
        return jobs_of(rows, [row["seq"] for row in found])


BEST = """
    (SELECT * FROM job WHERE accuracy IS NOT NULL ORDER BY accuracy DESC, seq DESC LIMIT 1000)
    AS job"""
"""The jobs of the highest accuracies. SQLite has no statistics: for a filter and an order by
accuracy it would sort all jobs of a status or model, though the first page is usually among these.
"""


def jobs_of(rows: Transaction, numbers: Sequence[int]) -> list[Job]:
    """Return the jobs with these `seq`, in the given order."""
    jobs: dict[int, Job] = {}
    for some in slices(numbers):
        is_one, named = among("seq", some)
        found = rows.all(f"SELECT * FROM job WHERE {is_one}", named)
        jobs |= {row["seq"]: to_job(row) for row in found}
    return [jobs[number] for number in numbers]


def count(db: Database, wanted: Filter, *, most: int = 100_000) -> int:
    """Count the jobs that match, up to `most`."""
    values = Values(db.sql)
    some = f"SELECT 1 FROM job WHERE {wanted.sql(values)} LIMIT {values.add(most)}"
    with db.read() as rows:
        return int(rows.value(f"SELECT count(*) AS n FROM ({some}) AS counted", values.named))


def list_by_fingerprint(db: Database, fingerprint: str) -> list[Job]:
    """List the newest jobs, at most 20, that succeeded with this fingerprint.

    Those that were stopped are left out: they may have ended before their last step.
    """
    query = """
        SELECT * FROM job
        WHERE fingerprint = :fingerprint AND status = 'succeeded' AND stop_requested = 0
        ORDER BY seq DESC LIMIT 20"""
    with db.read() as rows:
        return [to_job(row) for row in rows.all(query, {"fingerprint": fingerprint})]


def ended_last(db: Database, job_id: str) -> bool:
    """Return whether all jobs of the job's group have ended, this one last."""
    query = """
        SELECT count(*) AS n FROM job AS other JOIN job AS this ON this.group_id = other.group_id
        WHERE this.id = :id AND (other.finished_at IS NULL OR other.finished_at > this.finished_at
            OR (other.finished_at = this.finished_at AND other.seq > this.seq))"""
    with db.read() as rows:
        return int(rows.value(query, {"id": job_id})) == 0


def counts(db: Database) -> dict[str, int]:
    """Count the jobs of each status of `LISTED`."""
    with db.read() as rows:
        found = rows.all("SELECT status, count(*) AS n FROM job GROUP BY status")
        paused = rows.value(f"SELECT count(*) AS n FROM job WHERE {PAUSED}")
    return listed_counts({row["status"]: row["n"] for row in found}, int(paused))


def listed_counts(counts: Mapping[str, int], paused: int) -> dict[str, int]:
    """Return counts by status with the paused jobs, which are queued, as jobs of their own."""
    found = dict(counts)
    if paused:
        found |= {"queued": found["queued"] - paused, "paused": paused}
    return {status: n for status, n in found.items() if n}


def waiting(db: Database) -> list[Waiting]:
    """Count the jobs that wait for a worker only, by pool, model, dataset and device."""
    sql = db.sql
    # Since a job was submitted, or put back and its back-off is over.
    since = "CASE WHEN not_before > created_at THEN not_before ELSE created_at END"
    query = f"""
        SELECT pool, model, dataset, count(*) AS jobs, {sql.now} - min({since}) AS seconds,
            count(dataset_version) = count(*) AS is_added, device FROM job
        WHERE {MAY_RUN} AND not_before <= {sql.now}
            AND pool NOT IN (SELECT name FROM pool WHERE paused_at > 0)
        GROUP BY pool, model, dataset, device
        ORDER BY pool, model, dataset, coalesce(device, '')"""
    with db.read() as rows:
        found = rows.all(query)
    return [Waiting(**row | {"is_added": bool(row["is_added"])}) for row in found]


def first_waiting(db: Database) -> list[Job]:
    """List the oldest job of each pool, model, dataset and device that waits for a worker only."""
    sql = db.sql
    query = f"""
        SELECT min(seq) AS seq FROM job
        WHERE {MAY_RUN} AND not_before <= {sql.now}
            AND pool NOT IN (SELECT name FROM pool WHERE paused_at > 0)
        GROUP BY pool, model, dataset, device ORDER BY min(seq)"""
    with db.read() as rows:
        return jobs_of(rows, [row["seq"] for row in rows.all(query)])


def retries(db: Database, job_ids: Sequence[str]) -> dict[str, str]:
    """Return the id of the job that repeats each of these, of those submitted again."""
    is_one, ids = among("retry_of", job_ids)
    with db.read() as rows:
        found = rows.all(f"SELECT retry_of, id FROM job WHERE {is_one}", ids)
    return {row["retry_of"]: row["id"] for row in found}


def list_silent(db: Database) -> list[Job]:
    """List the running jobs with a silent worker (see `Job.silent_for`), the longest first."""
    sql = db.sql
    last_beat = "coalesce(beat_at, lease_until)"
    query = f"""
        SELECT seq FROM job
        WHERE status = 'running' AND {sql.now} - {last_beat} > (lease_until - {last_beat}) / 2
        ORDER BY {last_beat} LIMIT 1000"""
    with db.read() as rows:
        return jobs_of(rows, [row["seq"] for row in rows.all(query)])


def has_work(db: Database) -> bool:
    """Return whether a queued job may be claimed, now or after its back-off."""
    query = f"""
        SELECT 1 AS yes FROM job
        WHERE {MAY_RUN} AND pool NOT IN (SELECT name FROM pool WHERE paused_at > 0) LIMIT 1"""
    with db.read() as rows:
        return rows.one(query) is not None


def pools(db: Database) -> list[Pool]:
    """List every pool that has unfinished jobs or was ever paused, by name."""
    query = """
        SELECT pool AS name, status, count(*) AS n, sum(held) AS held FROM job
        WHERE status IN ('queued', 'running') GROUP BY pool, status"""
    with db.read() as rows:
        paused = {row["name"]: row["paused_at"] for row in rows.all("SELECT * FROM pool")}
        counted = rows.all(query)
    found = {(row["name"], row["status"]): row["n"] for row in counted}
    held = {row["name"]: int(row["held"]) for row in counted if row["status"] == "queued"}
    return [
        Pool(
            name,
            paused.get(name),
            found.get((name, "queued"), 0),
            found.get((name, "running"), 0),
            held.get(name, 0),
        )
        for name in sorted(paused.keys() | {name for name, _ in found})
    ]


def paused_pools(db: Database) -> set[str]:
    """Return the names of the paused pools."""
    with db.read() as rows:
        return {row["name"] for row in rows.all("SELECT name FROM pool WHERE paused_at > 0")}


def open_dependencies(db: Database, job_id: str) -> list[Job]:
    """List the jobs that a job depends on and that have not ended."""
    query = """
        SELECT job.* FROM dependency JOIN job ON job.id = needs_id
        WHERE job_id = :id AND finished_at IS NULL ORDER BY seq"""
    with db.read() as rows:
        return [to_job(row) for row in rows.all(query, {"id": job_id})]


def attempts(db: Database, job_id: str) -> list[AttemptRecord]:
    """List the attempts at a job, the first one first."""
    with db.read() as rows:
        found = rows.all("SELECT * FROM attempt WHERE job_id = :id ORDER BY n", {"id": job_id})
    return [_attempt(row) for row in found]


def _attempt(row: Row) -> AttemptRecord:
    resumed_from = json.loads(row["resumed_from"] or "null")
    return AttemptRecord(**row | {"environment": _environment(row), "resumed_from": resumed_from})


def _environment(row: Row) -> Environment | None:
    stored = json.loads(row["environment"] or "null")
    return Environment.from_json(stored) if stored else None


def given_back_by(db: Database, job_id: str) -> set[str]:
    """Return the names of the workers that gave the job back because they cannot run it."""
    query = """
        SELECT DISTINCT worker FROM attempt
        WHERE job_id = :id AND counts = 0 AND error_code NOT IN ('drained', 'killed', 'lost')"""
    with db.read() as rows:
        return {row["worker"] for row in rows.all(query, {"id": job_id})}


def log_after(db: Database, job_id: str, seen: tuple[int, int] = (0, -1)) -> list[Chunk]:
    """List the chunks of the job's log after `seen`, (attempt, start)."""
    query = """
        SELECT attempt, start, text FROM log
        WHERE job_id = :id AND (attempt > :n OR (attempt = :n AND start > :start))
        ORDER BY attempt, start"""
    with db.read() as rows:
        found = rows.all(query, {"id": job_id, "n": seen[0], "start": seen[1]})
    return [Chunk(**row) for row in found]


def steps_after(
    db: Database, job_id: str, seen: tuple[int, int] = (0, -1)
) -> list[tuple[int, int, dict[str, float]]]:
    """List (attempt, step, metrics) of the steps reported after `seen`, (attempt, step).

    Steps that an attempt has from the checkpoint of an earlier one are left out.
    """
    query = """
        SELECT h.attempt, step, metrics, resumed_from
        FROM history AS h LEFT JOIN attempt AS a ON a.job_id = h.job_id AND a.n = h.attempt
        WHERE h.job_id = :id AND (h.attempt > :n OR (h.attempt = :n AND step > :step))
        ORDER BY h.attempt, step"""
    with db.read() as rows:
        found = rows.all(query, {"id": job_id, "n": seen[0], "step": seen[1]})
    return [
        (row["attempt"], row["step"], json.loads(row["metrics"]))
        for row in found
        if row["attempt"] == 1 or row["step"] > _resumed_at(row["resumed_from"])
    ]


def _resumed_at(stored: str | None) -> float:
    """Return the step of the checkpoint from which an attempt went on; -inf if it began anew."""
    return float(json.loads(stored)["step"]) if stored else -math.inf


def steps(db: Database, job_id: str) -> list[dict[str, Any]]:
    """List the metrics that the last attempt reported at each step."""
    query = """
        SELECT step, metrics FROM history
        WHERE job_id = :id AND attempt = (SELECT max(attempt) FROM history WHERE job_id = :id)
        ORDER BY step"""
    with db.read() as rows:
        found = rows.all(query, {"id": job_id})
    return [{"step": row["step"]} | json.loads(row["metrics"]) for row in found]


def timed_steps(db: Database, job_id: str) -> list[dict[str, Any]]:
    """List what the last attempt reported at each step, as {"step", "at", "metrics"}.

    `at` is in seconds since 1970 of the database's clock; of a step that the attempt has from a
    checkpoint it is that of the attempt which ran it. None if a worker of an older version ran it.
    """
    query = """
        SELECT attempt, step, metrics, at FROM history
        WHERE job_id = :id ORDER BY attempt, step"""
    with db.read() as rows:
        found = rows.all(query, {"id": job_id})
    times = {row["step"]: row["at"] for row in found if row["at"] is not None}
    return [
        {"step": row["step"], "at": times.get(row["step"]), "metrics": json.loads(row["metrics"])}
        for row in found
        if row["attempt"] == found[-1]["attempt"]
    ]


def check_metrics(db: Database, names: Iterable[str]) -> None:
    """Raise UsageError, listing the known metrics, for a `metrics.NAME` that no job has."""
    with db.read() as rows:
        metric_names.check(rows, names)


def clock(db: Database) -> float:
    """Return the time of the database's clock, in seconds since 1970."""
    sql = db.sql
    with db.read() as rows:
        return float(rows.value(f"SELECT {sql.now} AS at"))


def get_many(db: Database, job_ids: Sequence[str]) -> list[Job]:
    """List the jobs with these full ids, oldest first; unknown ids are left out."""
    found = []
    with db.read() as rows:
        for some in slices(job_ids):
            is_one, ids = among("id", some)
            found += rows.all(f"SELECT * FROM job WHERE {is_one} ORDER BY seq", ids)
    return [to_job(row) for row in sorted(found, key=lambda row: int(row["seq"]))]


def statuses_of(db: Database, job_ids: Sequence[str]) -> dict[str, str]:
    """Return the statuses of these jobs, of `LISTED`, by id."""
    found = {}
    with db.read() as rows:
        for some in slices(job_ids):
            is_one, ids = among("id", some)
            listed = f"CASE WHEN {PAUSED} THEN 'paused' ELSE status END"
            for row in rows.all(f"SELECT id, {listed} AS status FROM job WHERE {is_one}", ids):
                found[row["id"]] = row["status"]
    return found


def group_size(db: Database, group: str) -> int:
    """Count all jobs ever submitted in a group, those that were retried included."""
    query = "SELECT count(*) AS n FROM job WHERE group_id = :group"
    with db.read() as rows:
        return int(rows.value(query, {"group": group}))
