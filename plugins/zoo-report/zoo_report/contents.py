"""What stands on the page: gathered from rows and artifacts, as plain records."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from zoo import jobs
from zoo.jobs import Database, Filter, Group, Job
from zoo.jobs.records import accuracy_of
from zoo.param_values import typed
from zoo.results.leaderboard import LeaderboardRow, leaderboard_rows
from zoo.settings import Settings
from zoo.training.provenance import environment_of
from zoo_report import command_line, mistakes
from zoo_report.mistakes import Images, Mistake

GALLERIES = 60
"""Jobs whose mistakes are shown, so that the page stays small; the first ones."""
SHOWN = 12
"""Mistakes of one job."""
LONGEST = 40
"""Characters of a param's value in a table or a name; the whole stands in the job's details."""
MOST_MISSED = 24
"""Images that most jobs got wrong."""


@dataclass(frozen=True)
class Meant:
    """Which jobs the page is about."""

    jobs: list[Job]
    title: str
    omitted: int = 0
    """Jobs that are meant and are too many to show."""
    wanted: Filter | None = None
    """What the leaderboard counts; without it, everything on the jobs' datasets."""


class Gallery(NamedTuple):
    """What a job got wrong."""

    wrong: int
    first: list[Mistake]
    """The most confident first."""
    note: str
    """Why there is nothing to see, a sentence."""


@dataclass(frozen=True)
class Entry:
    """A job as the page shows it."""

    job: Job
    name: str
    """Short, and told apart from the others: model, changed params, fold or seed."""
    judged: str
    command: str
    steps: list[dict[str, Any]]
    environment: int | None
    """Its place in `Contents.environments`."""
    gallery: Gallery

    @property
    def has_seen(self) -> bool:
        """Whether it was judged on images that it was trained on: nobody is proud of that."""
        return self.judged == "train"


@dataclass(frozen=True)
class GroupEntry:
    """A group as the page shows it: its result counts all its jobs, also those not shown."""

    group: Group
    name: str
    command: str
    accuracy: dict[str, Any] | None
    """Mean and std, of a cross-validation or of seeds; of a sweep those of its best trial."""
    best: Group | None
    """Of a sweep the jobs of its best trial."""


@dataclass(frozen=True)
class Missed:
    """An image that several jobs got wrong."""

    exam: str
    """The dataset and split that it is of."""
    image: str
    label: str
    said: dict[str, int]
    """How many jobs took it for which class, most first."""
    asked: int
    """How many jobs were judged on it; the folds of a cross-validation see it once."""


@dataclass(frozen=True)
class Contents:
    """The whole page."""

    title: str
    made_at: float
    entries: list[Entry]
    omitted: int
    """Jobs that were meant and are too many to show."""
    compares: bool
    """Whether the leaderboard counts jobs beside those that are meant."""
    groups: list[GroupEntry] = field(default_factory=list)
    board: list[LeaderboardRow] = field(default_factory=list)
    """The rows of the leaderboard."""
    newest: dict[str, str | None] = field(default_factory=dict)
    """The fingerprint of the newest contents of each dataset's name."""
    environments: list[dict[str, Any]] = field(default_factory=list)
    missed: list[Missed] = field(default_factory=list)
    images: dict[str, str] = field(default_factory=dict)
    """PNG data in base64, by the name of the image."""


def gather(db: Database, settings: Settings, meant: Meant) -> Contents:
    """Read all that the page shows of these jobs; what cannot be read is told on the page."""
    environments: list[dict[str, Any]] = []
    images = Images()
    entries, all_wrong = [], []
    for number, job in enumerate(meant.jobs):
        told = environment_of(db, job)
        wrong, note = mistakes.of(settings, job)
        shown = wrong[:SHOWN] if number < GALLERIES else []
        note = note or images.add(job, [each.row for each in shown], told.get("data"))
        entries.append(
            Entry(
                job,
                _name(job),
                _judged(job),
                command_line.line(job),
                jobs.steps(db, job.id),
                _place(environments, told),
                Gallery(len(wrong), shown, note),
            )
        )
        all_wrong.append((job, wrong, note))
    return Contents(
        meant.title,
        jobs.clock(db),
        entries,
        meant.omitted,
        meant.wanted is None,
        _groups(db, meant.jobs),
        _board(db, meant),
        jobs.newest_contents(db),
        environments,
        _most_missed(all_wrong, images),
        images.png,
    )


