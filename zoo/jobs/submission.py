"""Changes made by submitters: add, extend, retry and cancel jobs, and choose hints to send."""

from __future__ import annotations

import json
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from zoo.canonical_json import canonical
from zoo.errors import UsageError
from zoo.job_spec import SPEC_VERSION, JobSpec, trial_of
from zoo.jobs.bulk_actions import cancel_many
from zoo.jobs.database import (
    Database,
    RowRefused,
    Transaction,
    again_after_deadlock,
    among,
    slices,
)
from zoo.jobs.pruning import Pruner
from zoo.jobs.queue_options import QueueOptions
from zoo.jobs.references import find_jobs
from zoo.jobs.removal import source_of
from zoo.jobs.scheduling import (
    add_dependencies,
    copy_dependencies,
    count_blockers,
    join_turns,
    unblock_dependents,
)
from zoo.jobs.statuses import MAY_RUN

COLUMNS = (
    *("id", "kind", "model", "dataset", "pool", "priority", "group_id", "tags", "spec_version"),
    *("spec", "status", "max_attempts", "retry_of", "idem_key", "created_at", "dispatched_at"),
    *("blockers", "parked", "ranked", "dataset_version", "device", "pruner", "pause_at"),
    *("checkpoint", "submitted_by", "name", "note", "pinned"),
)
"""The columns that are set when a job is inserted."""
INSERT = f"INSERT INTO job ({', '.join(COLUMNS)}) VALUES (:{', :'.join(COLUMNS)})"
INSERT_GROUP = """
    INSERT INTO job_group (id, kind, created_at, about, max_parallel, pruner)
    VALUES (:id, :kind, :at, :about, :most, :pruner)"""


@dataclass(frozen=True)
class Hint:
    """A queued job and the broker queue (pool, model) whose workers are to be woken."""

    job: str
    pool: str
    model: str


@again_after_deadlock
def add(
    db: Database,
    specs: Sequence[JobSpec],
    options: QueueOptions | None = None,
    *,
    group_kind: str | None = None,
    about: Mapping[str, Any] | None = None,
    max_attempts: int = 3,
    idem_key: str | None = None,
    pruner: Pruner | None = None,
) -> tuple[list[str], str | None]:
    """Insert jobs, all or none, and return their ids and that of the group.

    Once the transaction has committed, no job can be lost.

    Args:
        options: When and where the jobs run.
        group_kind: Put the jobs into one group of this kind.
        about: The group's own data, as JSON (of a sweep, its space and sampler).
        idem_key: If a job was added with this key before, nothing is inserted and the ids of that
            job and its group are returned.
        pruner: Ends the trials of a sweep early, or lets them wait at rungs.

    Raises:
        UsageError: For a reference in `options` that names no job, or if the files of a trained
            model were removed.
    """
    sql = db.sql
    options = options or QueueOptions()
    # id -> whether any terminal status satisfies the dependency.
    after = {job.id: True for job in find_jobs(db, options.after_any)}
    after |= {job.id: False for job in find_jobs(db, options.after)}
    group = uuid.uuid4().hex if group_kind else None
    shared = _shared(options, max_attempts) | {"idem_key": idem_key, "group_id": group}
    shared |= _pruned_by(pruner)
    rows = [shared | own for own in _own(specs, group_kind, options)]
    try:
        with db.write() as table:
            at = table.value(f"SELECT {sql.now} AS at")
            if group:
                facts = {"id": group, "kind": group_kind, "at": at, "most": options.max_parallel}
                facts |= {"about": canonical(dict(about or {})), "pruner": pruner and pruner.dump()}
                table.run(INSERT_GROUP, facts)
            _lock_sources(table, [spec.source.job for spec in specs if spec.source])
            blockers = count_blockers(table, len(rows), after) if after else 0
            stamps = {"created_at": at, "dispatched_at": at, "blockers": blockers}
            most = options.max_parallel
            turns = len(rows) if most is None else 0 if blockers else most
            parked = ({"parked": int(number >= turns)} for number in range(len(rows)))
            added = [row | stamps | turn for row, turn in zip(rows, parked, strict=True)]
            table.many(INSERT, added)
            add_dependencies(table, [row["id"] for row in rows], after)
    except RowRefused:
        same = "SELECT id, group_id FROM job WHERE idem_key = :idem_key"
        with db.read() as rows_now:
            earlier = rows_now.one(same, {"idem_key": idem_key})
        if earlier is None:
            raise
        return [earlier["id"]], earlier["group_id"]
    return [row["id"] for row in rows], group


