"""Results side by side: what differs, the metrics, a paired test, and where predictions differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from zoo.canonical_json import object_in
from zoo.errors import ArtifactError, UsageError, ZooError
from zoo.jobs import Database, Group, Job, members
from zoo.jobs.records import accuracy_text
from zoo.results import significance
from zoo.results.disagreement import Disagreement, between
from zoo.results.significance import SignificanceTest
from zoo.settings import Settings
from zoo.training.provenance import environment_of

METRICS = (
    *("accuracy", "loss", "train_accuracy", "train_loss", "fit_seconds"),
    *("predict_us_per_image", "parameters", "weights_bytes", "n_images"),
)
"""What is shown, in this order."""


@dataclass(frozen=True)
class Side:
    """One of the results that are compared."""

    id: str
    jobs: list[Job]
    facts: dict[str, Any]
    """Everything that may differ: {"model", "params.x", "numpy", "code", "data", ...}."""
    metrics: dict[str, Any]
    """A number, or for a group {"mean", "std", "values"}."""
    kind: str
    """`job`, or the group's."""
    note: str = ""
    """Set of a sweep: which of its trials stands for it."""


@dataclass(frozen=True)
class Meeting:
    """The first result against another one."""

    a: str
    b: str
    test: SignificanceTest | None = None
    disagreement: Disagreement | None = None
    notes: list[str] = field(default_factory=list)
    """Why something is missing, a sentence each."""

    def to_json(self) -> dict[str, Any]:
        return {
            "between": [self.a, self.b],
            "test": self.test.to_json() if self.test else None,
            "disagreement": self.disagreement.to_json() if self.disagreement else None,
            "notes": self.notes,
        }


def side(db: Database, found: Job | Group) -> Side:
    """Gather what is known of a job or group; the best trial of a sweep stands for it.

    Raises UsageError if it has no result yet, or none any more.
    """
    if isinstance(found, Group) and found.kind == "sweep" and found.jobs:
        return _side_of_sweep(db, found)
    jobs = members(found)
    if not jobs:
        raise UsageError(f"The group {found.id[:8]} has no jobs any more: nothing can be compared.")
    if odd := [job for job in jobs if job.status != "succeeded"]:
        raise UsageError(
            f"The job {odd[0].id[:8]} is {odd[0].status}: it has no result to compare.",
            "`zoo jobs --status succeeded` lists those that have.",
        )
    kind = found.kind if isinstance(found, Group) else "job"
    of_job = {name: jobs[0].number(name) for name in METRICS}
    measured = found.metrics() if isinstance(found, Group) else of_job
    return Side(found.id, jobs, _facts(db, jobs, kind), measured, kind)


def _side_of_sweep(db: Database, sweep: Group) -> Side:
    best = sweep.best()
    if best is None:
        raise UsageError(
            f"No trial of the sweep {sweep.id[:8]} has an accuracy: it has no result to compare."
        )
    note = f"{sweep.id[:8]} is a sweep; its best trial stands for it: {accuracy_text(sweep)}."
    return replace(side(db, best.jobs[0] if len(best.jobs) == 1 else best), note=note)


def _facts(db: Database, jobs: Sequence[Job], kind: str) -> dict[str, Any]:
    """What is known of the first job, as of all; but data is what each of them was judged on."""
    job = jobs[0]
    spec, environment = job.spec, environment_of(db, job)
    facts: dict[str, Any] = {
        "kind": job.kind if kind == "job" else f"{kind} of {len(jobs)}",
        "model": job.model,
        "dataset": job.dataset,
        "preprocess": spec.get("preprocess", "none"),
        "judged on": _judged(job, kind),
        "seed": ", ".join(str(each) for each in sorted({j.spec["seed"] for j in jobs})),
    }
    facts |= {f"params.{name}": value for name, value in spec["params"].items()}
    facts["plugin"] = environment.get("plugin") or spec["plugin"]
    if environment:
        code, versions, machine = (
            object_in(environment, name) for name in ("code", "versions", "machine")
        )
        facts |= {"code": str(code.get("sha256"))[:12], "commit": _commit(code)}
        facts |= versions | machine
    contents = dict.fromkeys(job.contents[:12] if job.contents else "unknown" for job in jobs)
    return facts | {"data": ", ".join(contents)}


def _commit(code: Mapping[str, Any]) -> str | None:
    if not code.get("commit"):
        return None
    return f"{str(code['commit'])[:12]}{' and changes' if code.get('dirty') else ''}"


