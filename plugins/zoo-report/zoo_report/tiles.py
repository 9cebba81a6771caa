"""The best result on each dataset's contents, to stand at the top of the page."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from zoo.jobs import Job
from zoo.leaderboard import mark_job
from zoo_report.contents import Contents, Entry, GroupEntry

MOST = 4
"""Contents of datasets."""


class Tile(NamedTuple):
    """A result in large print."""

    dataset: str
    accuracy: float
    name: str
    anchor: str
    """Where on the page it stands."""
    about: str
    job: Job
    """The job that it is of, or the first of its group's."""
    mark: str = ""
    """Set if the contents that it was judged on are not the newest of the dataset's name."""


def of(contents: Contents) -> list[Tile]:
    """The best on each contents: on images that were not trained on, of seeds by their mean.

    Where nothing was judged on all such images, the best mean of a cross-validation. Older contents
    of a dataset's name come last.
    """
    seeds = [each for each in contents.groups if each.group.kind == "seeds"]
    folds = [each for each in contents.groups if each.group.kind == "cv"]
    counted = {each.group.id for each in seeds}
    single = [
        _single(entry)
        for entry in contents.entries
        if not (entry.has_seen or entry.job.spec["fold"] or entry.job.group in counted)
    ]
    best = _best([*single, *map(_grouped, seeds)])
    shown = (_best(map(_grouped, folds)) | best).values()
    marked = [tile._replace(mark=mark_job(tile.job, contents.newest)) for tile in shown]
    return sorted(marked, key=lambda tile: bool(tile.mark))[:MOST]


def _best(tiles: Iterable[Tile | None]) -> dict[tuple[str, str], Tile]:
    """The best of each contents of each dataset."""
    ranked = sorted((tile for tile in tiles if tile), key=lambda tile: tile.accuracy)
    return {(tile.dataset, tile.job.contents or tile.job.id): tile for tile in ranked}


def _single(entry: Entry) -> Tile | None:
    job = entry.job
    if job.accuracy is None:
        return None
    images = job.number("n_images")
    wrong = round(images * (1 - job.accuracy)) if images else 0
    about = f"{wrong:,} wrong of {images:,} images ({entry.judged})" if images else entry.judged
    return Tile(job.dataset, job.accuracy, entry.name, f"job-{job.id}", about, job)


def _grouped(each: GroupEntry) -> Tile | None:
    if each.accuracy is None:
        return None
    std, n, first = each.accuracy["std"], len(each.accuracy["values"]), each.group.jobs[0]
    spread = "one job" if std is None else f"± {100 * std:.2f} over {n} jobs"
    mean, anchor = each.accuracy["mean"], f"group-{each.group.id}"
    return Tile(first.dataset, mean, each.name, anchor, spread, first)
