"""Write the runs of jobs and groups to MLflow, idempotently."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import zoo_mlflow.flavor as flavor
from zoo.training.run import WEIGHTS
from zoo_mlflow import mapping
from zoo_mlflow.client import TrackingServer

PARENT = "mlflow.parentRunId"
LONGEST_DIGEST = 36
"""MLflow's limit, in characters."""
AT_ONCE = 500
"""Metrics in one request; MLflow takes a thousand."""


def record(server: TrackingServer, job: Mapping[str, Any], files: Path | None) -> str:
    """Write the run of a job that has ended; returns the id of the run.

    Its tags are written each time, everything else until the run is complete.
    `files` is the folder with the job's files, checked; None if it left none.
    """
    parent = _parent(server, job) if job["group"] else None
    run = _merge_duplicates(
        server, server.search(f"tags.`{mapping.JOB_TAG}` = '{job['id']}'")
    ) or _create(server, job)
    tags = mapping.tags(job) | ({PARENT: parent} if parent else {})
    _set_tags(server, run, tags)
    if mapping.DONE_TAG not in run.data.tags:
        _write(server, run, job, files)
    if parent and job.get("group_result"):
        _write_group(server, parent, job["group_result"], job["finished_at"])
    return str(run.info.run_id)


def record_group(server: TrackingServer, job: Mapping[str, Any], group: Mapping[str, Any]) -> None:
    """Write the result of a group that has ended; `job` is the last of its jobs."""
    _write_group(server, _parent(server, job), group, job["finished_at"])


def written(server: TrackingServer) -> set[str]:
    """Return the ids of the jobs whose runs are complete."""
    found = server.search(f"tags.`{mapping.DONE_TAG}` = 'yes'")
    return {run.data.tags[mapping.JOB_TAG] for run in found if mapping.JOB_TAG in run.data.tags}


def _create(server: TrackingServer, job: Mapping[str, Any]) -> Any:
    began = job["started_at"] or job["created_at"]
    tags = {mapping.JOB_TAG: job["id"]}
    return server.client.create_run(server.experiment, _millis(began), tags, mapping.run_name(job))


def _merge_duplicates(server: TrackingServer, found: Sequence[Any]) -> Any:
    """Keep one of several runs with the same tag, and delete the others; None without any.

    Two workers may have created one at the same time; all keep the same.
    """
    first, *others = sorted(found, key=lambda run: str(run.info.run_id)) or [None]
    for other in others:
        for child in server.search(f"tags.`{PARENT}` = '{other.info.run_id}'"):
            server.client.set_tag(child.info.run_id, PARENT, first.info.run_id)
        server.client.delete_run(other.info.run_id)
    return first


def _parent(server: TrackingServer, job: Mapping[str, Any]) -> str:
    def find() -> list[Any]:
        return server.search(
            f"tags.`{mapping.GROUP_TAG}` = '{job['group']}' and tags.`zoo.is_group` = 'yes'"
        )

    run = _merge_duplicates(server, find())
    if run is None:
        tags = mapping.group_tags(job) | {"zoo.is_group": "yes"}
        name = tags["mlflow.runName"]
        server.client.create_run(server.experiment, _millis(job["created_at"]), tags, name)
        run = _merge_duplicates(server, find())
    return str(run.info.run_id)


def _set_tags(server: TrackingServer, run: Any, tags: Mapping[str, str]) -> None:
    from mlflow.entities import RunTag

    changed = [RunTag(n, v) for n, v in tags.items() if run.data.tags.get(n) != v]
    server.client.log_batch(run.info.run_id, tags=changed)


def _write(server: TrackingServer, run: Any, job: Mapping[str, Any], files: Path | None) -> None:
    from mlflow.entities import Param

    run_id = run.info.run_id
    params = [Param(n, v) for n, v in mapping.params(job).items() if n not in run.data.params]
    for start in range(0, len(params), 100):
        server.client.log_batch(run_id, params=params[start : start + 100])
    has_model = bool(files and (files / WEIGHTS).is_dir())
    model = flavor.log(server, run, job, files) if files and has_model else None
    _write_metrics(server, run_id, job, files, model)
    _write_dataset(server, run_id, job, files)
    _write_files(server, run_id, files, leave=WEIGHTS if model else None)
    server.client.set_terminated(run_id, mapping.status(job), _millis(job["finished_at"]))
    if files or not job["artifact"]:  # otherwise `zoo mlflow sync` may find them later
        server.client.set_tag(run_id, mapping.DONE_TAG, "yes")


def _write_metrics(
    server: TrackingServer,
    run_id: str,
    job: Mapping[str, Any],
    files: Path | None,
    model: str | None,
) -> None:
    """Write the steps of `fit`, then the final metrics at the last step."""
    from mlflow.entities import Metric

    # Always the same timestamp: a metric that is written twice is stored once.
    at = _millis(job["finished_at"])
    steps = mapping.history(files)
    last = max((step for step, _ in steps), default=0)
    final = mapping.metrics(job)
    found = [
        Metric(n, v, at, step)
        for step, values in steps
        for n, v in values.items()
        if step != last or n not in final
    ]
    found += [Metric(n, v, at, last, model_id=model, run_id=run_id) for n, v in final.items()]
    for start in range(0, len(found), AT_ONCE):
        server.client.log_batch(run_id, metrics=found[start : start + AT_ONCE])


def _write_dataset(
    server: TrackingServer, run_id: str, job: Mapping[str, Any], files: Path | None
) -> None:
    """Write the dataset of the job, with the fingerprint of its contents."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    data = mapping.fingerprint(files)
    if data:
        found = Dataset(job["dataset"], data[:LONGEST_DIGEST], "zoo", f"zoo data {job['dataset']}")
        context = "training" if job["kind"] == "train" else "eval"
        used = DatasetInput(found, [InputTag("mlflow.data.context", context)])
        server.client.log_inputs(run_id, [used])


def _write_files(
    server: TrackingServer, run_id: str, files: Path | None, leave: str | None
) -> None:
    """Write the job's files; the weights belong to the logged model, if there is one."""
    for path in sorted(files.rglob("*")) if files else []:
        name = path.relative_to(files) if files else path
        if path.is_file() and name.parts[0] != leave:
            folder = name.parent.as_posix()
            server.client.log_artifact(run_id, str(path), None if folder == "." else folder)


def _write_group(
    server: TrackingServer, run_id: str, group: Mapping[str, Any], ended: float
) -> None:
    from mlflow.entities import Metric, RunTag

    at = _millis(group["created_at"])
    found = [Metric(n, v, at, 0) for n, v in mapping.group_metrics(group).items()]
    tags = {
        "zoo.kind": group["kind"],
        "zoo.status": group["status"],
        "zoo.jobs": len(group["jobs"]),
    }
    server.client.log_batch(
        run_id, metrics=found, tags=[RunTag(n, str(v)) for n, v in tags.items()]
    )
    server.client.set_terminated(run_id, mapping.status(group), _millis(ended))


def _millis(seconds: float) -> int:
    return int(seconds * 1000)