def _judged(job: Job, kind: str) -> str:
    fold = job.spec["fold"]
    if not fold:
        return str(job.spec["split"])
    return f"{fold['k']} folds" if kind == "cv" else f"fold {fold['index'] + 1} of {fold['k']}"


def differing(sides: Sequence[Side]) -> dict[str, list[Any]]:
    """The facts that are not the same on all sides; None where a side has no such fact."""
    names = dict.fromkeys(name for each in sides for name in each.facts)
    rows = {name: [each.facts.get(name) for each in sides] for name in names}
    found = {name: row for name, row in rows.items() if any(v != row[0] for v in row[1:])}
    if "code" not in found:  # two commits that both have this code
        found.pop("commit", None)
    return found


def metrics(sides: Sequence[Side]) -> dict[str, list[Any]]:
    """The metrics that a side has, in the order of `METRICS`."""
    rows = {name: [each.metrics.get(name) for each in sides] for name in METRICS}
    return {name: row for name, row in rows.items() if any(v is not None for v in row)}


def meet(settings: Settings, a: Side, b: Side) -> Meeting:
    """Test whether two results differ by more than chance, and find where they disagree."""
    refused = _refused(a, b)
    if refused:
        return Meeting(a.id, b.id, notes=[refused])
    pairs = _paired(a, b)
    notes = []
    found: Disagreement | None = None
    test: SignificanceTest | None = None
    # One image is judged once in each fold, but once for each seed: there one seed is shown.
    shown = pairs[:1] if a.kind == "seeds" else pairs
    if len(shown) < len(pairs):
        seed, n = shown[0][0].spec["seed"], len(pairs)
        notes.append(f"The counts and images are those of seed {seed} alone, one of {n} seeds.")
    try:
        found = between(settings, [x for x, _ in shown], [y for _, y in shown])
    except ArtifactError as error:
        notes.append(str(error))
    try:
        test = _test(a.kind, pairs, found)
    except ZooError as error:
        notes.append(str(error))
    return Meeting(a.id, b.id, test, found, notes)


def _test(
    kind: str, pairs: Sequence[tuple[Job, Job]], found: Disagreement | None
) -> SignificanceTest | None:
    if kind == "job":
        counts = (found.only_a, found.only_b, found.images) if found else None
        return significance.mcnemar_test(*counts) if counts else None
    one, two = ([float(job.accuracy or 0.0) for job in side] for side in zip(*pairs, strict=True))
    return (significance.corrected_t_test if kind == "cv" else significance.paired_t_test)(one, two)


def _refused(a: Side, b: Side) -> str:
    """Why two results cannot be compared by pairs; nothing if they can."""
    if a.kind != b.kind:
        return f"One is a {a.kind}, the other a {b.kind}: their numbers are not of the same kind."
    for name in ("dataset", "data", "judged on"):
        one, two = a.facts.get(name), b.facts.get(name)
        if one != two:
            return f"They are not judged on the same images ({name}: {one} and {two})."
    for each in (a, b):
        if each.kind != "job" and len({job.contents for job in each.jobs}) > 1:
            return f"The jobs of {each.id[:8]} were judged on different contents of the dataset."
    if a.id != b.id and a.jobs[0].contents is None:
        return "It is not known whether they were judged on the same images: neither says on which."
    if not all(_is_judged(job) for each in (a, b) for job in each.jobs):
        return "One of them does not say its accuracy or classes."
    if a.jobs[0].class_names != b.jobs[0].class_names:
        return "They answer different questions: their classes are not the same."
    if a.kind != "job" and len(_paired(a, b)) != max(len(a.jobs), len(b.jobs)):
        return "Their jobs are no pairs: they differ in seeds or folds."
    return ""


def _is_judged(job: Job) -> bool:
    """Whether its metrics are those of `zoo.training.evaluation`; others may write less."""
    return job.accuracy is not None and 0 <= job.accuracy <= 1 and bool(job.class_names)


def _paired(a: Side, b: Side) -> list[tuple[Job, Job]]:
    """The jobs of both that have the same seed or fold; two single jobs are a pair."""
    if a.kind == "job":
        return [(a.jobs[0], b.jobs[0])]
    others = {_part(a.kind, job): job for job in b.jobs}
    return [(job, others[part]) for job in a.jobs if (part := _part(a.kind, job)) in others]


def _part(kind: str, job: Job) -> Any:
    spec: Mapping[str, Any] = job.spec
    return spec["fold"]["index"] if kind == "cv" else spec["seed"]
