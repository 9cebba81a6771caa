"""Write the runs of jobs and groups to MLflow, idempotently."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import zoo_mlflow.flavor as flavor
from zoo.training.run import WEIGHTS
from zoo_mlflow import mapping, pictures
from zoo_mlflow.client import TrackingServer

PARENT = "mlflow.parentRunId"
LONGEST_DIGEST = 36
"""MLflow's limit, in characters."""
AT_ONCE = 500
"""Metrics in one request; MLflow takes a thousand."""
PARAMS_AT_ONCE = 100
"""MLflow's limit."""
Steps = Sequence[Mapping[str, Any]]
"""The reports of a training with their times, as `jobs.timed_steps` returns them."""


def record(
    server: TrackingServer, job: Mapping[str, Any], files: Path | None, steps: Steps = ()
) -> str:
    """Write the run of a job that has ended; returns the id of the run.

    Its tags are written each time, everything else until the run is complete.

    Args:
        server: The tracking server.
        job: The job as JSON; `group_result` is the result of its group, if it ended that.
        files: The folder with the job's files, checked; None if it left none.
        steps: What its training reported.
    """
    run = _find(server, job) or _create(server, job)
    _tag(server, run, job)
    is_complete = mapping.DONE_TAG in run.data.tags
    if not is_complete:
        _write(server, run, job, files, steps)
    if job["group"] and job.get("group_result"):
        record_group(server, job, job["group_result"])
    # Without files that it has, `zoo mlflow sync` may find them later.
    if not is_complete and (files or not job["artifact"]):
        server.client.set_tag(run.info.run_id, mapping.DONE_TAG, "yes")
    return str(run.info.run_id)


def record_running(server: TrackingServer, job: Mapping[str, Any], steps: Steps) -> None:
    """Write what is known of a running job: a run with the status RUNNING, and its steps so far.

    A run that has ended is left as it is: another process has written it meanwhile.
    """
    run = _find(server, job) or _create(server, job)
    if run.info.status == "RUNNING":
        _tag(server, run, job, run.data.tags.get(PARENT))
        _write_params(server, run, mapping.params(job))
        _write_steps(server, run, job, steps)


def end(server: TrackingServer, job_id: str) -> None:
    """End the run of a job that was removed, if it still counts as running."""
    for run in server.search(f"tags.`{mapping.JOB_TAG}` = '{job_id}'"):
        if run.info.status == "RUNNING":
            server.client.set_terminated(run.info.run_id, "KILLED")


def record_group(server: TrackingServer, job: Mapping[str, Any], group: Mapping[str, Any]) -> None:
    """Write a group: its params, and its result as far as its jobs have ended.

    Args:
        server: The tracking server.
        job: The job of it that has ended last; any one while none has.
        group: The group as JSON.
    """
    run = server.client.get_run(_parent(server, job))
    best = (group.get("best") or {}).get("job")
    of_best = next(iter(_search_job(server, best)), None) if best else None
    _write_params(server, run, mapping.group_params(job, group))
    tags = mapping.group_tags(job, group)
    if of_best:
        tags |= mapping.best_tags(of_best, server.experiment, group)
    _set_tags(server, run, tags)
    if job["finished_at"]:
        _write_group_metrics(server, run.info.run_id, job, group)
    status = mapping.status(group)
    if status != "RUNNING":
        server.client.set_terminated(run.info.run_id, status, _millis(job["finished_at"]))


def written(server: TrackingServer) -> set[str]:
    """Return the ids of the jobs whose runs are complete."""
    found = server.search(f"tags.`{mapping.DONE_TAG}` = 'yes'")
    return {run.data.tags[mapping.JOB_TAG] for run in found if mapping.JOB_TAG in run.data.tags}


def is_written(server: TrackingServer, job_id: str) -> bool:
    """Return whether the run of a job is complete."""
    return any(mapping.DONE_TAG in run.data.tags for run in _search_job(server, job_id))


# --- find and create ---


def _search_job(server: TrackingServer, job_id: str) -> list[Any]:
    return server.search(f"tags.`{mapping.JOB_TAG}` = '{job_id}'")


def _find(server: TrackingServer, job: Mapping[str, Any]) -> Any:
    return _merge_duplicates(server, _search_job(server, job["id"]))


def _create(server: TrackingServer, job: Mapping[str, Any]) -> Any:
    began = job["started_at"] or job["created_at"]
    tags = {mapping.JOB_TAG: job["id"]}
    server.client.create_run(server.experiment, _millis(began), tags, mapping.run_name(job))
    return _find(server, job)


def _merge_duplicates(server: TrackingServer, found: Sequence[Any]) -> Any:
    """Keep one of several runs with the same tag, and delete the others; None without any.

    Two processes may have created one at the same time; all keep the same, one that is complete if
    there is one.
    """

    def order(run: Any) -> tuple[bool, str]:
        return mapping.DONE_TAG not in run.data.tags, str(run.info.run_id)

    first, *others = sorted(found, key=order) or [None]
    for other in others:
        for child in server.search(f"tags.`{PARENT}` = '{other.info.run_id}'"):
            server.client.set_tag(child.info.run_id, PARENT, first.info.run_id)
        server.client.delete_run(other.info.run_id)
    return first


