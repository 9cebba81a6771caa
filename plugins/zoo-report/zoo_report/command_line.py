"""The line to type that makes a job, or the group that it is a part of, again."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from zoo.jobs import Group, Job
from zoo.param_values import as_options


def line(job: Job) -> str:
    """The command of a job by itself; of one fold, that of the whole cross-validation.

    Params at their defaults are left out, where the job wrote down which those were.
    """
    words = _evaluation(job) if job.kind == "evaluate" else [*_training(job), *_seed(job)]
    return shlex.join(["zoo", *words, *_limits(job), *_queued(job)])


def group_line(group: Group) -> str:
    """The command of a cross-validation or of seeds; a sweep's jobs are rerun by its id."""
    job = group.jobs[0]
    seeds = [each.spec["seed"] for each in group.jobs]
    if group.kind == "cv":
        return line(job)
    if group.kind == "seeds" and seeds == list(range(seeds[0], seeds[0] + len(seeds))):
        some = ["--seed", str(seeds[0]), "--seeds", str(len(seeds))]
        return shlex.join(["zoo", *_training(job), *some, *_limits(job), *_queued(job)])
    return shlex.join(["zoo", "rerun", group.id])


def _training(job: Job) -> Iterator[str]:
    spec = job.spec
    yield from ("train", job.model)
    yield from as_options(job.changed)
    yield from ("--dataset", job.dataset)
    if spec.get("preprocess", "none") != "none":
        yield from ("--preprocess", spec["preprocess"])
    if spec["fold"]:
        yield from ("--cv", str(spec["fold"]["k"]))
    # Folds keep none by default, every other training its own.
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
        # One that begins with a minus would be taken for an option.
        yield from ([f"--tag={tag}"] if tag.startswith("-") else ["--tag", tag])