def _board(db: Database, meant: Meant) -> list[LeaderboardRow]:
    rows = leaderboard_rows(db, meant.wanted)
    if meant.wanted is not None:
        return rows
    return [row for row in rows if row.dataset in {job.dataset for job in meant.jobs}]


def _place(environments: list[dict[str, Any]], told: dict[str, Any]) -> int | None:
    """Where the environment stands among those seen; most jobs share theirs."""
    if not told:
        return None
    lasting = _shown(told)
    if lasting not in environments:
        environments.append(lasting)
    return environments.index(lasting)


def _shown(told: Mapping[str, Any]) -> dict[str, Any]:
    """What the page shows of an environment; parts of another shape than
    `zoo.training.provenance` gives them are left out."""
    parts = {
        name: {key: value for key, value in part.items() if isinstance(value, str | int | None)}
        for name in ("code", "machine", "versions")
        if isinstance(part := told.get(name), Mapping)
    }
    if not isinstance(parts.get("code", {}).get("sha256"), str):
        parts.pop("code", None)
    texts = {name: told[name] for name in ("plugin", "data") if isinstance(told.get(name), str)}
    return {**texts, **parts}


class _Exam(NamedTuple):
    """Images and classes that jobs are judged on."""

    contents: str
    dataset: str
    split: str
    classes: tuple[str, ...]


def _most_missed(found: Sequence[tuple[Job, list[Mistake], str]], images: Images) -> list[Missed]:
    """The images that most jobs got wrong, of all that were judged on them; most first."""
    sat: dict[_Exam, set[str]] = {}
    said: dict[tuple[_Exam, int], Counter[str]] = {}
    first: dict[tuple[_Exam, int], tuple[Job, str]] = {}
    for job, wrong, note in found:
        if note:
            continue
        classes = job.class_names
        contents = job.contents or job.id
        exam = _Exam(contents, job.dataset, mistakes.split_of(job), tuple(classes))
        # The folds of a cross-validation see each image once.
        sat.setdefault(exam, set()).add(str(job.group) if job.spec["fold"] else job.id)
        for each in wrong:
            said.setdefault((exam, each.row), Counter())[classes[each.predicted]] += 1
            first.setdefault((exam, each.row), (job, classes[each.label]))
    shown: list[Missed] = []
    left = dict.fromkeys(sat, MOST_MISSED)
    for exam, row in sorted(said, key=lambda image: -said[image].total()):
        guesses, (job, label) = said[exam, row], first[exam, row]
        if guesses.total() > 1 and left[exam] > 0 and not images.add(job, [row], job.contents):
            left[exam] -= 1
            told, name = dict(guesses.most_common()), f"{exam.dataset} {exam.split}"
            shown.append(Missed(name, mistakes.key(job, row), label, told, len(sat[exam])))
    return shown


def _groups(db: Database, found: Sequence[Job]) -> list[GroupEntry]:
    ids = dict.fromkeys(job.group for job in found if job.group)
    return [_group(jobs.get_group(db, each)) for each in ids]


def _group(group: Group) -> GroupEntry:
    first, best = group.jobs[0], group.best()
    return GroupEntry(
        group,
        f"{group.kind} of {len(group.jobs)} {first.model} on {first.dataset}",
        command_line.group_line(group),
        accuracy_of(best) if best else group.metrics().get("accuracy"),
        best,
    )


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
    return " ".join(parts)


def cut(text: str) -> str:
    """The beginning of a long text: lists of numbers can be params."""
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def _judged(job: Job) -> str:
    fold = job.spec["fold"]
    return f"fold {fold['index'] + 1} of {fold['k']}" if fold else str(job.spec["split"])
