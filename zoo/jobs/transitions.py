"""Status changes made by workers; each is one statement that checks its own preconditions."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from zoo.canonical_json import canonical
from zoo.dataset_names import FILE_FORMS
from zoo.jobs import backoff as backing_off
from zoo.jobs import pruning
from zoo.jobs.claims import AttemptEnd, Claim, Outcome, ProgressUpdate, Requests
from zoo.jobs.database import Database, Row, Transaction, again_after_deadlock, among
from zoo.jobs.dialects import Dialect
from zoo.jobs.environments import Environment
from zoo.jobs.metric_rows import insert_metrics
from zoo.jobs.outbox import enqueue_hooks
from zoo.jobs.ranking import rank_group
from zoo.jobs.records import Job, to_job
from zoo.jobs.scheduling import CLAIMABLE, claimable, unblock_dependents

CHECKPOINTS = "checkpoints"
"""Checkpoints are at `<job>/checkpoints/<attempt>-<number>` below the URL of artifacts."""
MAX_ERROR = 8 * 1024
"""Maximum number of characters stored of an error."""
NO_UPDATE = ProgressUpdate()

FENCING_TOKEN = {
    "id": "id = :job",
    "status": "status = 'running'",
    "attempt": "attempt = :attempt",
    "owner": "owner = :owner",
}
"""Fencing token: an update whose attempt or owner does not match is ignored."""
CANCELLED = "cancel_requested = 1"


def expired(sql: Dialect) -> str:
    """Return the condition that the lease of a running job has passed."""
    return f"lease_until < {sql.now}"


def _end_job(sql: Dialect) -> str:
    return f"""
        UPDATE job SET status = :outcome, finished_at = {sql.now}, owner = NULL,
            lease_until = NULL, progress = coalesce(:progress, progress), metrics = :metrics,
            accuracy = :accuracy, fit_started_at = coalesce(:fit_started_at, fit_started_at),
            artifact = :artifact, artifact_sha256 = :artifact_sha256,
            artifact_bytes = :artifact_bytes, error_code = :error_code,
            error = :error, fingerprint = :fingerprint, contents = :contents,
            resumed_from = coalesce(:resumed_from, resumed_from),
            checkpoint = CASE WHEN :outcome = 'succeeded' THEN NULL ELSE checkpoint END
        WHERE {fencing_condition()} RETURNING id, status, group_id, pruner, pause_at"""


def _end_attempt(sql: Dialect) -> str:
    return f"""
        UPDATE attempt SET ended_at = {sql.now}, outcome = :outcome, error_code = :code,
            error = :error, environment = :environment, counts = :counts
        WHERE job_id = :job AND n = :attempt AND ended_at IS NULL"""


def claim(
    db: Database,
    *,
    pool: str,
    models: Mapping[str, str],
    datasets: Sequence[str],
    worker: str,
    lease: float,
    avoid: Sequence[str] = (),
    has_gpu: bool = False,
) -> tuple[Claim, Job] | None:
    """Take the most urgent job (priority, then age) of the pool that this worker can run.

    The same statement starts the lease. Returns None if there is no such job.

    Args:
        models: The models that this worker has, mapped to the labels of their plugins.
        datasets: The registered datasets that this worker has, and the schemes `NAME:` of its
            plugins. Added ones, which have a version, are fetched by all, and files (`idx:...`,
            `npz:...`) are read by all.
        worker: The name of this worker.
        lease: Seconds until the claim expires unless `beat` extends it.
        avoid: Ids of jobs to leave to other workers.
        has_gpu: Whether this worker has a free GPU; without one, jobs for it are left.
    """
    sql = db.sql
    has_model, names = among("model", list(models))
    has_dataset, known = among("dataset", datasets)
    read, prefixes = _begins_with(
        "dataset",
        [*(f"{form}:" for form in FILE_FORMS), *(name for name in datasets if name[-1:] == ":")],
    )
    is_avoided, avoided = among("id", avoid)
    take = f"""
        UPDATE job SET status = 'running', attempt = attempt + 1, owner = :owner, worker = :worker,
            lease_until = {sql.now} + :lease, beat_at = {sql.now}, started_at = {sql.now},
            fit_started_at = NULL, resumed_from = NULL,
            progress = CASE WHEN checkpoint IS NULL THEN NULL ELSE progress END
        WHERE {CLAIMABLE["queued"]} AND seq = (
            SELECT seq FROM job
            WHERE {claimable(sql)} AND {has_model}
                AND (dataset_version IS NOT NULL OR {has_dataset} OR {read})
                {f"AND NOT {is_avoided}" if avoid else ""}
                {"" if has_gpu else "AND device IS NULL"}
            ORDER BY priority DESC, seq LIMIT 1 {sql.skip_locked})
        RETURNING *"""
    owner = uuid.uuid4().hex
    values = {"owner": owner, "worker": worker, "lease": lease, "pool": pool}
    row = _begin(db, take, values | names | known | prefixes | avoided, models)
    if row is None:
        return None
    taken = to_job(row)
    return Claim(taken.id, taken.attempt, owner), taken


def _begins_with(column: str, prefixes: Sequence[str]) -> tuple[str, dict[str, str]]:
    """Return the condition that a column begins with one of the texts, and these by name."""
    # Not LIKE: a name may contain its wildcard `_`.
    named = {f"{column}_prefix_{i}": prefix for i, prefix in enumerate(prefixes)}
    parts = [f"substr({column}, 1, {len(text)}) = :{name}" for name, text in named.items()]
    return " OR ".join(parts), named


def _begin(
    db: Database, take: str, values: dict[str, Any], models: Mapping[str, str]
) -> Row | None:
    """Run the statement that takes a job, and insert its attempt in the same transaction."""
    note = "INSERT INTO attempt (job_id, n, worker, plugin, started_at)"
    if not db.is_sqlite:  # a single round trip
        found = db.alone(
            f"""
            WITH taken AS ({take}),
                noted AS ({note} SELECT id, attempt, worker, CAST(:models AS json) ->> model,
                    started_at FROM taken)
            SELECT * FROM taken""",
            values | {"models": canonical(dict(models))},
        )
        return found[0] if found else None
    with db.write() as rows:
        row = rows.one(take, values)
        if row:
            rows.run(
                f"{note} VALUES (:id, :attempt, :worker, :plugin, :started_at)",
                row | {"plugin": models[row["model"]]},
            )
    return row


def beat(
    db: Database, held: Claim, *, lease: float, update: ProgressUpdate = NO_UPDATE
) -> Requests | None:
    """Extend the lease, store the progress update, and return what was requested meanwhile.

    Returns None if the claim is lost: the runner must be killed and nothing more be written.
    """
    sql = db.sql
    columns = _values_of(update)
    hold = f"""
        UPDATE job SET lease_until = {sql.now} + :lease, beat_at = {sql.now}{_sets(columns)}
        WHERE {fencing_condition()}"""
    with db.write() as rows:
        values = vars(held) | columns | {"lease": lease}
        wanted = "id, group_id, pruner, cancel_requested, stop_requested"
        row = rows.one(f"{hold} RETURNING {wanted}", values)
        if row is None:
            return None
        _insert_update(rows, held, update)
        is_judged = row["pruner"] == "median" and update.steps
        prune = bool(is_judged) and pruning.falls_behind(rows, row, update.steps)
    return Requests(bool(row["cancel_requested"]), bool(row["stop_requested"]), prune)


def _values_of(update: ProgressUpdate) -> dict[str, Any]:
    values: dict[str, Any] = {}
    if update.progress:
        values["progress"] = canonical(dict(update.progress))
    if update.fit_started_at is not None:
        values["fit_started_at"] = update.fit_started_at
    if update.resumed_from:
        values["resumed_from"] = canonical(dict(update.resumed_from))
    return values


def _sets(values: Mapping[str, Any]) -> str:
    return "".join(f", {name} = :{name}" for name in values)


def fencing_condition() -> str:
    """Return the condition that a claim still holds its job."""
    return " AND ".join(FENCING_TOKEN.values())


def _insert_update(rows: Transaction, held: Claim, update: ProgressUpdate) -> None:
    """Insert steps and log lines, except those that were inserted before."""
    base = {"job": held.job, "attempt": held.attempt}
    if update.resumed_from:
        rows.run(
            "UPDATE attempt SET resumed_from = :resumed WHERE job_id = :job AND n = :attempt",
            base | {"resumed": canonical(dict(update.resumed_from))},
        )
    rows.many(
        """
        INSERT INTO history (job_id, attempt, step, metrics, at)
        VALUES (:job, :attempt, :step, :metrics, :at) ON CONFLICT DO NOTHING""",
        [
            base | {"step": n, "metrics": canonical(dict(m)), "at": update.step_times.get(n)}
            for n, m in update.steps
        ],
    )
    rows.many(
        """
        INSERT INTO log (job_id, attempt, start, text)
        VALUES (:job, :attempt, :start, :text) ON CONFLICT DO NOTHING""",
        [base | {"start": start, "text": text} for start, text in update.lines],
    )


def save_checkpoint(db: Database, held: Claim, checkpoint: Mapping[str, Any]) -> bool:
    """Name the newest checkpoint of a running job; return False if the claim was lost.

    `checkpoint` is as in `Job.checkpoint`; it is already durable in the artifact store.
    """
    name = f"""
        UPDATE job SET checkpoint = :checkpoint WHERE {fencing_condition()} RETURNING id"""
    with db.write() as rows:
        values = vars(held) | {"checkpoint": canonical(dict(checkpoint))}
        return rows.one(name, values) is not None


def finish(db: Database, held: Claim, outcome: Outcome, update: ProgressUpdate = NO_UPDATE) -> bool:
    """Commit the outcome of an attempt; return False, writing nothing, if the claim was lost."""
    return finish_all(db, [AttemptEnd(held, outcome, update)])[0]


@again_after_deadlock
def finish_all(db: Database, ends: Sequence[AttemptEnd]) -> list[bool]:
    """Commit the outcomes of several attempts together; return for each whether it was written."""
    sql = db.sql
    is_one, ids = among("id", [end.claim.job for end in ends])
    with db.write() as rows:
        if len(ends) > 1:
            rows.run(f"SELECT seq FROM job WHERE {is_one} ORDER BY seq {sql.for_update}", ids)
        ended = rows.each(_end_job(sql), [_ended(end) for end in ends])
        committed = [end for end, row in zip(ends, ended, strict=True) if row]
        for end in committed:
            _insert_update(rows, end.claim, end.update)
        rows.many(_end_attempt(sql), [_attempt_ended(end) for end in committed])
        insert_metrics(rows, [_measured(end) for end in committed])
        for end, row in zip(ends, ended, strict=True):
            if row and row["pruner"] and row["status"] == "succeeded":
                pruning.complete(rows, row, end.outcome.metrics or {}, end.update.steps)
        over = unblock_dependents(rows, [row for row in ended if row])
        won = (row["group_id"] for row in ended if row and row["status"] == "succeeded")
        for group in sorted({each for each in won if each}):
            rank_group(rows, group)
        if any(end.outcome.with_hooks for end in committed):
            enqueue_hooks(rows, over)
    return [row is not None for row in ended]


def _ended(end: AttemptEnd) -> dict[str, Any]:
    outcome, update, around = end.outcome, end.update, end.update.environment
    return vars(end.claim) | {
        "outcome": outcome.status,
        "progress": canonical(dict(update.progress)) if update.progress else None,
        "fit_started_at": update.fit_started_at,
        "resumed_from": canonical(dict(update.resumed_from)) if update.resumed_from else None,
        "metrics": canonical(dict(outcome.metrics)) if outcome.metrics is not None else None,
        "artifact": outcome.artifact,
        "artifact_sha256": outcome.artifact_sha256,
        "artifact_bytes": outcome.artifact_bytes,
        "error_code": outcome.error_code,
        "error": _storable(outcome.error),
        # Only of a result: equal jobs are looked up for their metrics.
        "fingerprint": around.fingerprint if around and outcome.artifact else None,
        "contents": _contents(end) if outcome.artifact else None,
        "accuracy": _accuracy(outcome),
    }


def _contents(end: AttemptEnd) -> str:
    """Return the fingerprint of the contents used for evaluation; if unknown, the job's own id."""
    around = end.update.environment
    return (around and around.data) or end.claim.job


