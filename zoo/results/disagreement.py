"""Where two models say something else about the same images, from the predictions they left."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from zoo.errors import ArtifactError, reason
from zoo.jobs import Job
from zoo.settings import Settings
from zoo.storage import artifacts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from zoo.model import Array

FILE = "predictions.npz"
FIRST = 10


class Predictions(NamedTuple):
    """What a model said about n images, int64 (n,) each."""

    rows: Array
    """Where the images stand in the split."""
    label: Array
    predicted: Array


class Image(NamedTuple):
    """An image about which two models say something else."""

    row: int
    """Where it stands in the split."""
    label: str
    predicted: tuple[str, str]


@dataclass(frozen=True)
class Disagreement:
    """How the predictions of two models, A and B, meet."""

    images: int
    both_right: int
    only_a: int
    """Images that A alone got right."""
    only_b: int
    both_wrong: int
    different: int
    """Images about which they say something else, right or wrong."""
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
    """Compare what the jobs `a` and `b` predicted, one of each together, such as equal folds.

    Raises ArtifactError if predictions are gone or damaged, or are not of the same images.
    """
    import numpy as np

    pairs = [(_read(settings, x), _read(settings, y)) for x, y in zip(a, b, strict=True)]
    for (first, second), job in zip(pairs, a, strict=True):
        if not all(np.array_equal(*each) for each in zip(first[:2], second[:2], strict=True)):
            raise ArtifactError(f"The predictions of {job.id[:8]} are not about the same images.")
    rows, label, one = (np.concatenate([p[0][i] for p in pairs]) for i in range(3))
    two = np.concatenate([p[1].predicted for p in pairs])
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


def _read(settings: Settings, job: Job) -> Predictions:
    import numpy as np

    where, sha256 = str(job.artifact), str(job.artifact_sha256)
    content = artifacts.read(settings.artifacts, where, sha256, FILE)
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            stored = (file[name] for name in ("index", "label", "predicted"))
            found = Predictions(*(each.astype("int64") for each in stored))
        known = len(job.class_names)
        if not all(each.shape == found.label.shape for each in found) or not all(
            each.size and 0 <= each.min() <= each.max() < known for each in found[1:]
        ):
            raise ValueError("they are not of the shape or the classes that were stored")
    # A damaged file raises almost anything: BadZipFile, EOFError, ValueError, MemoryError...
    except Exception as error:
        raise ArtifactError(
            f"The predictions of {job.id[:8]} cannot be read: {reason(error)}."
        ) from None
    return found
