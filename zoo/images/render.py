"""Draw images as characters in a terminal or into a PNG file, and count them per class."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from zoo.storage.output_file import write_output

if TYPE_CHECKING:
    from zoo.model import Array

FIRST = 10
"""Number of images that are drawn."""

WIDTH = 14
"""Columns of one image in a terminal: half of its pixels."""

GAP = 1
BLOCKS = " ▄▀█"
"""Characters by the halves that are ink: none, the lower, the upper, both."""

PNG_SCALE = 4
PNG_GAP = 8


def strip(images: Array, columns: int, color: bool, captions: Sequence[str] = ()) -> str:
    """Draw the first ten images side by side, as many in a row as `columns` hold.

    A character is two pixels, one above the other; each pixel is the mean of four of the image.
    Captions stand under the images, one each.
    """
    draw = _in_grey if color else _in_blocks
    drawn = [draw(_halve(image)) for image in images[:FIRST]]
    for lines, caption in zip(drawn, captions, strict=False):
        lines.append(caption[:WIDTH].center(WIDTH))
    per_row = max(1, (columns + GAP) // (WIDTH + GAP))
    rows = [drawn[start : start + per_row] for start in range(0, len(drawn), per_row)]
    return "\n".join((" " * GAP).join(line) for row in rows for line in zip(*row, strict=True))


def side_by_side(images: Array, color: bool, captions: Sequence[str]) -> str:
    """Draw a few images in full, a caption under each; a character is two pixels."""
    draw = _in_grey if color else _in_blocks
    width = images.shape[2]
    drawn = [[*draw(i), c[:width].center(width)] for i, c in zip(images, captions, strict=True)]
    return "\n".join((" " * GAP).join(line).rstrip(" ") for line in zip(*drawn, strict=True))


def bar(part: float, width: int) -> str:
    """Return a bar that fills `part` of `columns`, to an eighth of a column."""
    whole, eighths = divmod(round(part * width * 8), 8)
    return "█" * whole + " ▏▎▍▌▋▊▉"[eighths].strip()


def save_png(images: Array, path: Path) -> None:
    """Save the first ten images in one row, ink dark on white.

    `-` is stdout. Raises ZooError if the file cannot be written.
    """
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(_row(images[:FIRST])).save(file, format="PNG")
    write_output(path, file.getvalue())


def class_counts(labels: Array, n_classes: int) -> list[int]:
    """Count the images of each class."""
    import numpy as np

    return [int(count) for count in np.bincount(labels, minlength=n_classes)]


def _halve(image: Array) -> Array:
    height, width = image.shape
    blocks = image.reshape(height // 2, 2, width // 2, 2)
    halved: Array = blocks.mean(axis=(1, 3)).round().astype("uint8")
    return halved


def _in_grey(image: Array) -> list[str]:
    def cell(upper: int, lower: int) -> str:
        return f"\x1b[38;2;{upper};{upper};{upper};48;2;{lower};{lower};{lower}m▀"

    return [
        "".join(cell(upper, lower) for upper, lower in zip(*pair, strict=True)) + "\x1b[0m"
        for pair in zip(image[::2], image[1::2], strict=True)
    ]


def _in_blocks(image: Array) -> list[str]:
    ink = image > 255 * 0.4
    codes = 2 * ink[::2] + ink[1::2]
    return ["".join(BLOCKS[code] for code in line) for line in codes]


def _row(images: Array) -> Array:
    import numpy as np

    large = 255 - np.repeat(np.repeat(images, PNG_SCALE, axis=1), PNG_SCALE, axis=2)
    padding = ((0, 0), (PNG_GAP, PNG_GAP), (PNG_GAP // 2, PNG_GAP // 2))
    padded = np.pad(large, padding, constant_values=255)
    return np.ascontiguousarray(np.hstack(list(padded)))