def _parent(server: TrackingServer, job: Mapping[str, Any]) -> str:
    def find() -> Any:
        condition = f"tags.`{mapping.GROUP_TAG}` = '{job['group']}' and tags.`zoo.is_group` = 'yes'"
        return _merge_duplicates(server, server.search(condition))

    run = find()
    if run is None:
        tags = mapping.group_tags(job) | {"zoo.is_group": "yes"}
        name = tags["mlflow.runName"]
        server.client.create_run(server.experiment, _millis(job["created_at"]), tags, name)
        run = find()
    return str(run.info.run_id)


# --- write ---


def _tag(
    server: TrackingServer, run: Any, job: Mapping[str, Any], parent: str | None = None
) -> None:
    """Write the tags of a job's run; `parent` is the run of its group, if that is known."""
    of_group = {PARENT: parent or _parent(server, job)} if job["group"] else {}
    _set_tags(server, run, mapping.tags(job) | of_group)


def _set_tags(server: TrackingServer, run: Any, tags: Mapping[str, str]) -> None:
    from mlflow.entities import RunTag

    changed = [RunTag(n, v) for n, v in tags.items() if run.data.tags.get(n) != v]
    if changed:
        server.client.log_batch(run.info.run_id, tags=changed)


def _write(
    server: TrackingServer, run: Any, job: Mapping[str, Any], files: Path | None, steps: Steps
) -> None:
    run_id = run.info.run_id
    _write_params(server, run, mapping.params(job))
    has_model = bool(files and (files / WEIGHTS).is_dir())
    model = flavor.log(server, run, job, files) if files and has_model else None
    _write_steps(server, run, job, steps)
    _write_final_metrics(server, run_id, job, steps, model)
    _write_dataset(server, run_id, job, files)
    if files:
        _write_files(server, run_id, files, leave=WEIGHTS if model else None)
        with pictures.drawn(job, files) as folder:
            _write_files(server, run_id, folder)
    server.client.set_terminated(run_id, mapping.status(job), _millis(job["finished_at"]))


def _write_params(server: TrackingServer, run: Any, params: Mapping[str, str]) -> None:
    from mlflow.entities import Param

    missing = [Param(n, v) for n, v in params.items() if n not in run.data.params]
    for start in range(0, len(missing), PARAMS_AT_ONCE):
        some = missing[start : start + PARAMS_AT_ONCE]
        server.client.log_batch(run.info.run_id, params=some)


def _write_steps(server: TrackingServer, run: Any, job: Mapping[str, Any], steps: Steps) -> None:
    """Write the steps after the last one that the run has, each with its own time.

    A step that a second attempt reports again is left as the first has reported it: MLflow can
    take no metric back.
    """
    from mlflow.entities import Metric, RunTag

    last = float(run.data.tags.get(mapping.STEP_TAG, -math.inf))
    for some in _batches([each for each in steps if each["step"] > last]):
        points = [
            Metric(n, v, _time(job, step), step["step"])
            for step in some
            for n, v in mapping.step_metrics(step).items()
        ]
        # In one request: the tag is set once the metrics are there.
        tag = RunTag(mapping.STEP_TAG, str(some[-1]["step"]))
        server.client.log_batch(run.info.run_id, metrics=points, tags=[tag])


def _batches(steps: Steps) -> Iterator[list[Mapping[str, Any]]]:
    """Split steps so that each part has at most AT_ONCE metrics, or one step."""
    some: list[Mapping[str, Any]] = []
    size = 0
    for step in steps:
        if some and size + len(step["metrics"]) > AT_ONCE:
            yield some
            some, size = [], 0
        some.append(step)
        size += len(step["metrics"])
    if some:
        yield some


def _time(job: Mapping[str, Any], step: Mapping[str, Any]) -> int:
    # Workers of an older version did not tell the time of a step.
    return _millis(step["at"] or job["finished_at"] or job["started_at"])


def _write_final_metrics(
    server: TrackingServer,
    run_id: str,
    job: Mapping[str, Any],
    steps: Steps,
    model: str | None,
) -> None:
    """Write the metrics of the result, at the last step.

    One that the last step has reported with this value has its time: MLflow stores it once.
    """
    from mlflow.entities import Metric

    last = steps[-1] if steps else None
    reported = mapping.step_metrics(last) if last else {}
    step = last["step"] if last else 0
    ended = _millis(job["finished_at"])
    found = [
        Metric(
            n,
            v,
            _time(job, last) if last and reported.get(n) == v else ended,
            step,
            model_id=model,
            run_id=run_id,
        )
        for n, v in mapping.metrics(job).items()
    ]
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
    server: TrackingServer, run_id: str, files: Path, leave: str | None = None
) -> None:
    """Write the job's files; the weights belong to the logged model, if there is one."""
    for path in sorted(files.rglob("*")):
        name = path.relative_to(files)
        if path.is_file() and name.parts[0] != leave:
            folder = name.parent.as_posix()
            server.client.log_artifact(run_id, str(path), None if folder == "." else folder)


def _write_group_metrics(
    server: TrackingServer, run_id: str, job: Mapping[str, Any], group: Mapping[str, Any]
) -> None:
    from mlflow.entities import Metric

    at, step = _millis(job["finished_at"]), mapping.ended_jobs(group)
    found = [Metric(n, v, at, step) for n, v in mapping.group_metrics(group).items()]
    server.client.log_batch(run_id, metrics=found)


def _millis(seconds: float) -> int:
    return int(seconds * 1000)
