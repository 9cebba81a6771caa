"""Inputs of a prediction: pictures, prepared for a model, and images or rows of a dataset."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo.data import columns, datasets
from zoo.data.readers import pictures
from zoo.errors import PictureError, UsageError, reason, unknown
from zoo.images import arrays, normalize, render
from zoo.storage.output_file import write_output

if TYPE_CHECKING:
    from PIL.Image import Image

    from zoo.data.contents import Inputs, Raw
    from zoo.model import Array

STROKES = ("mnist", "digits")
"""Datasets of pen strokes, whose pictures are prepared as MNIST's were."""
SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".gif", ".webp", ".avif", ".bmp", ".dib", ".tif"),
    *(".tiff", ".jp2", ".ppm", ".pgm", ".pbm", ".pnm", ".tga", ".pcx", ".qoi", ".sgi"),
)
"""Ends of the names of pictures in a folder."""
PROPORTIONS = 1.05
"""From this ratio of two proportions on, a picture looks stretched after resizing."""


@dataclass(frozen=True)
class Subject:
    """An input of a prediction."""

    name: str
    """The file, `-`, or dataset, split and row."""
    raw: Array
    """As the dataset of the training has it: an image, or the values of a row."""
    before: Array | None = None
    """The original picture, small and grey, if it was prepared as pen strokes: uint8 (28, 28)."""
    is_stretched: bool = False
    """Whether a picture had other proportions."""
    label: int | None = None
    """The dataset's, if it is an input of one."""
    class_names: tuple[str, ...] = ()
    """The dataset's."""
    values: dict[str, Any] | None = None
    """The values of a row of a table by column."""

    @property
    def image(self) -> Array:
        """The image as bytes, (height, width) or (height, width, 3)."""
        if self.raw.dtype != "uint8" and self.raw.max() > 1:
            # Those of a dataset of bytes that were floats.
            return self.raw.round().astype("uint8")
        return render.to_bytes(self.raw)


def can_be_strokes(inputs: Inputs) -> bool:
    """Return whether images are of the size that pen strokes are prepared to."""
    return inputs.kind == "image" and inputs.shape == (normalize.SIDE, normalize.SIDE)


def are_strokes(inputs: Inputs, dataset: str, fingerprint: str) -> bool:
    """Return whether a training dataset is one of pen strokes, by its name or its contents."""
    if not can_be_strokes(inputs):
        return False
    return dataset in STROKES or fingerprint in map(datasets.fingerprint, STROKES)


def find_pictures(paths: Sequence[str]) -> list[str]:
    """Replace folders by the pictures in them and in their folders, sorted.

    Raises UsageError for a folder without pictures.
    """
    found = []
    for path in paths:
        if not os.path.isdir(path):  # noqa: PTH112 (Path("") would be this folder)
            found.append(path)
            continue
        inside = sorted(_pictures_in(path))
        if not inside:
            raise UsageError(
                f"The folder {path} has no pictures.",
                f"Names of pictures end in {', '.join(SUFFIXES[:3])} and so on.",
            )
        found += inside
    return found


def _pictures_in(folder: str) -> Iterator[str]:
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            # Files such as `._1.png` are not pictures but notes of another system.
            if name.lower().endswith(SUFFIXES) and not name.startswith("."):
                yield os.path.join(parent, name)  # noqa: PTH118 (thousands of files)


def of_picture(
    name: str, source: Path | bytes, inputs: Inputs | None = None, *, strokes: bool = True
) -> Subject:
    """Read a picture and prepare it for a model.

    Args:
        name: The name of the input.
        source: A file, or its content.
        inputs: What the model was trained on; None for images as MNIST's.
        strokes: Whether to prepare it as MNIST's pictures were. Otherwise it is resized to the
            model's height and width, in grey or colour, and nothing else.

    Raises:
        PictureError: The picture cannot be used.
    """
    if strokes:
        picture = normalize.open(source)
        raw = normalize.prepare(picture)
        before = normalize.thumbnail(picture)
        return Subject(name, raw if inputs is None else _as_raw(raw, inputs), before)
    assert inputs is not None
    shape = inputs.shape

    def finish(picture: Image) -> tuple[Array, bool]:
        height, width = pictures.size_of(picture)
        ratio = (height / width) / (shape[0] / shape[1])
        is_stretched = max(ratio, 1 / ratio) > PROPORTIONS
        return pictures.to_pixels(picture, shape), is_stretched

    with pictures.quiet():
        pixels, is_stretched = pictures.decoded(source, finish, draft=pictures.draft_of(shape))
    return Subject(name, _as_raw(pixels, inputs), is_stretched=is_stretched)


