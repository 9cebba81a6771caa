"""The best result on each dataset, to stand at the top of the page."""

from __future__ import annotations

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
    """The best on each dataset: on images that were not trained on, and never a lucky fold.

    Where no job was judged on all the test images, the best mean of a group.
    """
    single = [_single(e) for e in contents.entries if not (e.has_seen or e.job.spec["fold"])]
    grouped = [_grouped(each) for each in contents.groups]
    best: dict[str, Tile] = {}
    for tiles in (single, grouped):
        ranked = sorted((tile for tile in tiles if tile), key=lambda tile: -tile.accuracy)
        datasets = set(best)
        for tile in ranked:
            if tile.dataset not in datasets:
                best.setdefault(tile.dataset, tile)
    return list(best.values())[:MOST]


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
