"""The best result on each dataset, for the top of the page."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from zoo.jobs import Group, Job, members
from zoo.jobs.groups import rank, value_of
from zoo.metrics import Objective
from zoo.results.leaderboard import job_contents_note
from zoo_report.contents import Contents, Entry, GroupEntry

MOST = 4
"""Maximum number of tiles."""


class Tile(NamedTuple):
    """A result in large print at the top of the page."""

    dataset: str
    value: float
    """The metric by which results on the dataset are ranked."""
    name: str
    anchor: str
    """Its id on the page."""
    about: str
    result: Job | Group
    """The job or group with this value."""
    metric: str
    mark: str = ""
    """Set if the dataset has newer contents."""

    @property
    def job(self) -> Job:
        return members(self.result)[0]


def best_results(contents: Contents) -> list[Tile]:
    """Return the best result on each dataset's contents: of a test, or the mean of seeds.

    Without either, the best mean of a cross-validation. Older contents of a dataset come last.
    """
    several = [each for each in contents.groups if _has_mean(each)]
    counted = {each.group.id for each in several}
    single = [
        _single(entry, contents.objectives[entry.job.dataset])
        for entry in contents.entries
        if not (entry.is_on_training_images or entry.job.spec["fold"] or entry.job.group in counted)
    ]
    folds = [each for each in several if each.group.jobs[0].spec["fold"]]
    seeds = [each for each in several if each not in folds]
    by = contents.objectives
    best = _best([*single, *(_grouped(each, by) for each in seeds)], by)
    shown = (_best([_grouped(each, by) for each in folds], by) | best).values()
    marked = [tile._replace(mark=job_contents_note(tile.job, contents.newest)) for tile in shown]
    return sorted(marked, key=lambda tile: bool(tile.mark))[:MOST]


def _has_mean(each: GroupEntry) -> bool:
    """Return whether results are means of jobs: not in a sweep with one job per trial."""
    group = each.group
    return group.kind != "sweep" or any(len(trial.jobs) > 1 for trial in group.trials())


def _best(tiles: Iterable[Tile | None], by: Mapping[str, Objective]) -> dict[tuple[str, str], Tile]:
    """Return the best result for each contents of each dataset."""
    found: dict[tuple[str, str], Tile] = {}
    order = sorted((tile for tile in tiles if tile), key=lambda t: rank(t.result, by[t.dataset]))
    for tile in order:
        found.setdefault((tile.dataset, tile.job.contents or tile.job.id), tile)
    return found


def _single(entry: Entry, by: Objective) -> Tile | None:
    job, value = entry.job, value_of(entry.job, by)
    if value is None or job.accuracy is None:
        return None
    images = job.number("n_images")
    wrong = round(images * (1 - job.accuracy)) if images else 0
    about = f"{wrong:,} wrong of {images:,} {job.unit} ({entry.judged})" if images else entry.judged
    anchor = f"job-{job.id}"
    return Tile(job.dataset, value.mean, entry.name, anchor, about, job, by.metric)


def _grouped(each: GroupEntry, objectives: Mapping[str, Objective]) -> Tile | None:
    result = each.best or each.group
    dataset = result.jobs[0].dataset
    by = objectives[dataset]
    value = value_of(result, by)
    if value is None:
        return None
    std, n = value.std, len(value.values)
    spread = f"± {std:.4f} (n = {n})" if std is not None else "one job"
    anchor = f"group-{each.group.id}"
    return Tile(dataset, value.mean, each.name, anchor, spread, result, by.metric)
