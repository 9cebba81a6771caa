"""Ended jobs with rows in every table and small files, to be carried into another database."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path
from typing import Any

from zoo import jobs
from zoo.job_spec import JobSpec
from zoo.jobs import Claim, Database, Outcome, ProgressUpdate, QueueOptions
from zoo.jobs.environments import Environment
from zoo.storage import artifacts

TABLES = {
    "job": "id",
    "attempt": "job_id, n",
    "history": "job_id, attempt, step",
    "log": "job_id, attempt, start",
    "metric": "job_id, name",
    "rung": "job_id, rung",
    "dependency": "job_id, needs_id",
    "job_group": "id",
    "dataset": "name, version",
}
"""Tables that are carried, and the order of their rows."""


def a_spec(**changes: Any) -> JobSpec:
    base = {"kind": "train", "model": "logistic", "params": {"epochs": 2}, "dataset": "digits"}
    return JobSpec.parse_object(base | changes)


def fill(db: Database, url: str, count: int, *, dataset: tuple[str, int] | None = None) -> None:
    """Add `count` jobs and end them: nine in ten succeed, each with three files."""
    spec = a_spec(dataset=dataset[0], version=dataset[1]) if dataset else a_spec()
    ids: list[str] = []
    folds = [a_spec(fold={"k": 3, "index": i}) for i in range(3)]
    ids += jobs.add(db, folds, QueueOptions(tags=["cv"], name="three"), group_kind="cv")[0]
    ids += jobs.add(db, [a_spec(seed=7)], QueueOptions(after_any=[ids[0]]), idem_key="k")[0]
    ids += jobs.add(db, [spec] * (count - 4), QueueOptions(submitted_by="ann@here"))[0]
    for number in range(count):
        end(db, url, number, succeeds=number < 4 or number % 10 > 0)


def end(db: Database, url: str, number: int, *, succeeds: bool) -> Claim:
    """Claim the next job and end it."""
    models = {"logistic": "p 1"}
    taken = jobs.claim(
        db, pool="default", models=models, datasets=["digits"], worker="w", lease=600
    )
    assert taken is not None
    held = taken[0]
    update = ProgressUpdate(
        steps=[(1, {"loss": 1 / 3}), (2, {"loss": 0.1 + number / 1e6})],
        lines=[(0, f"job {number}: é\n"), (20, "done\n")],
        environment=Environment(data="d" * 64, fingerprint=f"{number:064x}"),
        fit_started_at=taken[1].started_at,
    )
    if not succeeds:
        checkpoint = _store(url, f"{held.job}/checkpoints/1-1", {"state.npz": b"state"})
        point = {"where": checkpoint[0], "sha256": checkpoint[1], "attempt": 1, "step": 1}
        assert jobs.save_checkpoint(db, held, point)
        assert jobs.finish(db, held, Outcome("failed", error_code="exception", error="no"), update)
        return held
    files = {"weights/w.npz": number.to_bytes(8, "big") * 100, "log.txt": b"line\n" * 50}
    where, sha256 = _store(url, f"{held.job}/1", files, {"metrics.json": f'{{"n":{number}}}'})
    _store(url, f"{held.job}/extra/drawer", {"picture.png": b"png"})
    measured = {"accuracy": 0.5 + number / 1e5, "loss": 1 / (number + 3), "classes": ["0", "1"]}
    assert jobs.finish(db, held, Outcome("succeeded", measured, where, sha256), update)
    return held


def _store(
    url: str, where: str, files: dict[str, bytes], texts: dict[str, str] | None = None
) -> tuple[str, str]:
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made) / "files"
        for name, content in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        return where, artifacts.put(folder, url, where, {"attempt": 1}, texts or {})


def all_rows(db: Database) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of every table that is carried, without the column `seq`."""
    with db.read() as rows:
        found = {
            table: rows.all(f"SELECT * FROM {table} ORDER BY {order}")
            for table, order in TABLES.items()
        }
    return {
        table: [{k: v for k, v in row.items() if k != "seq"} for row in rows]
        for table, rows in found.items()
    }


def order(db: Database) -> list[str]:
    """Return the ids of the jobs in their order of submission."""
    with db.read() as rows:
        return [row["id"] for row in rows.all("SELECT id FROM job ORDER BY seq")]


def all_files(url: str) -> dict[str, str]:
    """Return the sha256 of every file in a store, by its path."""
    fs, root = artifacts.open_store(url)
    return {
        str(path).removeprefix(root).lstrip("/"): hashlib.sha256(fs.cat_file(path)).hexdigest()
        for path in fs.find(root)
    }