def _lock_sources(table: Transaction, trained: Sequence[str]) -> None:
    """Lock trained jobs, so that their files are not removed while an evaluation is inserted."""
    for some in slices(sorted(set(trained))):
        is_one, ids = among("id", some)
        query = f"SELECT id, files_removed_at FROM job WHERE {is_one} ORDER BY seq"
        for row in table.all(f"{query} {table.sql.for_update}", ids):
            if row["files_removed_at"] is not None:
                raise UsageError(
                    f"The files of the job {row['id'][:8]} were removed: its model is gone.",
                    "Train it again: `zoo rerun` submits it unchanged.",
                )


def _shared(options: QueueOptions, max_attempts: int) -> dict[str, Any]:
    return {
        "priority": options.priority,
        "tags": canonical(list(options.tags)),
        "max_attempts": max_attempts,
        "submitted_by": options.submitted_by,
        "name": options.name,
        "note": None,
        "pinned": 0,
        "retry_of": None,
        "idem_key": None,
        "checkpoint": None,
        "status": "queued",
        "spec_version": SPEC_VERSION,
    }


def _pruned_by(pruner: Pruner | None) -> dict[str, Any]:
    """Return the columns of a new trial that depend on the sweep's pruner."""
    return {"pruner": pruner and pruner.name, "pause_at": pruner and pruner.first_pause}


def _own(
    specs: Sequence[JobSpec], group_kind: str | None, options: QueueOptions
) -> list[dict[str, Any]]:
    """Return the columns that differ between jobs of one submission.

    A job is `ranked` if its accuracy is a result by itself: on test images and not part of a mean.
    """
    trials = Counter(trial_of(vars(spec)) for spec in specs) if group_kind == "sweep" else {}
    found = []
    for spec in specs:
        is_part = group_kind in ("cv", "seeds") or spec.fold is not None
        is_part |= bool(trials) and trials[trial_of(vars(spec))] > 1
        named: dict[str, Any] = {n: getattr(spec, n) for n in ("kind", "model", "dataset")}
        named |= {"device": spec.device, "pool": options.pool_of(spec.device)}
        own = {"id": uuid.uuid4().hex, "spec": spec.dump(), "dataset_version": spec.version}
        found.append(named | own | {"ranked": int(spec.split == "test" and not is_part)})
    return found


def extend(
    db: Database,
    group: str,
    specs: Sequence[JobSpec],
    options: QueueOptions | None = None,
    *,
    known: int,
    max_attempts: int = 3,
) -> list[str] | None:
    """Add jobs to a group of `known` jobs and return their ids.

    Returns None and adds nothing if the group has another number of jobs by now, because another
    process has extended it.
    """
    sql = db.sql
    options = options or QueueOptions()
    shared = _shared(options, max_attempts) | {"group_id": group}
    values = {"group": group}
    with db.write() as table:
        lock = f"SELECT pruner FROM job_group WHERE id = :group {sql.for_update}"
        pruner = table.value(lock, values)
        shared |= _pruned_by(Pruner.load(pruner) if pruner else None)
        found = table.value("SELECT count(*) AS n FROM job WHERE group_id = :group", values)
        if found != known:
            return None
        at = table.value(f"SELECT {sql.now} AS at")
        stamps = {"created_at": at, "dispatched_at": at, "blockers": 0, "parked": 0}
        rows = [shared | own | stamps for own in _own(specs, "sweep", options)]
        table.many(INSERT, rows)
        ids = [row["id"] for row in rows]
        join_turns(table, ids, [group])
    return ids


@again_after_deadlock
def complete_sweep(db: Database, group: str, *, trials: int) -> None:
    """Record that a sweep has all of its trials, fewer than planned: there are no others.

    Its paused trials are then promoted or pruned without waiting for more.
    """
    sql = db.sql
    values = {"group": group}
    with db.write() as table:
        lock = f"SELECT about, pruner FROM job_group WHERE id = :group {sql.for_update}"
        row = table.one(lock, values)
        if row is None:
            return
        about = json.loads(row["about"]) | {"trials": trials, "is_complete": True}
        pruner = row["pruner"] and replace(Pruner.load(row["pruner"]), trials=None).dump()
        values |= {"about": canonical(about), "pruner": pruner}
        table.run("UPDATE job_group SET about = :about, pruner = :pruner WHERE id = :group", values)
        unblock_dependents(table, [], [group])


