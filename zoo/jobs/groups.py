"""Groups of jobs as frozen records, and the one rule by which results are ranked."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from zoo.jobs.group_metrics import Statistics
from zoo.jobs.iso_times import with_iso_times
from zoo.jobs.records import Job, finite
from zoo.jobs.statuses import NO_FAILURE
from zoo.metrics import ACCURACY, Objective


@dataclass(frozen=True)
class Group:
    """Jobs submitted together whose results are read together."""

    TIMES = ("created_at",)
    id: str
    kind: str
    created_at: float
    jobs: list[Job] = field(default_factory=list)
    about: dict[str, Any] = field(default_factory=dict)
    """Of a sweep: its sampler, space and objective, as JSON."""
    max_parallel: int | None = None
    """Largest number of its jobs that run at a time."""

    @property
    def objective(self) -> Objective:
        """The metric by which its trials are ranked; accuracy for other groups."""
        return Objective.from_json(self.about)

    @property
    def status(self) -> str:
        """`succeeded` once every job has; else that of a job that has not, queued last.

        Pruned jobs are no failure: they count only if no job has succeeded.
        """
        found = [job.listed_status for job in self.jobs]
        for status in ("running", "queued", "paused"):
            if status in found:
                return status
        failed = [status for status in found if status not in NO_FAILURE]
        return (failed or [s for s in NO_FAILURE if s in found] or ["succeeded"])[0]

    @property
    def is_terminal(self) -> bool:
        return all(job.is_terminal for job in self.jobs)

    @property
    def is_mixed(self) -> bool:
        """Whether its jobs were judged on different contents of the dataset, as far as is known."""
        return len({job.contents for job in self.jobs if job.status == "succeeded"}) > 1

    def metrics(self) -> dict[str, Statistics]:
        """Return the statistics of each number over the jobs that have succeeded, by name.

        A metric is left out unless every finished job has it. There is none at all if the jobs were
        judged on different contents, or are trials with different params, as those of a sweep:
        `best` is the result of a sweep.
        """
        done = [job.metrics for job in self.jobs if job.status == "succeeded"]
        if self.is_mixed or self.kind == "sweep":
            return {}
        names = [
            name for name in (done[0] if done else {}) if all(_is_number(m, name) for m in done)
        ]
        found = {name: Statistics.of([float(m[name]) for m in done]) for name in names}
        return {name: each for name, each in found.items() if math.isfinite(each.mean)}

    def trials(self) -> list[Group]:
        """Return the jobs of each trial of a sweep as a group, in the order of submission."""
        from zoo.job_spec import trial_of  # pydantic, for which a list of jobs need not wait

        parts: dict[str, list[Job]] = {}
        for job in sorted(self.jobs, key=lambda job: job.created_at):
            parts.setdefault(trial_of(job.spec), []).append(job)
        kinds = {True: "cv", False: "seeds"}
        about = self.objective.to_json()
        return [
            Group(self.id, kinds[bool(jobs[0].spec["fold"])], self.created_at, jobs, about)
            for jobs in parts.values()
        ]

    def best(self) -> Group | None:
        """Return the best trial of a sweep; None of another group, or while no trial has ended.

        Trials on the newest contents of the dataset come before those on older ones.
        """
        found = best_first(self.trials()) if self.kind == "sweep" else []
        return found[0] if found and value_of(found[0]) else None

    def to_json(self) -> dict[str, Any]:
        """The group as scripts see it."""
        begun = {"id": self.id, "kind": self.kind, "status": self.status}
        return with_iso_times(begun | {"created_at": self.created_at}, self.TIMES) | {
            "about": self.about,
            "max_parallel": self.max_parallel,
            "jobs": [job.to_json() for job in self.jobs],
            "metrics": {name: each.to_json() for name, each in self.metrics().items()},
            "best": self._best_json(),
        }

    def _best_json(self) -> dict[str, Any] | None:
        best = self.best()
        if best is None:
            return None
        found = {"accuracy": accuracy_of(best), "value": value_of(best)}
        shown = {name: each and each.to_json() for name, each in found.items()}
        return {"job": best.jobs[0].id, "metric": self.objective.metric, **shown}


def members(result: Job | Group) -> list[Job]:
    """The jobs of a group, or the one job."""
    return result.jobs if isinstance(result, Group) else [result]


def accuracy_of(result: Job | Group) -> Statistics | None:
    """Return the statistics of a result's accuracy, see `value_of`."""
    return value_of(result, ACCURACY)


def value_of(result: Job | Group, by: Objective | None = None) -> Statistics | None:
    """Return the statistics of the metric by which a result is ranked.

    None unless all of its jobs have succeeded on the same contents and have the metric; always None
    of a sweep, whose result is its best trial. By default a group is ranked by its own objective, a
    job by accuracy.
    """
    if isinstance(result, Job):
        value = result.number((by or ACCURACY).metric) if result.status == "succeeded" else None
        return None if value is None else Statistics.of([float(value)])
    found = result.metrics().get((by or result.objective).metric)
    return found if result.status == "succeeded" else None


def rank(result: Job | Group, by: Objective | None = None) -> tuple[float, int]:
    """Return a key that sorts results best first: by `value_of`, equals in order of submission.

    This is the one rule for ties; the database's queries follow it with `ORDER BY seq`.
    """
    value = value_of(result, by)
    objective = by or (result.objective if isinstance(result, Group) else ACCURACY)
    first = min((job.seq for job in members(result)), default=0)
    return objective.key(value.mean if value else None), first


R = TypeVar("R", Job, Group)


def best_first(found: Iterable[R], by: Objective | None = None) -> list[R]:
    """Sort results of one dataset by `rank`, those without a value last.

    Results on the newest contents of the dataset come before all on older ones.
    """
    known = list(found)
    last: dict[str | None, float] = {}
    for each in known:
        for job in members(each) if value_of(each, by) else ():
            last[job.contents] = max(last.get(job.contents, 0.0), job.started_at or 0.0)

    def order(each: R) -> tuple[float, tuple[float, int]]:
        has_value = value_of(each, by) is not None
        return -last[members(each)[0].contents] if has_value else math.inf, rank(each, by)

    return sorted(known, key=order)


def result_text(result: Job | Group) -> str:
    """Format the result of a job or group: an accuracy, or the best trial of a sweep with its id.

    An empty text where there is none yet. Of a cross-validation or seeds, the mean of the jobs that
    have succeeded so far.
    """
    if isinstance(result, Job):
        return "" if result.accuracy is None else f"accuracy {result.accuracy:.4f}"
    if result.kind != "sweep":
        found = result.metrics().get("accuracy")
        return f"accuracy {found.counted()}" if found else ""
    best = result.best()
    return best_text(best.jobs[0].id, value_of(best), result.objective.metric) if best else ""


def best_text(job_id: str, value: Statistics | None, metric: str = "accuracy") -> str:
    """Format the best trial of a sweep, by the id of its first job."""
    if value is None:
        return ""
    shown = value.counted() if len(value.values) > 1 else value.text()
    return f"best {metric} {shown}, job {job_id[:8]}"


def _is_number(metrics: Mapping[str, Any], name: str) -> bool:
    return finite(metrics.get(name)) is not None