def _as_raw(pixels: Array, inputs: Inputs) -> Array:
    raw: Array = arrays.raw_images(pixels[None], inputs)[0]
    return raw


def of_dataset(raw: Raw, split: str, places: Sequence[str], inputs: Inputs) -> list[Subject]:
    """Return inputs of a dataset for a model, by their rows in a split, such as "17" or "10-19".

    Args:
        raw: The dataset.
        split: Name of the split.
        places: The rows.
        inputs: What the model was trained on.

    Raises:
        UsageError: Unknown split or row, or the inputs do not fit the model.
    """
    if split not in raw.splits:
        raise unknown("split", split, raw.meta.splits)
    columns.check_same(inputs, raw.meta)
    given, labels = raw.splits[split]
    unit = raw.meta.unit[:-1]
    rows = [row for place in places for row in _rows(place, len(labels), unit)]
    chosen = given[rows]
    prepared = raw_inputs(chosen, raw.meta, inputs)
    return [
        Subject(
            f"{raw.name} {split} {row}",
            prepared[number],
            label=int(labels[row]),
            class_names=raw.class_names,
            values=_values(raw, chosen[number]),
        )
        for number, row in enumerate(rows)
    ]


def raw_inputs(given: Array, own: Inputs, trained: Inputs) -> Array:
    """Return inputs of a dataset as that of a training had them; raises UsageError."""
    if own.kind == "table":
        return columns.recode(given, own.columns, trained.columns)[0]
    return arrays.raw_images(given, trained)


def _values(raw: Raw, row: Array) -> dict[str, Any] | None:
    if raw.meta.kind != "table":
        return None
    return {
        column.name: columns.plain_value(value, column)
        for column, value in zip(raw.meta.columns, row.tolist(), strict=True)
    }


def save(subjects: Sequence[Subject], folder: Path) -> list[Path]:
    """Save images as PNG files; returns their paths. Raises PictureError if that fails."""
    from PIL import Image

    saved: dict[Path, None] = {}
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise PictureError(f"Nothing can be saved in {folder}: {reason(error)}.") from None
    for subject in subjects:
        file = io.BytesIO()
        Image.fromarray(subject.image).save(file, format="PNG")
        path = _free(folder, subject.name, saved)
        write_output(path, file.getvalue())
        saved[path] = None
    return list(saved)


def _rows(place: str, known: int, unit: str) -> range:
    first, _, last = place.partition("-")
    # Not int(): it takes other alphabets' digits, blanks and underscores.
    if not re.fullmatch(r"[0-9]{1,9}(-[0-9]{1,9})?", place) or int(first) > int(last or first):
        article = "an" if unit == "image" else "a"
        raise UsageError(
            f"'{place}' is not the index of {article} {unit}.", "Give --index 17, or 10-19."
        )
    if int(last or first) >= known:
        raise UsageError(f"There is no {unit} {last or first}: the last one is {known - 1}.")
    return range(int(first), int(last or first) + 1)


def _free(folder: Path, name: str, taken: dict[Path, None]) -> Path:
    """A file name for an image, unique within the command."""
    stem = re.sub(r"[^\w.-]+", "-", Path(name).stem if name != "-" else "stdin")
    paths = (folder / f"{stem}{more}.png" for more in ("", *(f"-{n}" for n in range(2, 10**6))))
    return next(path for path in paths if path not in taken)
