"""The workers' own rows: who is there, and which models each can run."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

from zoo.jobs.database import Database
from zoo.jobs.dialects import Dialect
from zoo.jobs.records import ALIVE, Worker

SILENT_AFTER = 3
"""Beats that a worker may miss before it counts as gone."""
LATE_SECONDS = 1.0
"""That a beat may be late."""
USUAL_BEAT_SECONDS = 10.0
"""Of a worker of an older version, which does not say how often it beats."""
FORGOTTEN_SECONDS = 7 * 86_400.0
"""After its last beat, a worker is forgotten once another one like it has come."""


def alive_condition(sql: Dialect, table: str = "", beat: str = f"{USUAL_BEAT_SECONDS:g}") -> str:
    """The condition that a worker is there: judged by how often it beats, whoever looks.

    `beat` stands for those that do not say it; the value `:late` is `LATE_SECONDS`.
    """
    states = ", ".join(f"'{state}'" for state in ALIVE)
    patience = f"{SILENT_AFTER} * coalesce({table}beat_seconds, {beat}) + :late"
    return f"({table}state IN ({states}) AND {table}beat_at >= {sql.now} - ({patience}))"


def register_worker(
    db: Database,
    *,
    id: str,
    name: str,
    host: str,
    pid: int,
    pool: str,
    slots: int,
    version: str,
    models: Sequence[Mapping[str, Any]],
    beat: float | None = None,
) -> str:
    """Enter a worker that has started, and forget those like it that left long ago; gives its name.

    The last one of its kind stays: what it published can be submitted while no worker is there.
    `beat` is the time between two of its beats, in seconds. Where another worker that is alive has
    the name (containers are all pid 1), a part of the id is added to it.
    """
    sql = db.sql
    row = {"id": id, "name": name, "host": host, "pid": pid, "pool": pool, "slots": slots}
    row["beat"] = beat
    published = json.dumps(list(models))
    with db.write() as rows:
        rows.run(
            f"""
            DELETE FROM worker
            WHERE beat_at < {sql.now} - :seconds AND pool = :pool AND models = :models""",
            {"seconds": FORGOTTEN_SECONDS, "pool": pool, "models": published},
        )
        rows.run(
            f"""
            INSERT INTO worker (id, name, host, pid, pool, slots, state, version, models,
                started_at, beat_at, beat_seconds)
            VALUES (:id, :name, :host, :pid, :pool, :slots, 'online', :version, :models,
                {sql.now}, {sql.now}, CAST(:beat AS DOUBLE PRECISION))""",
            row | {"version": version, "models": published},
        )
    # In a transaction of its own: of two that start at once, each sees the other.
    rename = f"""
        UPDATE worker SET name = :other WHERE id = :id AND EXISTS (
            SELECT 1 FROM worker AS w
            WHERE w.name = :name AND w.id <> :id AND {alive_condition(db.sql, "w.")})"""
    with db.write() as rows:
        values = {"id": id, "name": name, "other": f"{name}-{id[:6]}"}
        rows.run(rename, values | {"late": LATE_SECONDS})
        return str(rows.value("SELECT name FROM worker WHERE id = :id", {"id": id}))


def record_heartbeat(
    db: Database, worker_id: str, *, busy: int, state: str = "online", trouble: str | None = None
) -> bool | None:
    """Give a sign of life, and learn whether somebody has asked this worker to drain.

    `trouble` is why it takes no job. None if the rows do not know this worker.
    """
    sql = db.sql
    told = f"""
        UPDATE worker SET busy = :busy, beat_at = {sql.now}, trouble = :trouble,
            state = CASE WHEN state = 'draining' AND :state <> 'stopped'
                THEN state ELSE :state END
        WHERE id = :id RETURNING state"""
    with db.write() as rows:
        values = {"id": worker_id, "busy": busy, "state": state, "trouble": trouble}
        found = rows.value(told, values)
    return None if found is None else bool(found == "draining")


def drain(db: Database, worker_id: str) -> None:
    """Ask a worker to take no further job and to end when its running ones have."""
    with db.write() as rows:
        rows.run(
            "UPDATE worker SET state = 'draining' WHERE id = :id AND state IN ('online', 'sick')",
            {"id": worker_id},
        )


def workers(db: Database, *, beat: float, gone: bool = False) -> list[Worker]:
    """The workers that are alive, oldest first; with `gone`, the stopped and silent ones too.

    `beat` is the time between two signs of life, in seconds, of those that do not say it.
    """
    is_alive = alive_condition(db.sql, beat=":beat")
    # What the others published, one row for each start of a worker, is a lot to read.
    query = f"""
        SELECT worker.*, {is_alive} AS heard FROM worker
        {"" if gone else f"WHERE {is_alive}"} ORDER BY started_at"""
    found = []
    for row in db.alone(query, {"beat": beat, "late": LATE_SECONDS}):
        heard_of = row.pop("heard")
        worker = Worker(**row | {"models": json.loads(row["models"])})
        is_silent = worker.is_alive and not heard_of
        found.append(dataclasses.replace(worker, state="silent") if is_silent else worker)
    return found
