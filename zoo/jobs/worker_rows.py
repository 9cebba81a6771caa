"""Rows of the workers: their heartbeats, states and the models that each can run."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Sequence
from dataclasses import dataclass

from zoo.jobs.cards import Card
from zoo.jobs.database import Database, Row
from zoo.jobs.dialects import Dialect
from zoo.jobs.worker_records import ALIVE, Gpu, Worker

SILENT_SECONDS = 3600.0
"""A silent worker is counted for this long."""
SILENT_AFTER = 3
"""Heartbeats that a worker may miss before it counts as silent."""
LATE_SECONDS = 1.0
"""Tolerated delay of a heartbeat."""
USUAL_BEAT_SECONDS = 10.0
"""Assumed for a worker of an older version, which does not store its interval."""
FORGOTTEN_SECONDS = 7 * 86_400.0
"""Time since the last heartbeat after which a worker's row is deleted, once another worker with the
same pool and models has registered."""
DELETED_SECONDS = 90 * 86_400.0
"""Time since the last heartbeat after which it is deleted, even if no other worker has its pool and
models: it is then unknown which params its models take."""


def alive_condition(sql: Dialect, table: str = "") -> str:
    """Return the condition that a worker is alive, judged by its own heartbeat interval.

    The statement needs the value `:late`, `LATE_SECONDS`.
    """
    states = ", ".join(f"'{state}'" for state in ALIVE)
    beat = f"coalesce({table}beat_seconds, {USUAL_BEAT_SECONDS:g})"
    patience = f"{SILENT_AFTER} * {beat} + :late"
    return f"({table}state IN ({states}) AND {table}beat_at >= {sql.now} - ({patience}))"


@dataclass(frozen=True)
class NewWorker:
    """A worker as it registers itself."""

    id: str
    name: str
    host: str
    pid: int
    pool: str
    slots: int
    version: str
    models: Sequence[Card]
    """The models that it can run."""
    beat: float | None = None
    """Heartbeat interval in seconds."""
    gpus: Sequence[Gpu] = ()
    """The GPUs of its slots."""


def register_worker(db: Database, worker: NewWorker) -> str:
    """Insert the row of a worker that has started and return its name.

    Rows of workers with the same pool and models that left long ago are deleted; the newest stays,
    so that its models can be submitted while no worker is online. If a worker that is alive has the
    name already (in containers every pid is 1), a part of the id is added.
    """
    sql = db.sql
    published = json.dumps([card.to_json() for card in worker.models])
    gpus = json.dumps([gpu.to_json() for gpu in worker.gpus])
    row = vars(worker) | {"models": published, "gpus": gpus}
    with db.write() as rows:
        rows.run(
            f"""
            DELETE FROM worker
            WHERE beat_at < {sql.now} - :seconds AND pool = :pool AND models = :models""",
            {"seconds": FORGOTTEN_SECONDS, "pool": worker.pool, "models": published},
        )
        rows.run(
            f"""
            INSERT INTO worker (id, name, host, pid, pool, slots, state, version, models,
                started_at, beat_at, beat_seconds, gpus)
            VALUES (:id, :name, :host, :pid, :pool, :slots, 'online', :version, :models,
                {sql.now}, {sql.now}, CAST(:beat AS DOUBLE PRECISION), :gpus)""",
            row,
        )
    # In a transaction of its own: of two that start at once, each sees the other.
    return rename_if_taken(db, worker.id) or worker.name


def rename_if_taken(db: Database, worker_id: str) -> str | None:
    """Add a part of the id to a worker's name if another one that is alive has it, too.

    So a name and a time are of one worker. Returns the name; None if the worker has no row.
    """
    rename = f"""
        UPDATE worker SET name = name || :more WHERE id = :id AND EXISTS (
            SELECT 1 FROM worker AS w
            WHERE w.name = worker.name AND w.id <> :id AND {alive_condition(db.sql, "w.")})"""
    with db.write() as rows:
        rows.run(rename, {"id": worker_id, "more": f"-{worker_id[:6]}", "late": LATE_SECONDS})
        found: str | None = rows.value("SELECT name FROM worker WHERE id = :id", {"id": worker_id})
        return found


def record_heartbeat(
    db: Database, worker_id: str, *, busy: int, state: str = "online", trouble: str | None = None
) -> bool | None:
    """Record a heartbeat; return whether draining was requested.

    `trouble` says why the worker takes no job. Returns None if the worker has no row.
    """
    sql = db.sql
    update = f"""
        UPDATE worker SET busy = :busy, beat_at = {sql.now}, trouble = :trouble,
            state = CASE WHEN state = 'draining' AND :state <> 'stopped'
                THEN state ELSE :state END
        WHERE id = :id RETURNING state"""
    with db.write() as rows:
        values = {"id": worker_id, "busy": busy, "state": state, "trouble": trouble}
        found = rows.value(update, values)
    return None if found is None else bool(found == "draining")


def list_forgotten(db: Database) -> list[str]:
    """List the ids of workers that have been silent for so long that their rows are of no use."""
    query = f"SELECT id FROM worker WHERE beat_at < {db.sql.now} - :seconds"
    return [row["id"] for row in db.alone(query, {"seconds": DELETED_SECONDS})]


def delete_forgotten(db: Database) -> int:
    """Delete the rows of these workers; return their number."""
    if not list_forgotten(db):  # usually, and a read takes no lock
        return 0
    delete = f"DELETE FROM worker WHERE beat_at < {db.sql.now} - :seconds RETURNING id"
    with db.write() as rows:
        return len(rows.all(delete, {"seconds": DELETED_SECONDS}))


def drain(db: Database, worker_id: str) -> None:
    """Request that a worker takes no further job and exits once its running jobs have ended."""
    with db.write() as rows:
        rows.run(
            "UPDATE worker SET state = 'draining' WHERE id = :id AND state IN ('online', 'sick')",
            {"id": worker_id},
        )


def workers(db: Database, *, gone: bool = False) -> list[Worker]:
    """List the workers that are alive, oldest first; with `gone` also stopped and silent ones."""
    is_alive = alive_condition(db.sql)
    # Rows of workers that are gone, one for each start of a worker, may be many.
    query = f"""
        SELECT worker.*, {is_alive} AS has_beat FROM worker
        {"" if gone else f"WHERE {is_alive}"} ORDER BY started_at"""
    # Most workers of a team publish the same cards, whose schemas are large.
    read = functools.cache(_read_cards)
    return [_to_worker(row, read(row["models"])) for row in db.alone(query, {"late": LATE_SECONDS})]


def _read_cards(published: str) -> tuple[Card, ...]:
    return tuple(Card.from_json(each) for each in json.loads(published))


def _to_worker(row: Row, cards: Sequence[Card]) -> Worker:
    has_beat = row.pop("has_beat")
    gpus = Gpu.read(json.loads(row["gpus"] or "[]"))
    worker = Worker(**row | {"models": list(cards), "gpus": gpus})
    is_silent = worker.is_alive and not has_beat
    return dataclasses.replace(worker, state="silent") if is_silent else worker


def find_worker(db: Database, name: str, at: float) -> Worker | None:
    """Return the worker that had the name at a time; None if its row is gone.

    `at` is in seconds since 1970 of the database's clock.
    """
    query = f"""
        SELECT worker.*, {alive_condition(db.sql)} AS has_beat FROM worker
        WHERE name = :name AND started_at <= :at ORDER BY started_at DESC LIMIT 1"""
    found = db.alone(query, {"name": name, "at": at, "late": LATE_SECONDS})
    return _to_worker(found[0], _read_cards(found[0]["models"])) if found else None


def count_worker_states(db: Database) -> dict[str, int]:
    """Count the workers of each state: those that are alive, and `silent` of the last hour."""
    states = ", ".join(f"'{state}'" for state in ALIVE)
    query = f"""
        SELECT CASE WHEN {alive_condition(db.sql)} THEN state ELSE 'silent' END AS state,
            count(*) AS n FROM worker
        WHERE state IN ({states}) AND beat_at > {db.sql.now} - :forgotten GROUP BY 1"""
    found = db.alone(query, {"late": LATE_SECONDS, "forgotten": SILENT_SECONDS})
    return {row["state"]: row["n"] for row in found}
