"""Jobs run in this process and recorded as a worker would: rows with artifacts."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from zoo import jobs, settings
from zoo.job_spec import JobSpec
from zoo.jobs import Outcome, ProgressUpdate
from zoo.model import to_json
from zoo.plugins import registry
from zoo.storage import artifacts
from zoo.training.run import run_job


def train(model: str, dataset: str, contents: str | None = None, **given: Any) -> str:
    """Train a model with the params and spec fields given; returns the job's id."""
    params = to_json(registry.model(model).Params.resolve(given.pop("params", {})))
    asked = {"kind": "train", "model": model, "params": params, "dataset": dataset}
    spec = JobSpec.parse_object(asked | {"contents": contents, "changed": []} | given)
    db = jobs.connect()
    (job,), _ = jobs.add(db, [spec])
    held = jobs.claim(
        db, pool="default", models={model: "p"}, datasets=[dataset], worker="w", lease=60
    )
    assert held is not None
    with tempfile.TemporaryDirectory() as made:
        metrics = run_job(spec, Path(made), lambda *_, **__: None)
        where = f"{job}/1"
        sha256 = artifacts.put(Path(made), settings.load().artifacts, where, {})
    assert jobs.finish(db, held[0], Outcome("succeeded", metrics, where, sha256), ProgressUpdate())
    return job