def _attempt_ended(end: AttemptEnd) -> dict[str, Any]:
    outcome, error = end.outcome, _storable(end.outcome.error)
    return _attempt(end.claim, outcome.status, outcome.error_code, error, end.update.environment)


def _measured(end: AttemptEnd) -> tuple[str, Mapping[str, Any]]:
    """Return the job's id and the metrics by which it can be ranked: none without success."""
    outcome = end.outcome
    return end.claim.job, (outcome.metrics or {}) if outcome.status == "succeeded" else {}


def _accuracy(outcome: Outcome) -> float | None:
    found = (outcome.metrics or {}).get("accuracy")
    is_number = isinstance(found, int | float) and not isinstance(found, bool)
    return float(found) if is_number and outcome.status == "succeeded" else None  # type: ignore[arg-type]


def _storable(text: str | None) -> str | None:
    """Strip lone surrogates and NUL, which PostgreSQL rejects, and limit the length."""
    if not text:
        return None
    return text.encode("utf-8", "replace").decode().replace("\0", "")[:MAX_ERROR]


def end_attempt(
    rows: Transaction,
    held: Claim,
    outcome: str,
    code: str | None,
    error: str | None,
    environment: Environment | None = None,
    counts: bool = True,
) -> None:
    """Store the outcome of an attempt unless it has one."""
    ended = _attempt(held, outcome, code, error, environment)
    rows.run(_end_attempt(rows.sql), ended | {"counts": int(counts)})


