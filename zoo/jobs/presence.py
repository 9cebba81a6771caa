"""The workers' own rows: who is there, and which models each can run."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

from zoo.jobs.database import Database
from zoo.jobs.records import Worker

SILENT_AFTER = 3
"""Beats that a worker may miss before it counts as gone."""
FORGOTTEN_SECONDS = 7 * 86_400.0
"""After its last beat, a worker is forgotten once another one like it has come."""


def announce(
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
) -> None:
    """Enter a worker that has started, and forget those like it that left long ago.

    The last one of its kind stays: what it published can be submitted while no worker is there.
    """
    row = {"id": id, "name": name, "host": host, "pid": pid, "pool": pool, "slots": slots}
    published = json.dumps(list(models))
    with db.write() as rows:
        rows.run(
            """
            DELETE FROM worker
            WHERE beat_at < now() - :seconds AND pool = :pool AND models = :models""",
            {"seconds": FORGOTTEN_SECONDS, "pool": pool, "models": published},
        )
        rows.run(
            """
            INSERT INTO worker (id, name, host, pid, pool, slots, state, version, models,
                started_at, beat_at)
            VALUES (:id, :name, :host, :pid, :pool, :slots, 'online', :version, :models,
                now(), now())""",
            row | {"version": version, "models": published},
        )


def sign(db: Database, worker_id: str, *, busy: int, state: str = "online") -> bool | None:
    """Give a sign of life, and learn whether somebody has asked this worker to drain.

    None if the rows do not know this worker.
    """
    told = """
        UPDATE worker SET busy = :busy, beat_at = now(),
            state = CASE WHEN state = 'draining' AND :state = 'online' THEN state ELSE :state END
        WHERE id = :id RETURNING state"""
    with db.write() as rows:
        found = rows.value(told, {"id": worker_id, "busy": busy, "state": state})
    return None if found is None else bool(found == "draining")


def drain(db: Database, worker_id: str) -> None:
    """Ask a worker to take no further job and to end when its running ones have."""
    with db.write() as rows:
        rows.run(
            "UPDATE worker SET state = 'draining' WHERE id = :id AND state = 'online'",
            {"id": worker_id},
        )


def workers(db: Database, *, beat: float, gone: bool = False) -> list[Worker]:
    """The workers that are alive, oldest first; with `gone`, the stopped and silent ones too.

    `beat` is the time between two signs of life, in seconds.
    """
    heard = "state IN ('online', 'draining') AND beat_at >= now() - :patience"
    # What the others published, one row for each start of a worker, is a lot to read.
    query = f"""
        SELECT worker.*, {heard} AS heard FROM worker
        {"" if gone else f"WHERE {heard}"} ORDER BY started_at"""
    found = []
    for row in db.alone(query, {"patience": SILENT_AFTER * beat + 1}):
        heard_of = row.pop("heard")
        worker = Worker(**row | {"models": json.loads(row["models"])})
        is_silent = worker.is_alive and not heard_of
        found.append(dataclasses.replace(worker, state="silent") if is_silent else worker)
    return found
