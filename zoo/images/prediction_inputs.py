"""Inputs of a prediction: normalized pictures, and images of a dataset."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from zoo.data import datasets
from zoo.data.cache import Progress
from zoo.errors import PictureError, UsageError, reason, unknown
from zoo.images import normalize
from zoo.storage.output_file import write_output

if TYPE_CHECKING:
    from zoo.model import Array


@dataclass(frozen=True)
class Subject:
    """An input image of a prediction."""

    name: str
    """The file, `-`, or dataset, split and row."""
    image: Array
    """Normalized as in MNIST: uint8 (28, 28)."""
    before: Array | None = None
    """The original picture, small and grey: uint8 (28, 28)."""
    label: int | None = None
    """The dataset's, if it is an image of one."""
    class_names: tuple[str, ...] = ()
    """The dataset's."""


def of_picture(name: str, source: Path | bytes) -> Subject:
    """Read and normalize a picture; raises PictureError if it cannot be used."""
    picture = normalize.open(source)
    return Subject(name, normalize.prepare(picture), before=normalize.thumbnail(picture))


def of_dataset(
    dataset: str,
    split: str,
    places: Sequence[str],
    progress: Progress | None = None,
    *,
    contents: str | None = None,
) -> list[Subject]:
    """Return images of a dataset by their rows in a split, such as "17" or "10-19".

    `contents` as for `datasets.raw`. Raises UsageError for an unknown split or row, and what
    `datasets.raw` raises.
    """
    import numpy as np

    if split not in datasets.SPLITS:
        raise unknown("split", split, datasets.SPLITS)
    raw = datasets.raw(dataset, progress, contents=contents)
    images, labels = raw.splits[split]
    rows = [row for place in places for row in _rows(place, len(labels))]
    return [
        Subject(
            f"{raw.name} {split} {row}",
            np.asarray(images[row]),
            label=int(labels[row]),
            class_names=raw.class_names,
        )
        for row in rows
    ]


def save(subjects: Sequence[Subject], folder: Path) -> list[Path]:
    """Save inputs as PNG files; returns their paths. Raises PictureError if that fails."""
    from PIL import Image

    saved: list[Path] = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise PictureError(f"Nothing can be saved in {folder}: {reason(error)}.") from None
    for subject in subjects:
        file = io.BytesIO()
        Image.fromarray(subject.image).save(file, format="PNG")
        path = _free(folder, subject.name, saved)
        write_output(path, file.getvalue())
        saved.append(path)
    return saved


def _rows(place: str, known: int) -> range:
    first, _, last = place.partition("-")
    # Not int(): it takes other alphabets' digits, blanks and underscores.
    if not re.fullmatch(r"[0-9]{1,9}(-[0-9]{1,9})?", place) or int(first) > int(last or first):
        raise UsageError(f"'{place}' is not the index of an image.", "Give --index 17, or 10-19.")
    if int(last or first) >= known:
        raise UsageError(f"There is no image {last or first}: the last one is {known - 1}.")
    return range(int(first), int(last or first) + 1)


def _free(folder: Path, name: str, taken: Sequence[Path]) -> Path:
    """A file name for an image, unique within the command."""
    stem = re.sub(r"[^\w.-]+", "-", Path(name).stem if name != "-" else "stdin")
    paths = (folder / f"{stem}{more}.png" for more in ("", *(f"-{n}" for n in range(2, 10**6))))
    return next(path for path in paths if path not in taken)