def _attempt(
    held: Claim,
    outcome: str,
    code: str | None,
    error: str | None,
    environment: Environment | None,
) -> dict[str, Any]:
    measured = canonical(environment.to_json()) if environment else None
    values = {
        "outcome": outcome,
        "code": code,
        "error": error,
        "environment": measured,
        "counts": 1,
    }
    return vars(held) | values


@again_after_deadlock
def release(
    db: Database,
    held: Claim,
    *,
    code: str,
    reason: str,
    counts: bool = False,
    backoff: float = 0,
    update: ProgressUpdate = NO_UPDATE,
    with_hooks: bool = False,
) -> bool:
    """Put a running job back into the queue; return False if the claim was lost.

    A job whose cancel was requested meanwhile is cancelled instead.

    Args:
        code: Error code of the attempt.
        reason: Error message of the attempt.
        counts: Whether the attempt counts towards `max_attempts`. If not, `max_attempts` grows by
            one, since `attempt` never falls.
        backoff: Base, in seconds, of a wait that grows with the attempts that counted; without it,
            or unless the attempt counts, the job is due at once.
    """
    sql = db.sql
    columns = _values_of(update)
    put_back = f"""
        UPDATE job SET status = CASE WHEN {CANCELLED} THEN 'cancelled' ELSE 'queued' END,
            finished_at = CASE WHEN {CANCELLED} THEN {sql.now} END,
            owner = NULL, lease_until = NULL, dispatched_at = 0, not_before = {sql.now} + :delay,
            max_attempts = max_attempts + :given_back{_sets(columns)}
        WHERE {fencing_condition()} RETURNING id, status, group_id"""
    values = vars(held) | columns | {"delay": 0.0, "given_back": 0 if counts else 1}
    with db.write() as rows:
        if counts and backoff:
            values["delay"] = backing_off.after(rows, held.job, backoff)
        job = rows.one(put_back, values)
        if job is None:
            return False
        _insert_update(rows, held, update)
        end_attempt(rows, held, job["status"], code, _storable(reason), update.environment, counts)
        if job["status"] == "cancelled":
            ended = unblock_dependents(rows, [job])
            enqueue_hooks(rows, ended if with_hooks else [])
    return True


