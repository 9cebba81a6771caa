"""Find the images for which two models predict different classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from zoo.errors import ArtifactError
from zoo.jobs import Job
from zoo.results.predictions import load_predictions
from zoo.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Sequence

FIRST = 10


class Image(NamedTuple):
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
    first: list[Image]
    """The first ten of those."""

    def to_json(self) -> dict[str, Any]:
        return vars(self) | {
            "first": [
                {"index": each.row, "label": each.label, "predicted": list(each.predicted)}
                for each in self.first
            ]
        }


def between(settings: Settings, a: Sequence[Job], b: Sequence[Job]) -> Disagreement:
    """Compare the predictions of the jobs `a` and `b` in pairs, such as equal folds.

    Raises ArtifactError if predictions are gone or damaged, or are not of the same images.
    """
    import numpy as np

    firsts = [load_predictions(settings, job) for job in a]
    seconds = [load_predictions(settings, job) for job in b]
    for first, second, job in zip(firsts, seconds, a, strict=True):
        same = np.array_equal(first.index, second.index)
        if not same or not np.array_equal(first.labels, second.labels):
            raise ArtifactError(f"The predictions of {job.id[:8]} are not about the same images.")
    rows = np.concatenate([each.index for each in firsts])
    label = np.concatenate([each.labels for each in firsts])
    one = np.concatenate([each.predicted for each in firsts])
    two = np.concatenate([each.predicted for each in seconds])
    right = one == label, two == label
    apart = np.flatnonzero(one != two)
    names = a[0].class_names
    shown = [
        Image(int(rows[i]), names[label[i]], (names[one[i]], names[two[i]]))
        for i in apart[np.argsort(rows[apart], kind="stable")][:FIRST]
    ]
    return Disagreement(
        len(label),
        int((right[0] & right[1]).sum()),
        int((right[0] & ~right[1]).sum()),
        int((~right[0] & right[1]).sum()),
        int((~right[0] & ~right[1]).sum()),
        len(apart),
        shown,
    )
