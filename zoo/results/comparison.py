"""Compare results: their differences, metrics, a paired test, and where predictions disagree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from zoo import metrics
from zoo.errors import ArtifactError, UsageError, ZooError
from zoo.jobs import Database, Group, Job, dataset_objective, members
from zoo.jobs.environments import CodeVersion, Machine
from zoo.jobs.group_metrics import Statistics
from zoo.jobs.groups import result_text
from zoo.metrics import ACCURACY, Objective
from zoo.results import significance
from zoo.results.predictions import load_predictions
from zoo.results.significance import SignificanceTest
from zoo.settings import Settings
from zoo.training.classification_metrics import metric_function
from zoo.training.provenance import environment_of

METRICS = (
    *metrics.METRICS,
    *(f"val_{name}" for name in metrics.METRICS),
    *("train_accuracy", "train_loss", "fit_seconds"),
    *("predict_us_per_image", "parameters", "weights_bytes", "n_images"),
)
"""The compared metrics, in the order of display."""
if TYPE_CHECKING:
    from zoo.model import Array

FIRST_IMAGES = 10
"""Images on which two models disagree that are listed one by one."""

KINDS = {"job": "a single job", "cv": "a cross-validation", "seeds": "a group of seeds"}
"""Kinds of results, as sentences name them."""

Metrics = Mapping[str, float | Statistics | None]


@dataclass(frozen=True)
class ComparedResult:
    """A job or group whose result is compared."""

    id: str
    jobs: list[Job]
    facts: dict[str, Any]
    """Everything that may differ, by name: `model`, `params.x`, `numpy`, `code`, `data`..."""
    metrics: Metrics
    """By name: a number, or for a group its statistics."""
    kind: str
    """`job`, or the kind of the group."""
    note: str = ""
    """For a sweep: which trial represents it."""


class DisputedImage(NamedTuple):
    """An image for which two models predict different classes."""

    row: int
    """Position in the split."""
    label: str
    predicted: tuple[str, str]


@dataclass(frozen=True)
class Disagreement:
    """How often two models, A and B, agree."""

    images: int
    both_right: int
    only_a: int
    """Images that A alone got right."""
    only_b: int
    both_wrong: int
    different: int
    """Images for which they predict different classes, right or wrong."""
    first: list[DisputedImage]
    """The first of those."""
    unit: str = "images"
    """The word for what they were judged on."""

    def to_json(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "unit"} | {
            "first": [
                {"index": each.row, "label": each.label, "predicted": list(each.predicted)}
                for each in self.first
            ]
        }


@dataclass(frozen=True)
class PairComparison:
    """The comparison of two results, A and B, by pairs of jobs."""

    a: str
    b: str
    test: SignificanceTest | None = None
    disagreement: Disagreement | None = None
    notes: list[str] = field(default_factory=list)
    """Why the test or the images are missing, a sentence each."""

    def to_json(self) -> dict[str, Any]:
        return {
            "between": [self.a, self.b],
            "test": self.test.to_json() if self.test else None,
            "disagreement": self.disagreement.to_json() if self.disagreement else None,
            "notes": self.notes,
        }


@dataclass(frozen=True)
class Comparison:
    """Results side by side, and each of the others against the first."""

    results: Sequence[ComparedResult]
    objective: Objective
    """That of the metric that is tested."""
    differs: dict[str, list[Any]]
    """As from `differences`."""
    metrics: dict[str, list[float | Statistics | None]]
    """As from `compared_metrics`."""
    pairs: Sequence[PairComparison]

    def to_json(self) -> dict[str, Any]:
        """Return what `zoo compare --json` prints."""
        return {
            "sides": [
                {"id": s.id, "kind": s.kind, "facts": s.facts, "note": s.note} for s in self.results
            ],
            "differs": self.differs,
            "metrics": metrics_json(self.metrics),
            "metric": self.objective.metric,
            "against_first": [each.to_json() for each in self.pairs],
        }


def compare_results(
    db: Database, settings: Settings, found: Sequence[Job | Group], metric: str | None = None
) -> Comparison:
    """Compare the results of two or more jobs or groups.

    Without `metric`, the dataset's own is tested, or the accuracy. Raises UsageError if there are
    fewer, or one has no result.
    """
    if len(found) < 2:
        raise UsageError("At least two jobs are needed.", "For example @best:mnist and @last.")
    results = [load_result(db, each) for each in found]
    by = dataset_objective(db, results[0].jobs[0].dataset, metric)
    return Comparison(
        results,
        by,
        differences(results),
        compared_metrics(results, by.metric),
        [compare_pair(settings, results[0], other, by) for other in results[1:]],
    )


def load_result(db: Database, found: Job | Group) -> ComparedResult:
    """Load the result of a job or group for a comparison; the best trial represents a sweep.

    Raises:
        UsageError: If there is no result.
    """
    if isinstance(found, Group) and found.kind == "sweep" and found.jobs:
        return _sweep_result(db, found)
    jobs = members(found)
    if not jobs:
        raise UsageError(f"The group {found.id[:8]} has no jobs left to compare.")
    if odd := [job for job in jobs if job.status != "succeeded"]:
        raise UsageError(
            f"The job {odd[0].id[:8]} is {odd[0].status}: it has no result to compare.",
            "`zoo jobs --status succeeded` lists jobs with a result.",
        )
    kind = found.kind if isinstance(found, Group) else "job"
    of_job = {name: jobs[0].number(name) for name in METRICS}
    measured: Metrics = found.metrics() if isinstance(found, Group) else of_job
    return ComparedResult(found.id, jobs, _facts(db, jobs, kind), measured, kind)


def _sweep_result(db: Database, sweep: Group) -> ComparedResult:
    best = sweep.best()
    if best is None:
        raise UsageError(
            f"No trial of the sweep {sweep.id[:8]} has a value of {sweep.objective.metric}: it has "
            "no result to compare."
        )
    note = f"{sweep.id[:8]} is a sweep, represented by its best trial: {result_text(sweep)}."
    return replace(load_result(db, best.jobs[0] if len(best.jobs) == 1 else best), note=note)


def _facts(db: Database, jobs: Sequence[Job], kind: str) -> dict[str, Any]:
    """Return the facts of the first job; `data` lists the contents of all jobs."""
    job = jobs[0]
    spec, environment = job.spec, environment_of(db, job)
    facts: dict[str, Any] = {
        "kind": job.kind if kind == "job" else f"{kind} of {len(jobs)}",
        "model": job.model,
        "dataset": job.dataset,
        "preprocess": spec.get("preprocess", "none"),
        **{name: spec.get(name) for name in ("validation", "class_weight", "positive")},
        "judged on": _evaluated_on(job, kind),
        "seed": ", ".join(str(each) for each in sorted({j.spec["seed"] for j in jobs})),
    }
    facts |= {f"params.{name}": value for name, value in spec["params"].items()}
    facts["plugin"] = (environment and environment.plugin) or spec["plugin"]
    if environment:
        code, machine = environment.code or CodeVersion(), environment.machine or Machine()
        facts |= {"code": str(code.sha256)[:12], "commit": _commit(code)}
        facts |= environment.versions
        facts |= machine.to_json()
    contents = dict.fromkeys(job.contents[:12] if job.contents else "unknown" for job in jobs)
    return facts | {"data": ", ".join(contents)}


def _commit(code: CodeVersion) -> str | None:
    if not code.commit:
        return None
    return f"{code.commit[:12]}{' and changes' if code.dirty else ''}"


def _evaluated_on(job: Job, kind: str) -> str:
    fold = job.spec["fold"]
    if not fold:
        return str(job.spec["split"])
    return f"{fold['k']} folds" if kind == "cv" else f"fold {fold['index'] + 1} of {fold['k']}"


def differences(results: Sequence[ComparedResult]) -> dict[str, list[Any]]:
    """Return the facts that differ, with the value of each result; None if it has none."""
    names = dict.fromkeys(name for each in results for name in each.facts)
    rows = {name: [each.facts.get(name) for each in results] for name in names}
    found = {name: row for name, row in rows.items() if any(v != row[0] for v in row[1:])}
    if "code" not in found:  # two commits with the same code
        found.pop("commit", None)
    return found


def compared_metrics(
    results: Sequence[ComparedResult], first: str | None = None
) -> dict[str, list[float | Statistics | None]]:
    """Return the metrics that any result has, with the value of each, in the order of METRICS.

    The metric `first` comes before them.
    """
    names = dict.fromkeys([*([first] if first else []), *METRICS])
    rows = {name: [each.metrics.get(name) for each in results] for name in names}
    return {name: row for name, row in rows.items() if any(v is not None for v in row)}


def metrics_json(
    compared: Mapping[str, Sequence[float | Statistics | None]],
) -> dict[str, list[Any]]:
    """Return compared metrics as `zoo compare --json` prints them."""
    return {
        name: [each.to_json() if isinstance(each, Statistics) else each for each in row]
        for name, row in compared.items()
    }


def refusals(results: Sequence[ComparedResult], letters: str, by: Objective) -> dict[str, str]:
    """Return why results cannot be compared with the first, by their letter; of those alone."""
    found = {
        letter: _why_not_comparable(results[0], each, by)
        for letter, each in zip(letters[1:], results[1:], strict=False)
    }
    beside = {letter: f"{letters[0]} and {letter}: " if len(found) > 1 else "" for letter in found}
    return {letter: f"{beside[letter]}{why}" for letter, why in found.items() if why}


def best_places(
    results: Sequence[ComparedResult],
    compared: Mapping[str, Sequence[float | Statistics | None]],
    by: Objective,
) -> dict[str, int | None]:
    """Return the place of the best value of each compared metric.

    None where no result is best: the values are equal, the metric has no direction, it is a cost
    (a time depends on the machine and its load, a size is a choice) or of the training rows (where
    overfitting wins), or the results cannot be compared.
    """
    if any(_why_not_comparable(results[0], each, by) for each in results[1:]):
        return dict.fromkeys(compared)
    return {name: _best_place(name, row, by) for name, row in compared.items()}


def _best_place(name: str, row: Sequence[float | Statistics | None], by: Objective) -> int | None:
    if name in metrics.COSTS or name.startswith("train_"):
        return None
    values = [each.mean if isinstance(each, Statistics) else each for each in row]
    known = [each for each in values if each is not None]
    higher = metrics.higher_is_better(name, {by.base: by.higher_is_better})
    if higher is None or len({*known}) < 2:
        return None
    return values.index(max(known) if higher else min(known))


def compare_pair(
    settings: Settings, a: ComparedResult, b: ComparedResult, by: Objective = ACCURACY
) -> PairComparison:
    """Test whether two results differ significantly, and find the images they disagree on.

    `by` is the metric that is tested.
    """
    refused = _why_not_comparable(a, b, by)
    if refused:
        return PairComparison(a.id, b.id, notes=[refused])
    pairs = _paired(a, b)
    notes = []
    found: Disagreement | None = None
    test: SignificanceTest | None = None
    # Folds see each image once, but every seed sees all images: only one seed is shown.
    shown = pairs[:1] if a.kind == "seeds" else pairs
    if len(shown) < len(pairs):
        seed, n = shown[0][0].spec["seed"], len(pairs)
        notes.append(f"The counts and images are those of seed {seed} alone, one of {n} seeds.")
    try:
        found = compare_predictions(settings, [x for x, _ in shown], [y for _, y in shown])
    except ArtifactError as error:
        notes.append(str(error))
    try:
        test = _test(settings, a.kind, pairs, found, by)
    except ZooError as error:
        notes.append(str(error))
    return PairComparison(a.id, b.id, test, found, notes)


def compare_predictions(settings: Settings, a: Sequence[Job], b: Sequence[Job]) -> Disagreement:
    """Compare the predictions of the jobs `a` and `b` in pairs, such as equal folds.

    Raises:
        ArtifactError: If predictions are missing, damaged, or not of the same images.
    """
    import numpy as np

    firsts = [load_predictions(settings, job) for job in a]
    seconds = [load_predictions(settings, job) for job in b]
    for first, second, job in zip(firsts, seconds, a, strict=True):
        same = np.array_equal(first.index, second.index)
        if not same or not np.array_equal(first.labels, second.labels):
            raise ArtifactError(
                f"The predictions of {job.id[:8]} are not about the same {job.unit}."
            )
    rows = np.concatenate([each.index for each in firsts])
    label = np.concatenate([each.labels for each in firsts])
    one = np.concatenate([each.predicted for each in firsts])
    two = np.concatenate([each.predicted for each in seconds])
    right = one == label, two == label
    different = np.flatnonzero(one != two)
    names = a[0].class_names
    shown = [
        DisputedImage(int(rows[i]), names[label[i]], (names[one[i]], names[two[i]]))
        for i in different[np.argsort(rows[different], kind="stable")][:FIRST_IMAGES]
    ]
    return Disagreement(
        len(label),
        int((right[0] & right[1]).sum()),
        int((right[0] & ~right[1]).sum()),
        int((~right[0] & right[1]).sum()),
        int((~right[0] & ~right[1]).sum()),
        len(different),
        shown,
        a[0].unit,
    )


def _test(
    settings: Settings,
    kind: str,
    pairs: Sequence[tuple[Job, Job]],
    found: Disagreement | None,
    by: Objective,
) -> SignificanceTest | None:
    if kind == "job":
        if found is None:
            return None
        if by.is_accuracy:
            counts = found.only_a, found.only_b, found.images
            return significance.mcnemar_test(*counts, found.unit)
        return _randomization_test(settings, *pairs[0], by)
    one, two = (
        [float(job.number(by.metric) or 0.0) for job in side] for side in zip(*pairs, strict=True)
    )
    test = significance.corrected_t_test if kind == "cv" else significance.paired_t_test
    return replace(test(one, two, pairs[0][0].unit), metric=by.metric)


def _randomization_test(settings: Settings, a: Job, b: Job, by: Objective) -> SignificanceTest:
    """Test two jobs by exchanging their predictions.

    Raises:
        ZooError: The metric is not one of predictions, or cannot be computed from those stored.
    """
    import numpy as np

    names, positive = a.class_names, a.spec.get("positive")
    place = names.index(positive) if positive in names else 1
    function = metric_function(by.metric, len(names), place)
    if function is None:
        raise ZooError(
            f"There is no paired test of {by.metric} for single jobs.",
            "Train both with --seeds or --cv.",
        )
    one, two = (load_predictions(settings, job) for job in (a, b))

    def difference(swapped: Array) -> float:
        found = []
        for mine, other in ((one, two), (two, one)):
            predicted = np.where(swapped, other.predicted, mine.predicted)
            probabilities = _exchanged(swapped, mine.probabilities, other.probabilities)
            found.append(function(mine.labels, predicted, probabilities))
        if found[0] is None or found[1] is None:
            raise ZooError(f"The metric {by.metric} is not defined for these predictions.")
        return found[0] - found[1]

    test = significance.randomization_test(difference, len(one.labels), a.unit)
    return replace(test, metric=by.metric)


def _exchanged(swapped: Array, mine: Array | None, other: Array | None) -> Array | None:
    """Return probabilities (n, n_classes) with those of another model where `swapped`."""
    import numpy as np

    if mine is None or other is None:
        return None
    found: Array = np.where(swapped[:, None], other, mine)
    return found


def _why_not_comparable(a: ComparedResult, b: ComparedResult, by: Objective) -> str:
    """Return why two results cannot be compared by pairs; empty if they can."""
    if a.kind != b.kind:
        kind, other = (KINDS.get(each.kind, each.kind) for each in (a, b))
        return (
            f"{kind[0].upper()}{kind[1:]} cannot be compared with {other}: their values are not of "
            "the same trainings."
        )
    for name in ("dataset", "data", "judged on"):
        one, two = a.facts.get(name), b.facts.get(name)
        if one != two:
            return (
                f"They were not evaluated on the same {a.jobs[0].unit} ({name}: {one} and {two})."
            )
    for each in (a, b):
        if each.kind != "job" and len({job.contents for job in each.jobs}) > 1:
            return f"The jobs of {each.id[:8]} were evaluated on different contents of the dataset."
    if a.id != b.id and a.jobs[0].contents is None:
        return "Neither records which images it was evaluated on."
    if not all(_is_measured(job) for each in (a, b) for job in each.jobs):
        return "One of them has no accuracy or no classes."
    if any(job.number(by.metric) is None for each in (a, b) for job in each.jobs):
        return f"One of them has no {by.metric}."
    if a.jobs[0].class_names != b.jobs[0].class_names:
        return "Their classes differ."
    if a.kind != "job" and len(_paired(a, b)) != max(len(a.jobs), len(b.jobs)):
        return "Their jobs have different seeds or folds."
    return ""


def _is_measured(job: Job) -> bool:
    """Whether the job has the metrics of `zoo.training.evaluation`; others may write fewer."""
    return job.accuracy is not None and 0 <= job.accuracy <= 1 and bool(job.class_names)


def _paired(a: ComparedResult, b: ComparedResult) -> list[tuple[Job, Job]]:
    """Pair the jobs with the same seed or fold; two single jobs are a pair."""
    if a.kind == "job":
        return [(a.jobs[0], b.jobs[0])]
    others = {_part(a.kind, job): job for job in b.jobs}
    return [(job, others[part]) for job in a.jobs if (part := _part(a.kind, job)) in others]


def _part(kind: str, job: Job) -> Any:
    spec: Mapping[str, Any] = job.spec
    return spec["fold"]["index"] if kind == "cv" else spec["seed"]
