"""The workers' own rows: who is there, and which models each can run."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import insert, select, update

from zoo.jobs.database import Database, now
from zoo.jobs.records import Worker
from zoo.jobs.tables import worker

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
    with db.write() as connection:
        connection.execute(
            insert(worker).values(
                **row,
                state="online",
                version=version,
                models=json.dumps(list(models)),
                started_at=now(),
                beat_at=now(),
            )
        )


def sign(db: Database, worker_id: str, *, busy: int, state: str = "online") -> bool:
    """Give a sign of life, and learn whether somebody has asked this worker to drain."""
    asked = worker.c.state == "draining"
    with db.write() as connection:
        before = connection.execute(select(asked).where(worker.c.id == worker_id)).scalar()
        values: dict[str, Any] = {"busy": busy, "beat_at": now()}
        if state != "online" or not before:
            values["state"] = state
        connection.execute(update(worker).where(worker.c.id == worker_id).values(values))
    return bool(before)


def drain(db: Database, worker_id: str) -> None:
    """Ask a worker to take no further job and to end when its running ones have."""
    with db.write() as connection:
        connection.execute(
            update(worker)
            .where(worker.c.id == worker_id, worker.c.state == "online")
            .values(state="draining")
        )


def workers(db: Database, *, beat: float, gone: bool = False) -> list[Worker]:
    """The workers that are alive, oldest first; with `gone`, the stopped and silent ones too.

    `beat` is the time between two signs of life, in seconds.
    """
    with db.read() as connection:
        at = connection.execute(select(now())).scalar_one()
        rows = connection.execute(select(worker).order_by(worker.c.started_at)).mappings().all()
    found = [Worker(**{**row, "models": json.loads(row["models"])}) for row in rows]
    late = at - SILENT_AFTER * beat - 1
    found = [
        dataclasses.replace(w, state="silent") if w.is_alive and w.beat_at < late else w
        for w in found
    ]
    return [w for w in found if gone or w.is_alive]
