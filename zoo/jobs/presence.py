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
    """Enter a worker that has started."""
    row = {"id": id, "name": name, "host": host, "pid": pid, "pool": pool, "slots": slots}
    with db.write() as rows:
        rows.run(
            """
            INSERT INTO worker (id, name, host, pid, pool, slots, state, version, models,
                started_at, beat_at)
            VALUES (:id, :name, :host, :pid, :pool, :slots, 'online', :version, :models,
                now(), now())""",
            row | {"version": version, "models": json.dumps(list(models))},
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
    with db.read() as rows:
        at = rows.value("SELECT now() AS at")
        known = rows.all("SELECT * FROM worker ORDER BY started_at")
    found = [Worker(**row | {"models": json.loads(row["models"])}) for row in known]
    late = at - SILENT_AFTER * beat - 1
    found = [
        dataclasses.replace(w, state="silent") if w.is_alive and w.beat_at < late else w
        for w in found
    ]
    return [w for w in found if gone or w.is_alive]
