"""Rank the best test result and the best cross-validation of each model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from zoo import jobs
from zoo.jobs import Best, Database, Filter, Group, Job
from zoo.jobs.group_metrics import Statistics
from zoo.jobs.groups import rank, value_of
from zoo.metrics import ACCURACY, Objective
from zoo.param_values import chosen_options

CONSTANT_METRICS = ("n_images", "parameters", "weights_bytes")
"""Metrics with the same value in each job of a group."""
METRICS = ("accuracy", "loss", "fit_seconds", "predict_us_per_image", *CONSTANT_METRICS)


@dataclass(frozen=True)
class TestResult:
    """The result of a job on test images, or the mean of the results of a group of seeds."""

    id: str
    """Of the job or group."""
    value: Statistics
    """The metric by which results are ranked: of a job, or over the jobs of a group."""
    accuracy: float
    loss: float | None = None
    fit_seconds: float | None = None
    predict_us_per_image: float | None = None
    n_images: float | None = None
    parameters: float | None = None
    weights_bytes: float | None = None
    std: float | None = None
    """Sample standard deviation (n - 1) of the accuracies; None for a job or a single seed."""
    values: Sequence[float] | None = None
    """The accuracy of each seed; None for a job."""

    @property
    def is_group(self) -> bool:
        """Whether this is the mean of a group."""
        return self.values is not None

    def to_json(self) -> dict[str, Any]:
        """Return the result as `zoo leaderboard --json` prints it."""
        found: dict[str, Any] = {"group" if self.is_group else "job": self.id}
        found["value"] = self.value.to_json()
        found |= {name: getattr(self, name) for name in METRICS}
        return found | ({"std": self.std, "values": self.values} if self.is_group else {})


@dataclass(frozen=True)
class CrossValidation:
    """The mean over the folds of one cross-validation."""

    id: str
    """Of the group."""
    value: Statistics
    """The metric by which results are ranked, over the folds."""
    accuracy: float
    """Mean over the folds."""
    std: float | None
    """Sample standard deviation (n - 1) of the accuracies; None for a single fold."""
    values: Sequence[float]
    """The accuracy of each fold."""
    fit_seconds: float | None = None
    parameters: float | None = None

    @property
    def statistics(self) -> Statistics:
        """The statistics of the accuracy."""
        return Statistics(self.accuracy, self.std, self.values)

    def to_json(self) -> dict[str, Any]:
        """Return the result as `zoo leaderboard --json` prints it."""
        costs = {"fit_seconds": self.fit_seconds, "parameters": self.parameters}
        found = {"group": self.id, "value": self.value.to_json()}
        return found | self.statistics.to_json() | costs


@dataclass(frozen=True)
class LeaderboardRow:
    """The best results of a model on one dataset's contents; at least one of `test` and `cv`."""

    dataset: str
    contents: str | None
    """Fingerprint of the images and labels; None if the result does not know it."""
    is_newest: bool
    """Whether the dataset's name still means these contents."""
    model: str
    by: dict[str, Any]
    """Values of the names that were to be ranked separately."""
    params: dict[str, Any]
    changed: dict[str, Any]
    """Params that are not the defaults."""
    classes: int
    published: Mapping[str, Any] | None
    """The published result that the job reproduces: {"table", "row", "error", "source"}."""
    test: TestResult | None
    cv: CrossValidation | None
    """Beside `test` only if both have the same params."""
    version: int | None = None
    """The version of an added dataset."""
    objective: Objective = ACCURACY
    """The metric by which the row is ranked."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Options of the training that are not the defaults, such as `preprocess`, `validation`."""

    @property
    def chosen(self) -> dict[str, Any]:
        """What listings show of how it was trained: options and params."""
        return {**self.options, **self.changed}

    @property
    def result(self) -> TestResult | CrossValidation:
        """The test result, or the cross-validation where there is none."""
        found = self.test or self.cv
        assert found is not None
        return found

    @property
    def accuracy(self) -> float:
        """The accuracy of the result."""
        return self.result.accuracy

    @property
    def value(self) -> float:
        """The value of the metric by which the row is ranked."""
        return self.result.value.mean

    @property
    def test_error(self) -> float | None:
        """The share of test images that are wrong; None for a cross-validation alone.

        Folds are part of the training split, so their error is not a test error.
        """
        return None if self.test is None else float(1 - self.test.accuracy)

    @property
    def dataset_label(self) -> str:
        """The dataset; of an added one, `wine@1` for contents that are not the newest."""
        is_older = self.version is not None and not self.is_newest
        return f"{self.dataset}@{self.version}" if is_older else self.dataset

    @property
    def contents_note(self) -> str:
        """A short note on a result for older contents; empty for the newest."""
        is_labelled = self.dataset_label != self.dataset
        return "older" if is_labelled else contents_note(self.contents, self.is_newest)

    def to_json(self) -> dict[str, Any]:
        """Return the row as `zoo leaderboard --json` prints it."""
        found = {name: value for name, value in vars(self).items() if name != "objective"}
        return found | {
            "metric": self.objective.metric,
            "test": self.test.to_json() if self.test else None,
            "cv": self.cv.to_json() if self.cv else None,
        }


