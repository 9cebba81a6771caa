"""The contents of the report as records, read from database and artifacts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from zoo import jobs
from zoo.jobs import Database, Filter, Group, Job
from zoo.jobs.environments import Environment
from zoo.jobs.group_metrics import Statistics
from zoo.jobs.groups import value_of
from zoo.metrics import ACCURACY, Objective
from zoo.param_values import typed
from zoo.results.leaderboard import LeaderboardRow, leaderboard_rows
from zoo.settings import Settings
from zoo.sweeps.importance import param_importance
from zoo.sweeps.slice_plot import SlicePlot, slice_plot
from zoo.sweeps.trials import list_trials
from zoo.training.provenance import environment_of
from zoo_report import command_line, mistakes
from zoo_report.mistakes import ImageStore, Mistake

GALLERIES = 60
"""Maximum number of jobs whose mistakes are shown: the first ones."""
SHOWN = 12
"""Maximum number of mistakes shown for one job."""
LONGEST = 40
"""Characters of a param's value in tables and names; job details show all of it."""
MOST_MISSED = 24
"""Maximum number of images in the list of those that most jobs got wrong."""


@dataclass(frozen=True)
class Selection:
    """The jobs of the report."""

    jobs: list[Job]
    title: str
    omitted: int = 0
    """Number of selected jobs that are left out."""
    filter: Filter | None = None
    """The jobs of the leaderboard; by default all on the datasets of the selected jobs."""
    metric: str | None = None
    """The metric to rank by; by default the dataset's own, or accuracy."""


class Gallery(NamedTuple):
    """The mistakes of a job."""

    wrong: int
    """Number of all mistakes."""
    first: list[Mistake]
    """The most confident first."""
    note: str
    """Why mistakes or images are missing, as a sentence."""
    images: str
    """The name of the set of images, to which the row is added for the key of one."""


@dataclass(frozen=True)
class Entry:
    """A job as shown on the page."""

    job: Job
    name: str
    """Short label: model, changed params, fold or seed."""
    judged: str
    command: str
    steps: list[dict[str, Any]]
    environment: int | None
    """Index in `Contents.environments`."""
    gallery: Gallery

    @property
    def is_on_training_images(self) -> bool:
        """Whether it was evaluated on the images that it was trained on."""
        return self.judged == "train"


@dataclass(frozen=True)
class GroupEntry:
    """A group as shown on the page; its result includes jobs that are not shown."""

    group: Group
    name: str
    command: str
    value: Statistics | None
    """The accuracy of a cross-validation or of seeds; of a sweep its metric of the best trial."""
    best: Group | None
    """The jobs of the best trial of a sweep."""
    slices: SlicePlot | None = None
    """The metric of a sweep against each param."""


@dataclass(frozen=True)
class MissedImage:
    """An image that several jobs got wrong."""

    test_set: str
    """Dataset and split."""
    image: str
    label: str
    predicted: dict[str, int]
    """Number of jobs by wrongly predicted class, most first."""
    jobs: int
    """Number of jobs evaluated on it; a cross-validation counts once."""


@dataclass(frozen=True)
class Contents:
    """The contents of the whole page."""

    title: str
    made_at: float
    entries: list[Entry]
    omitted: int
    """Number of selected jobs that are left out."""
    compares: bool
    """Whether the leaderboard includes jobs that were not selected."""
    groups: list[GroupEntry] = field(default_factory=list)
    board: list[LeaderboardRow] = field(default_factory=list)
    """The rows of the leaderboard."""
    newest: dict[str, str | None] = field(default_factory=dict)
    """Fingerprint of the newest contents of each dataset."""
    environments: list[Environment] = field(default_factory=list)
    missed: list[MissedImage] = field(default_factory=list)
    images: dict[str, str] = field(default_factory=dict)
    """PNG data in base64, by the key of the image."""
    strokes: list[str] = field(default_factory=list)
    """Names of the sets of images that are dark strokes on white."""
    objectives: dict[str, Objective] = field(default_factory=dict)
    """The metric by which results are ranked, by dataset."""

    @property
    def columns(self) -> list[str]:
        """The metrics by which results are ranked that are no column of the jobs anyway."""
        names = {each.metric for each in self.objectives.values()}
        return sorted(names - {"accuracy", "loss"})


