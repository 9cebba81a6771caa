"""The trained model that an evaluation, a prediction or an export begins with."""

from __future__ import annotations

from zoo.errors import UsageError
from zoo.job_spec import JobSpec
from zoo.jobs import Group, Job


def with_weights(trained: Job | Group) -> tuple[Job, JobSpec]:
    """A training that has left a trained model, and its spec.

    Raises UsageError if it has left none.
    """
    if isinstance(trained, Group):
        raise UsageError(
            "A group has no model of its own.", f"`zoo show {trained.id[:8]}` lists its jobs."
        )
    if trained.kind != "train" or trained.status != "succeeded" or not trained.artifact:
        raise UsageError(
            f"The {trained.kind} job {trained.id[:8]} is {trained.status}: it has no model.",
            "`zoo jobs --status succeeded` lists those that have.",
        )
    spec = JobSpec.parse_object(trained.spec)
    if not spec.keep_weights:
        raise UsageError(
            f"The job {trained.id[:8]} kept no weights.", "Train it with --keep-weights."
        )
    return trained, spec
