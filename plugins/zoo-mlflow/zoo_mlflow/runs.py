"""A job's run in MLflow, and its group's: written once, however often it is told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import zoo_mlflow.flavor as flavor
from zoo.training.run import WEIGHTS
from zoo_mlflow import mapping as words
from zoo_mlflow.client import Tracking

PARENT = "mlflow.parentRunId"
LONGEST_DIGEST = 36
"""MLflow's limit, in characters."""
AT_ONCE = 500
"""Metrics in one request; MLflow takes a thousand."""


def record(to: Tracking, job: Mapping[str, Any], files: Path | None) -> str:
    """Write the run of a job that has ended, and give its id.

    Its tags are written each time; all else only until the whole run has been written once.
    `files` is the folder with the job's files, checked; None if it has left none.
    """
    parent = _parent(to, job) if job["group"] else None
    run = _one(to, to.search(f"tags.`{words.JOB}` = '{job['id']}'")) or _create(to, job)
    tags = words.tags(job) | ({PARENT: parent} if parent else {})
    _set_tags(to, run, tags)
    if words.DONE not in run.data.tags:
        _write(to, run, job, files)
    if parent and job.get("group_result"):
        _write_group(to, parent, job["group_result"], job["finished_at"])
    return str(run.info.run_id)


def record_group(to: Tracking, job: Mapping[str, Any], group: Mapping[str, Any]) -> None:
    """Write the result of a group that has ended; `job` is the last of its jobs."""
    _write_group(to, _parent(to, job), group, job["finished_at"])


def written(to: Tracking) -> set[str]:
    """The ids of the jobs whose runs are wholly there."""
    found = to.search(f"tags.`{words.DONE}` = 'yes'")
    return {run.data.tags[words.JOB] for run in found if words.JOB in run.data.tags}


def _create(to: Tracking, job: Mapping[str, Any]) -> Any:
    began = job["started_at"] or job["created_at"]
    tags = {words.JOB: job["id"]}
    return to.client.create_run(to.experiment, _millis(began), tags, words.name(job))


def _one(to: Tracking, found: Sequence[Any]) -> Any:
    """The run that counts of those with one tag; None of none.

    Two workers may each have made one at the same time: all keep the same, and the rest goes.
    """
    first, *others = sorted(found, key=lambda run: str(run.info.run_id)) or [None]
    for other in others:
        for child in to.search(f"tags.`{PARENT}` = '{other.info.run_id}'"):
            to.client.set_tag(child.info.run_id, PARENT, first.info.run_id)
        to.client.delete_run(other.info.run_id)
    return first


def _parent(to: Tracking, job: Mapping[str, Any]) -> str:
    def find() -> list[Any]:
        return to.search(f"tags.`{words.GROUP}` = '{job['group']}' and tags.`zoo.is_group` = 'yes'")

    run = _one(to, find())
    if run is None:
        tags = words.group_tags(job) | {"zoo.is_group": "yes"}
        name = tags["mlflow.runName"]
        to.client.create_run(to.experiment, _millis(job["created_at"]), tags, name)
        run = _one(to, find())
    return str(run.info.run_id)


def _set_tags(to: Tracking, run: Any, tags: Mapping[str, str]) -> None:
    from mlflow.entities import RunTag

    changed = [RunTag(n, v) for n, v in tags.items() if run.data.tags.get(n) != v]
    to.client.log_batch(run.info.run_id, tags=changed)


def _write(to: Tracking, run: Any, job: Mapping[str, Any], files: Path | None) -> None:
    from mlflow.entities import Param

    run_id = run.info.run_id
    params = [Param(n, v) for n, v in words.params(job).items() if n not in run.data.params]
    for start in range(0, len(params), 100):
        to.client.log_batch(run_id, params=params[start : start + 100])
    has_model = bool(files and (files / WEIGHTS).is_dir())
    model = flavor.log(to, run, job, files) if files and has_model else None
    _write_metrics(to, run_id, job, files, model)
    _write_dataset(to, run_id, job, files)
    _write_files(to, run_id, files, leave=WEIGHTS if model else None)
    to.client.set_terminated(run_id, words.status(job), _millis(job["finished_at"]))
    if files or not job["artifact"]:  # else a synchronisation may find them yet
        to.client.set_tag(run_id, words.DONE, "yes")


def _write_metrics(
    to: Tracking,
    run_id: str,
    job: Mapping[str, Any],
    files: Path | None,
    model: str | None,
) -> None:
    """The steps of `fit`, then the final numbers, which stand at the last step."""
    from mlflow.entities import Metric

    # The same time each time: what is told twice is there once.
    at = _millis(job["finished_at"])
    steps = words.history(files)
    last = max((step for step, _ in steps), default=0)
    final = words.metrics(job)
    found = [
        Metric(n, v, at, step)
        for step, values in steps
        for n, v in values.items()
        if step != last or n not in final
    ]
    found += [Metric(n, v, at, last, model_id=model, run_id=run_id) for n, v in final.items()]
    for start in range(0, len(found), AT_ONCE):
        to.client.log_batch(run_id, metrics=found[start : start + AT_ONCE])


def _write_dataset(to: Tracking, run_id: str, job: Mapping[str, Any], files: Path | None) -> None:
    """The dataset that it was trained or judged on, with the fingerprint of its contents."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    data = words.fingerprint(files)
    if data:
        found = Dataset(job["dataset"], data[:LONGEST_DIGEST], "zoo", f"zoo data {job['dataset']}")
        context = "training" if job["kind"] == "train" else "eval"
        used = DatasetInput(found, [InputTag("mlflow.data.context", context)])
        to.client.log_inputs(run_id, [used])


def _write_files(to: Tracking, run_id: str, files: Path | None, leave: str | None) -> None:
    """The job's files, each in its place; the weights are with the model, if there is one."""
    for path in sorted(files.rglob("*")) if files else []:
        name = path.relative_to(files) if files else path
        if path.is_file() and name.parts[0] != leave:
            folder = name.parent.as_posix()
            to.client.log_artifact(run_id, str(path), None if folder == "." else folder)


def _write_group(to: Tracking, run_id: str, group: Mapping[str, Any], ended: float) -> None:
    from mlflow.entities import Metric, RunTag

    at = _millis(group["created_at"])
    found = [Metric(n, v, at, 0) for n, v in words.group_metrics(group).items()]
    tags = {
        "zoo.kind": group["kind"],
        "zoo.status": group["status"],
        "zoo.jobs": len(group["jobs"]),
    }
    to.client.log_batch(run_id, metrics=found, tags=[RunTag(n, str(v)) for n, v in tags.items()])
    to.client.set_terminated(run_id, words.status(group), _millis(ended))


def _millis(seconds: float) -> int:
    return int(seconds * 1000)