def gather(db: Database, settings: Settings, selection: Selection) -> Contents:
    """Read everything that the page shows; it also shows what could not be read."""
    environments: list[Environment] = []
    images = ImageStore()
    board = _leaderboard(db, selection)
    datasets = sorted({job.dataset for job in selection.jobs})
    objectives = {n: jobs.dataset_objective(db, n, selection.metric) for n in datasets}
    entries, all_wrong = [], []
    for number, job in enumerate(selection.jobs):
        environment = environment_of(db, job)
        wrong, note = mistakes.list_mistakes(settings, job)
        shown = wrong[:SHOWN] if number < GALLERIES else []
        data = environment.data if environment else None
        note = note or (images.add(job, [each.row for each in shown], data) if shown else "")
        entries.append(
            Entry(
                job,
                _name(job),
                _evaluated_on(job),
                command_line.job_command(job),
                jobs.steps(db, job.id),
                _environment_index(environments, environment),
                Gallery(len(wrong), shown, note, images.set_name(job, data)),
            )
        )
        all_wrong.append((job, wrong, note))
    return Contents(
        selection.title,
        jobs.clock(db),
        entries,
        selection.omitted,
        selection.filter is None,
        _groups(db, selection.jobs),
        board,
        jobs.newest_contents(db),
        environments,
        _most_missed(all_wrong, images),
        images.png,
        sorted(images.strokes),
        objectives,
    )


def _leaderboard(db: Database, selection: Selection) -> list[LeaderboardRow]:
    rows = leaderboard_rows(db, selection.filter, metric=selection.metric)
    if selection.filter is not None:
        return rows
    return [row for row in rows if row.dataset in {job.dataset for job in selection.jobs}]


def _environment_index(
    environments: list[Environment], environment: Environment | None
) -> int | None:
    """Return the index of an environment in the list, to which a new one is appended."""
    if environment is None:
        return None
    shown = replace(environment, fingerprint=None, others={})  # what jobs may have in common
    if shown not in environments:
        environments.append(shown)
    return environments.index(shown)


class _TestSet(NamedTuple):
    """Images and classes that jobs are evaluated on."""

    contents: str
    dataset: str
    split: str
    classes: tuple[str, ...]


def _most_missed(
    found: Sequence[tuple[Job, list[Mistake], str]], images: ImageStore
) -> list[MissedImage]:
    """Return the images that most jobs got wrong."""
    evaluated: dict[_TestSet, set[str]] = {}
    predicted: dict[tuple[_TestSet, int], Counter[str]] = {}
    first: dict[tuple[_TestSet, int], tuple[Job, str]] = {}
    for job, wrong, note in found:
        if note:
            continue
        classes = job.class_names
        contents = job.contents or job.id
        test_set = _TestSet(contents, job.dataset, mistakes.evaluated_split(job), tuple(classes))
        # The folds of a cross-validation see each image once.
        evaluated.setdefault(test_set, set()).add(str(job.group) if job.spec["fold"] else job.id)
        for each in wrong:
            predicted.setdefault((test_set, each.row), Counter())[classes[each.predicted]] += 1
            first.setdefault((test_set, each.row), (job, classes[each.label]))
    shown: list[MissedImage] = []
    left = dict.fromkeys(evaluated, MOST_MISSED)
    for test_set, row in sorted(predicted, key=lambda image: -predicted[image].total()):
        guesses, (job, label) = predicted[test_set, row], first[test_set, row]
        if guesses.total() > 1 and left[test_set] > 0 and not images.add(job, [row], job.contents):
            left[test_set] -= 1
            counts, name = dict(guesses.most_common()), images.set_name(job, job.contents)
            shown.append(
                MissedImage(name, f"{name} {row}", label, counts, len(evaluated[test_set]))
            )
    return shown


def _groups(db: Database, found: Sequence[Job]) -> list[GroupEntry]:
    ids = dict.fromkeys(job.group for job in found if job.group)
    return [_group(db, jobs.get_group(db, each)) for each in ids]


def _group(db: Database, group: Group) -> GroupEntry:
    first, best = group.jobs[0], group.best()
    return GroupEntry(
        group,
        f"{group.kind} of {len(group.jobs)} {first.model} on {first.dataset}",
        command_line.group_command(group),
        value_of(best) if best else group.metrics().get(ACCURACY.metric),
        best,
        _slices(db, group) if group.kind == "sweep" else None,
    )


def _slices(db: Database, group: Group) -> SlicePlot | None:
    rungs = jobs.list_rungs(db, group.id)
    return slice_plot(group, rungs, param_importance(group, list_trials(group), rungs))


def _name(job: Job) -> str:
    spec = job.spec
    parts = [
        job.model,
        *(f"{name}={cut(typed(value))}" for name, value in job.changed.items()),
    ]
    if job.kind == "evaluate":
        parts.append(f"evaluated on {spec['split']}")
    if spec["fold"]:
        parts.append(f"fold {spec['fold']['index'] + 1} of {spec['fold']['k']}")
    elif spec["seed"] != 42:
        parts.append(f"seed {spec['seed']}")
    if spec.get("preprocess", "none") != "none":
        parts.append(spec["preprocess"])
    if spec.get("validation"):
        parts.append(f"validation {spec['validation']:g}")
    if spec.get("class_weight"):
        parts.append(f"{spec['class_weight']} classes")
    return " ".join(parts)


def cut(text: str) -> str:
    """Shorten a long text; params may be long lists."""
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def _evaluated_on(job: Job) -> str:
    fold = job.spec["fold"]
    return f"fold {fold['index'] + 1} of {fold['k']}" if fold else str(job.spec["split"])
