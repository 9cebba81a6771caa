"""The best result on each dataset, to stand at the top of the page."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from zoo_report.contents import Contents, Entry, GroupEntry

MOST = 4
"""Datasets."""


class Tile(NamedTuple):
    """A result in large print."""

    dataset: str
    accuracy: float
    name: str
    anchor: str
    """Where on the page it stands."""
    about: str


def of(contents: Contents) -> list[Tile]:
    """The best on each dataset: on images that were not trained on, of seeds by their mean.

    Where nothing was judged on all such images, the best mean of a cross-validation.
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
    return list((_best(map(_grouped, folds)) | best).values())[:MOST]


def _best(tiles: Iterable[Tile | None]) -> dict[str, Tile]:
    """The best of each dataset."""
    ranked = sorted((tile for tile in tiles if tile), key=lambda tile: tile.accuracy)
    return {tile.dataset: tile for tile in ranked}


def _single(entry: Entry) -> Tile | None:
    job = entry.job
    if job.accuracy is None:
        return None
    images = job.metrics.get("n_images")
    wrong = round(images * (1 - job.accuracy)) if images else 0
    about = f"{wrong:,} wrong of {images:,} images ({entry.judged})" if images else entry.judged
    return Tile(job.dataset, job.accuracy, entry.name, f"job-{job.id}", about)


def _grouped(each: GroupEntry) -> Tile | None:
    if each.accuracy is None:
        return None
    spread = f"± {100 * each.accuracy['std']:.2f} over {len(each.accuracy['values'])} jobs"
    dataset, anchor = each.group.jobs[0].dataset, f"group-{each.group.id}"
    return Tile(dataset, each.accuracy["mean"], each.name, anchor, spread)
