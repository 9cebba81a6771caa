"""Write finished jobs of mnist-zoo to the MLflow tracking server in ZOO_MLFLOW."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import zoo
from zoo import settings

# Without the setting there is no hook, and a worker starts no process for it.
if settings.load().mlflow:

    @zoo.hookimpl
    def job_finished(job: dict[str, Any], files: Path | None, steps: list[dict[str, Any]]) -> None:
        """Write the job's run, and that of its group."""
        from zoo_mlflow import client, runs

        uri = settings.load().mlflow
        with client.translate_errors(uri):
            runs.record(client.connect(uri), job, files, steps)