@again_after_deadlock
def pause_trial(
    db: Database,
    held: Claim,
    *,
    metrics: Mapping[str, Any],
    update: ProgressUpdate = NO_UPDATE,
    with_hooks: bool = False,
) -> str | None:
    """Pause a running trial at its rung, and promote or prune trials of its sweep by that.

    The attempt is given back: it does not count towards `max_attempts`. A job whose cancel was
    requested meanwhile is cancelled instead.

    Its checkpoint is that which `save_checkpoint` has named. `metrics` are those of the epoch; one
    that is no finite number is None.

    Returns:
        `paused`, `queued` if it was promoted at once, `pruned` or `cancelled`; None if the claim
        was lost.

    Raises:
        UsageError: If the metric by which the sweep prunes is missing; nothing is changed.
    """
    sql = db.sql
    columns = _values_of(update)
    put_back = f"""
        UPDATE job SET status = CASE WHEN {CANCELLED} THEN 'cancelled' ELSE 'queued' END,
            finished_at = CASE WHEN {CANCELLED} THEN {sql.now} END,
            paused = CASE WHEN {CANCELLED} THEN 0 ELSE 1 END, owner = NULL, lease_until = NULL,
            dispatched_at = 0, not_before = {sql.now}, max_attempts = max_attempts + 1
            {_sets(columns)}
        WHERE {fencing_condition()} AND pause_at IS NOT NULL
        RETURNING id, status, group_id, pause_at"""
    with db.write() as rows:
        job = rows.one(put_back, vars(held) | columns)
        if job is None:
            return None
        _insert_update(rows, held, update)
        is_paused = job["status"] == "queued"
        outcome = "paused" if is_paused else "cancelled"
        end_attempt(rows, held, outcome, None, None, update.environment, counts=False)
        if is_paused:
            pruning.arrive(rows, job, metrics)
        ended = unblock_dependents(rows, [] if is_paused else [job], [job["group_id"]])
        enqueue_hooks(rows, ended if with_hooks else [])
        now = rows.one("SELECT status, paused FROM job WHERE id = :job", vars(held)) or {}
    return "paused" if now["paused"] else str(now["status"])