@again_after_deadlock
def retry(
    db: Database,
    job_ids: Sequence[str],
    *,
    max_attempts: int = 3,
    resume: bool = False,
    exact: bool = False,
    submitted_by: str | None = None,
) -> list[str]:
    """Submit jobs that ended without success again, unchanged, and return the new ids in order.

    With `resume` they start from the newest checkpoint of the old ones, if there is one; with
    `exact` only where that ends with the same bits. Their owner is `submitted_by`, else that of the
    old ones.

    The retry of a job in a group takes its place in the group. Jobs that have not ended, have
    succeeded or were retried before are left out. Raises UsageError, and retries none, if one
    depends on the success of a job that has ended without it.
    """
    sql = db.sql
    rows: list[dict[str, Any]] = []
    with db.write() as table:
        at = table.value(f"SELECT {sql.now} AS at")
        for some in slices(list(job_ids)):
            is_one, ids = among("id", some)
            found = f"""
                SELECT * FROM job WHERE {is_one}
                    AND status IN ('failed', 'timed_out', 'cancelled', 'lost')
                    AND NOT EXISTS (SELECT 1 FROM job AS again WHERE again.retry_of = job.id)
                ORDER BY seq"""
            fresh = {"status": "queued", "max_attempts": max_attempts, "idem_key": None}
            fresh |= {"created_at": at, "dispatched_at": at, "blockers": 0, "parked": 0}
            # Of two processes that retry the same jobs at once, the second finds them retried.
            table.all(f"SELECT id FROM job WHERE {is_one} ORDER BY seq {sql.for_update}", ids)
            for row in table.all(found, ids):
                kept = {name: row[name] for name in COLUMNS}
                if not resume:
                    kept["checkpoint"] = None
                if exact:
                    kept["spec"] = canonical(json.loads(row["spec"]) | {"exact": True})
                kept["note"] = None  # it is about the attempts of the old one
                kept["submitted_by"] = submitted_by or row["submitted_by"]
                rows.append(kept | fresh | {"id": uuid.uuid4().hex, "retry_of": row["id"]})
        evaluated = (source_of(row["spec"]) for row in rows if row["kind"] == "evaluate")
        _lock_sources(table, [each for each in evaluated if each])
        table.many(INSERT, rows)
        # It takes the place of the trial at the rungs, too, and pauses where that one was to.
        moved = "UPDATE rung SET job_id = :id WHERE job_id = :retry_of"
        table.many(moved, [row for row in rows if row["pruner"]])
        added = [row["id"] for row in rows]
        copy_dependencies(table, added)
        join_turns(table, added, {row["group_id"] for row in rows})
    return added


def take_stale_hints(db: Database, *, after: float, limit: int = 200) -> list[Hint]:
    """Mark queued jobs without a hint for `after` seconds as hinted now, and return their hints.

    Those that have waited longest for a hint come first: else the head of a long queue without
    workers would take every hint, and a job behind it that a worker could run would get none.
    """
    sql = db.sql
    return _take_hints(db, f"dispatched_at < {sql.now} - :after", {"after": after, "limit": limit})


def expire_hint(db: Database, job_id: str, *, after: float) -> None:
    """Have `take_stale_hints` return the hint of a queued job, which the broker did not take."""
    db.alone(
        f"UPDATE job SET dispatched_at = {db.sql.now} - :after - 1 "
        "WHERE id = :id AND status = 'queued' RETURNING id",
        {"id": job_id, "after": after},
    )


def take_due_hints(db: Database, *, limit: int = 200) -> list[Hint]:
    """Mark jobs that have just become claimable as hinted now, and return their hints.

    Their dependencies have ended, their hold or the pause of their pool, or it is their turn.
    """
    return _take_hints(db, "dispatched_at = 0", {"limit": limit})


def _take_hints(db: Database, when: str, values: Mapping[str, Any]) -> list[Hint]:
    sql = db.sql
    due = f"""
        SELECT seq FROM job {sql.by_hint_index}
        WHERE {MAY_RUN} AND not_before <= {sql.now} AND {when}
            AND pool NOT IN (SELECT name FROM pool WHERE paused_at > 0)
        ORDER BY dispatched_at, priority DESC, seq LIMIT :limit"""
    mark = f"""
        UPDATE job SET dispatched_at = {sql.now}
        WHERE status = 'queued' AND seq IN ({due} {sql.skip_locked})
        RETURNING id, pool, model"""
    # Usually there is none, and a read takes no lock.
    if not db.alone(due, {**values, "limit": 1}):
        return []
    with db.write() as rows:
        return [Hint(row["id"], row["pool"], row["model"]) for row in rows.all(mark, values)]


def cancel(db: Database, job_id: str) -> str | None:
    """Cancel a queued job or request it of a running one; None if the job has ended already."""
    return cancel_many(db, [job_id]).get(job_id)


def request_stop(db: Database, job_id: str) -> bool:
    """Request that a running job ends its training now; return False if it is not running.

    It succeeds with what it has learned so far.
    """
    ask = """
        UPDATE job SET stop_requested = 1 WHERE id = :id AND status = 'running' RETURNING id"""
    with db.write() as rows:
        return rows.one(ask, {"id": job_id}) is not None