def leaderboard_rows(
    db: Database,
    wanted: Filter | None = None,
    *,
    by: Sequence[str] = (),
    metric: str | None = None,
) -> list[LeaderboardRow]:
    """Rank the best test result and the best cross-validation of each model.

    Results on different contents of a dataset are ranked separately, and a result that does not
    know its contents stands alone. A group of seeds counts by its mean, never by its best seed; so
    does each trial of a sweep.

    Args:
        wanted: The jobs that count; by default all.
        by: Names such as `params.epochs`: each of their values is ranked separately.
        metric: The metric to rank by, see `jobs.best`.

    Returns:
        The rows by dataset, the newest contents first; within one contents, models with fewer
        classes, whose task is different, come last, and the best first.

    Raises:
        UsageError: For an unknown name in `by`, or a metric that no job has.
    """
    found: list[tuple[Best, LeaderboardRow]] = []
    pairs: list[tuple[Job | Group | None, Group | None]]
    for best in jobs.best(db, wanted or Filter(), by=by, metric=metric):
        test, cv = best.test, best.cv
        pairs = [(test, None), (None, cv)]
        if test and cv and _recipe(test) == _recipe(cv):
            pairs = [(test, cv)]
        values = dict(zip(by, best.by, strict=True))
        found += [(best, _row(best, *pair, values)) for pair in pairs if any(pair)]
    return [row for _, row in sorted(found, key=lambda pair: _order(*pair))]


def contents_note(contents: str | None, is_newest: bool) -> str:
    """Return a short note on a result for older contents; empty for the newest."""
    if is_newest:
        return ""
    return f"older {contents[:8]}" if contents else "unknown"


def job_contents_note(job: Job, newest: Mapping[str, str | None]) -> str:
    """Return `contents_note` for a job; `newest` is the result of `jobs.newest_contents`."""
    is_newest = job.contents == newest.get(job.dataset, job.contents)
    if job.dataset_version is not None and not is_newest:
        return job.dataset_label
    return contents_note(job.contents, is_newest)


def _first(result: Job | Group) -> Job:
    return result.jobs[0] if isinstance(result, Group) else result


def _recipe(result: Job | Group) -> tuple[Any, ...]:
    spec = _first(result).spec
    return spec["params"], chosen_options(spec)


def _row(
    best: Best, test: Job | Group | None, cv: Group | None, by: dict[str, Any]
) -> LeaderboardRow:
    job = _first(test or cv)  # type: ignore[arg-type]
    return LeaderboardRow(
        dataset=job.dataset,
        contents=best.contents,
        is_newest=best.is_newest,
        model=job.model,
        by=by,
        params=job.spec["params"],
        changed=job.changed,
        classes=len(job.per_class),
        published=job.spec.get("published"),
        test=_test_result(test, best.objective) if test else None,
        cv=_cross_validation(cv, best.objective) if cv else None,
        version=job.dataset_version,
        objective=best.objective,
        options=chosen_options(job.spec),
    )


def _test_result(result: Job | Group, by: Objective) -> TestResult:
    value = value_of(result, by)
    assert value is not None  # else it is not ranked
    if isinstance(result, Job):
        return TestResult(result.id, value, **{name: result.number(name) for name in METRICS})  # type: ignore[arg-type]
    accuracy = result.metrics()["accuracy"]
    return TestResult(result.id, value, **_means(result), std=accuracy.std, values=accuracy.values)


def _cross_validation(group: Group, by: Objective) -> CrossValidation:
    value, accuracy, means = value_of(group, by), group.metrics()["accuracy"], _means(group)
    assert value is not None
    return CrossValidation(
        group.id,
        value,
        accuracy.mean,
        accuracy.std,
        accuracy.values,
        means["fit_seconds"],
        means["parameters"],
    )


def _means(group: Group) -> dict[str, Any]:
    found = group.metrics()
    means = {name: found[name].mean if name in found else None for name in METRICS}
    return means | {name: group.jobs[0].number(name) for name in CONSTANT_METRICS}


def _order(best: Best, row: LeaderboardRow) -> tuple[Any, ...]:
    """By dataset; within one, the newest contents first; then by classes and `groups.rank`."""
    result = best.test if row.test else best.cv
    order = rank(result, best.objective) if result else ()
    return best.dataset, not best.is_newest, -best.since, -row.classes, order