def expire_leases(db: Database, worker: str) -> int:
    """Expire the leases of a worker that is known to be dead; return the number of jobs."""
    end = """
        UPDATE job SET lease_until = 0 WHERE status = 'running' AND worker = :worker
        RETURNING id"""
    with db.write() as rows:
        return len(rows.all(end, {"worker": worker}))


@again_after_deadlock
def reap(db: Database, *, backoff: float, with_hooks: bool = False) -> list[tuple[str, str]]:
    """Take back running jobs whose lease has expired; return (id, new status) of each.

    Any worker may do this at any time: a job that was taken back does not match again. Jobs become
    queued, or lost after their last attempt, or cancelled if that was requested. An attempt that
    has trained beyond the checkpoint from which it began does not count: each of these shortens
    what is left. With `with_hooks` the hooks of those that end are enqueued.
    """
    sql = db.sql
    lost = f"SELECT * FROM job WHERE status = 'running' AND {expired(sql)} LIMIT 100"
    with db.read() as rows:  # usually there is none, and a read takes no lock
        if not rows.one(lost):
            return []
    moved, ends = [], []
    with db.write() as rows:
        # A row locked by another transaction is left to the next call.
        for row in rows.all(f"{lost} {sql.skip_locked}"):
            status, values = after_loss(row, backing_off.after(rows, row["id"], backoff))
            held = Claim(row["id"], row["attempt"], row["owner"])
            # A heartbeat may have come in between, so the lease is checked again (PostgreSQL).
            take_back = f"""
                UPDATE job SET status = :new, owner = NULL, lease_until = NULL, dispatched_at = 0,
                    error_code = :code, error = :error, not_before = {sql.now} + :wait,
                    max_attempts = max_attempts + :given_back,
                    finished_at = CASE WHEN :new = 'queued' THEN NULL ELSE {sql.now} END
                WHERE {fencing_condition()} AND {expired(sql)} RETURNING id"""
            if rows.one(take_back, vars(held) | values | {"new": status}):
                counts = not values["given_back"]
                end_attempt(rows, held, "lost", "lost", "its worker fell silent", counts=counts)
                moved.append((held.job, status))
                if status != "queued":
                    ends.append(row | {"status": status})
        ended = unblock_dependents(rows, ends)
        enqueue_hooks(rows, ended if with_hooks else [])
    return moved


def after_loss(row: Row, wait: float) -> tuple[str, dict[str, Any]]:
    """Return the status of a job whose lease has expired, and the values to write with it.

    `wait` is the back-off in seconds before the next attempt.
    """
    values: dict[str, Any] = {"code": None, "error": None, "wait": 0.0, "given_back": 0}
    if row["cancel_requested"]:
        return "cancelled", values
    if has_advanced(row):
        return "queued", values | {"wait": wait, "given_back": 1}
    if row["attempt"] >= row["max_attempts"]:
        tries = f"its worker died in each of {row['attempt']} attempts"
        return "lost", values | {"code": "lost", "error": tries}
    return "queued", values | {"wait": wait}


def has_advanced(row: Row) -> bool:
    """Return whether the last attempt has saved a checkpoint beyond that from which it began."""
    found = json.loads(row["checkpoint"] or "null")
    own = checkpoint_path(row["id"], row["attempt"], "")
    return bool(found and found["where"].startswith(own) and found.get("advanced"))


def checkpoint_path(job_id: str, attempt: int, name: str) -> str:
    """Return the path of an attempt's checkpoint below the URL of artifacts."""
    return f"{job_id}/{CHECKPOINTS}/{attempt}-{name}"
