"""Map jobs and groups to the params, metrics and tags of MLflow."""

from __future__ import annotations

import json
import math
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import zoo
from zoo.jobs import TERMINAL
from zoo.param_values import typed_options
from zoo.plugins import registry
from zoo.training import provenance

JOB_TAG, GROUP_TAG, DONE_TAG, STEP_TAG = "zoo.job", "zoo.group", "zoo.written", "zoo.step"
"""Tags: the first two identify a run; the third is set when it is complete, the last has the newest
step that was written."""
STATUSES = {
    **{"succeeded": "FINISHED", "cancelled": "KILLED", "pruned": "KILLED"},
    **dict.fromkeys(("queued", "paused", "running"), "RUNNING"),
}
"""All others are FAILED."""
LONGEST_PARAM, LONGEST_TAG = 6000, 5000
"""MLflow's limits, in characters."""
NOT_A_NAME = re.compile(r"[^\w\-. /]")
"""MLflow refuses other characters in the names of params and metrics."""


def status(job: Mapping[str, Any]) -> str:
    """Return MLflow's status for the status of a job or group."""
    return STATUSES.get(job["status"], "FAILED")


def run_name(job: Mapping[str, Any]) -> str:
    """Return the name shown in the list of runs."""
    fold = f" fold {job['fold']['index'] + 1} of {job['fold']['k']}" if job["fold"] else ""
    return f"{job['model']} on {job['dataset']}{fold} {job['id'][:8]}"


def params(job: Mapping[str, Any]) -> dict[str, str]:
    """Return the params as text; values that are not text as JSON."""
    return {NOT_A_NAME.sub("_", n): _text(v)[:LONGEST_PARAM] for n, v in job["params"].items()}


def metrics(job: Mapping[str, Any]) -> dict[str, float]:
    """Return the finite numbers among the metrics; tables are in metrics.json."""
    return {NOT_A_NAME.sub("_", n): float(v) for n, v in job["metrics"].items() if _is_finite(v)}


def step_metrics(step: Mapping[str, Any]) -> dict[str, float]:
    """Return the finite numbers that a training reported at a step."""
    return {NOT_A_NAME.sub("_", n): float(v) for n, v in step["metrics"].items() if _is_finite(v)}


def fingerprint(files: Path | None) -> str:
    """Return the fingerprint of the dataset's contents; empty if the job left no files."""
    found = provenance.read_environment(files)
    return (found and found.data) or ""


def tags(job: Mapping[str, Any]) -> dict[str, str]:
    """Return the tags of a job's run, by which runs can be searched."""
    values = {
        **{n: job[n] for n in ("kind", "model", "dataset", "split", "preprocess", "seed")},
        **{n: job[n] for n in ("status", "fingerprint", "plugin", "worker", "pool", "attempt")},
        **{n: job[n] for n in ("group", "source", "retry_of")},
        "job": job["id"],
        "fold": f"{job['fold']['index']} of {job['fold']['k']}" if job["fold"] else None,
        **{n: job.get(n) for n in ("validation", "class_weight", "positive")},
        **{n: job["metrics"].get(n) for n in ("stopped_early", "ended_early")},
        "tags": " ".join(job["tags"]),
        "version": zoo.__version__,
        "command": command(job),
        "error": (job["error"] or {}).get("message"),
    }
    found = {f"zoo.{n}": _text(v)[:LONGEST_TAG] for n, v in values.items() if v not in (None, "")}
    return found | {
        "mlflow.runName": run_name(job),
        "mlflow.source.type": "JOB",
        "mlflow.source.name": command(job),
    }


def command(job: Mapping[str, Any]) -> str:
    """Return the command that submits the same job."""
    if job["kind"] == "evaluate":
        words = ["zoo", "evaluate", str(job["source"])[:8]]
        return shlex.join([*words, "--dataset", job["dataset"], "--split", job["split"]])
    words = ["zoo", "train", job["model"], "--dataset", job["dataset"]]
    known = registry.catalogue().models.get(job["model"])
    usual = known.Params.resolve({}).model_dump(mode="json") if known else {}
    for n, value in job["params"].items():
        if n not in usual or usual[n] != value:
            words += ["-p", f"{n}={_text(value)}"]
    words += [*typed_options(job), "--seed", str(job["seed"])]
    words += ["--cv", str(job["fold"]["k"])] if job["fold"] else []
    return shlex.join(words)


def group_tags(job: Mapping[str, Any], group: Mapping[str, Any] | None = None) -> dict[str, str]:
    """Return the tags of a group's run, from any of its jobs and, if it is known, the group."""
    kind = group["kind"] if group else "cv" if job["fold"] else "group"
    known = {"kind": kind, "status": group["status"], "jobs": len(group["jobs"])} if group else {}
    return {
        GROUP_TAG: str(job["group"]),
        "zoo.model": job["model"],
        "zoo.dataset": job["dataset"],
        "mlflow.runName": f"{kind} of {job['model']} on {job['dataset']} {job['group'][:8]}",
        **{f"zoo.{n}": str(v) for n, v in known.items()},
    }


def best_tags(run: Any, experiment: str, group: Mapping[str, Any]) -> dict[str, str]:
    """Return the tags of a sweep's run that name its best trial, whose run is `run`."""
    best, found = group["best"], run.data.params
    varied = group["about"].get("space") or {}
    params = {n: found[clean] for n in varied if (clean := NOT_A_NAME.sub("_", n)) in found}
    link = f"[{run.info.run_name}](#/experiments/{experiment}/runs/{run.info.run_id})"
    value = (best.get("value") or best["accuracy"])["mean"]
    how = f" with {', '.join(f'{n} = {v}' for n, v in params.items())}" if params else ""
    return {
        "zoo.best_job": best["job"],
        "zoo.best_run": run.info.run_id,
        "zoo.best_params": json.dumps(params)[:LONGEST_TAG],
        "mlflow.note.content": f"The best trial is {link}: {best['metric']} {value:.4f}{how}.",
    }


def group_params(job: Mapping[str, Any], group: Mapping[str, Any]) -> dict[str, str]:
    """Return the params of a group's run: those of its jobs, or how a sweep was asked for.

    The range or values of a param that varies are its own, as JSON.
    """
    if group["kind"] != "sweep":
        return params(job)
    about = group["about"]
    found = {f"sweep.{n}": about.get(n) for n in ("sampler", "trials", "objective", "pruner")}
    found |= {**(about.get("fixed") or {}), **(about.get("space") or {})}
    return {
        NOT_A_NAME.sub("_", n): _text(v)[:LONGEST_PARAM] for n, v in found.items() if v is not None
    }


def ended_jobs(group: Mapping[str, Any]) -> int:
    """Return how many jobs of a group have ended; hooks get the ids alone, once all have."""
    members = group["jobs"]
    return sum(isinstance(each, str) or each["status"] in TERMINAL for each in members)


def group_metrics(group: Mapping[str, Any]) -> dict[str, float]:
    """Return the mean of each metric, and as NAME_std its sample standard deviation.

    A sweep has the accuracy of its best trial instead, and the metric by which it is the best.
    """
    best = group.get("best") or {}
    of_best = {best.get("metric"): best.get("value"), "accuracy": best.get("accuracy")}
    found = {f"best_{NOT_A_NAME.sub('_', n)}": v["mean"] for n, v in of_best.items() if n and v}
    for n, each in group["metrics"].items():
        clean = NOT_A_NAME.sub("_", n)
        found[clean] = each["mean"]
        if each["std"] is not None:
            found[f"{clean}_std"] = each["std"]
    return found


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _is_finite(value: Any) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and math.isfinite(value)
