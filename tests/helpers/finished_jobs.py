"""Jobs that have succeeded, made by hand: rows and artifacts without a worker."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from zoo import jobs
from zoo.job_spec import Fold, JobSpec
from zoo.jobs import Claim, Database, Job, Outcome, ProgressUpdate
from zoo.jobs.environments import Environment
from zoo.storage import artifacts

ENVIRONMENT = {
    "fingerprint": "f" * 64,
    "data": "d" * 64,
    "plugin": "p 1",
    "code": {"sha256": "c" * 64, "commit": None, "dirty": None},
    "versions": {"python": "3.11.7", "numpy": "2.4.6"},
    "machine": {"host": "here", "cpu": "one", "cores": 2, "threads": 1, "system": "Linux"},
}


def a_spec(**given: Any) -> JobSpec:
    asked = {"kind": "train", "model": "m", "params": {"a": 1}, "dataset": "digits", "changed": []}
    return JobSpec.parse_object(asked | given)


def folds(k: int, **given: Any) -> list[JobSpec]:
    return [a_spec(fold=Fold(k=k, index=i).model_dump(), **given) for i in range(k)]


def claim(db: Database) -> Claim:
    """Take the oldest queued job."""
    taken = jobs.claim(
        db,
        pool="default",
        models={"m": "p 1", "logistic": "p 1"},
        datasets=["digits"],
        worker="w",
        lease=60,
    )
    assert taken is not None
    return taken[0]


def store(url: str, held: Claim, predicted: Sequence[int], labels: Sequence[int], **more: bytes):
    """Store predictions, and more files, as the artifact of an attempt."""
    folder = Path(url) / f".made-{held.job}"
    folder.mkdir(parents=True)
    rows = {"index": np.arange(len(labels)), "label": np.array(labels)}
    np.savez(folder / "predictions.npz", **rows, predicted=np.array(predicted))
    for name, content in more.items():
        (folder / name.replace("weights_", "weights/")).parent.mkdir(exist_ok=True)
        (folder / name.replace("weights_", "weights/")).write_bytes(content)
    where = f"{held.job}/1"
    return where, artifacts.put(folder, url, where, {})


def succeed(
    db: Database,
    specs: Sequence[JobSpec],
    *,
    kind: str | None = None,
    accuracies: Sequence[float] = (0.9,),
    prints: Sequence[str] = (),
    contents: Sequence[str | None] = (),
    environment: dict[str, Any] | None = None,
    artifacts_url: str = "",
    predicted: Sequence[int] = (0, 1),
    labels: Sequence[int] = (0, 1),
    files: dict[str, bytes] | None = None,
    metrics: dict[str, Any] | None = None,
    with_hooks: bool = False,
) -> str:
    """Add jobs that have succeeded; gives the id of the job or of the group."""
    ids, group = jobs.add(db, specs, group_kind=kind)
    for number, accuracy in enumerate(accuracies):
        held = claim(db)
        where, sha256 = "where", "0" * 64
        if artifacts_url:
            where, sha256 = store(artifacts_url, held, predicted, labels, **(files or {}))
        told = {"accuracy": accuracy, "classes": ["0", "1"], "per_class": {"0": {}, "1": {}}}
        told |= {"fit_seconds": 0.1} | (metrics or {})
        around = ENVIRONMENT | (environment or {})
        around |= {"fingerprint": prints[number]} if prints else {}
        around |= {"data": contents[number]} if contents else {}
        outcome = Outcome("succeeded", told, where, sha256, with_hooks=with_hooks)
        assert jobs.finish(
            db, held, outcome, ProgressUpdate(environment=Environment.from_json(around))
        )
    return group or ids[0]


def job_of(db: Database, ref: str) -> Job:
    found = jobs.find_reference(db, ref)
    assert isinstance(found, Job)
    return found
