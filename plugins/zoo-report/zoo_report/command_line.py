"""The command line that repeats a job or its group."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from zoo.jobs import Group, Job
from zoo.param_values import as_options, typed_options


def job_command(job: Job) -> str:
    """Return the command for a job; for a fold, that of the whole cross-validation.

    Params at their defaults are left out, if the job recorded its defaults.
    """
    words = _evaluation(job) if job.kind == "evaluate" else [*_training(job), *_seed(job)]
    return shlex.join(["zoo", *words, *_limits(job), *_queued(job)])


def group_command(group: Group) -> str:
    """Return the command for a cross-validation or seeds; a sweep is rerun by its id."""
    job = group.jobs[0]
    seeds = [each.spec["seed"] for each in group.jobs]
    if group.kind == "cv":
        return job_command(job)
    if group.kind == "seeds" and seeds == list(range(seeds[0], seeds[0] + len(seeds))):
        some = ["--seed", str(seeds[0]), "--seeds", str(len(seeds))]
        return shlex.join(["zoo", *_training(job), *some, *_limits(job), *_queued(job)])
    return shlex.join(["zoo", "rerun", group.id])


def _training(job: Job) -> Iterator[str]:
    spec = job.spec
    yield from ("train", job.model)
    yield from as_options(job.changed)
    yield from ("--dataset", job.dataset)
    yield from typed_options(spec)
    if spec["fold"]:
        yield from ("--cv", str(spec["fold"]["k"]))
    # By default folds keep no weights, and all other trainings do.
    if spec["keep_weights"] == bool(spec["fold"]):
        yield "--keep-weights" if spec["keep_weights"] else "--no-keep-weights"


def _evaluation(job: Job) -> Iterator[str]:
    yield from ("evaluate", job.spec["source"]["job"])
    yield from ("--dataset", job.dataset, "--split", job.spec["split"])


def _seed(job: Job) -> Iterator[str]:
    yield from ("--seed", str(job.spec["seed"]))


def _limits(job: Job) -> Iterator[str]:
    if job.spec.get("timeout") is not None:
        yield from ("--timeout", repr(job.spec["timeout"]))
    if job.spec.get("memory_mb") is not None and job.kind == "train":
        yield from ("--memory", str(job.spec["memory_mb"]))


def _queued(job: Job) -> Iterator[str]:
    if job.pool != "default":
        yield from ("--pool", job.pool)
    for tag in job.tags:
        # A tag that begins with a minus would be parsed as an option.
        yield from ([f"--tag={tag}"] if tag.startswith("-") else ["--tag", tag])
