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
"""Columns of one image of a strip in a terminal."""
FULL_WIDTH = 28
"""Columns of one image that is drawn by itself."""

GAP = 1
BLOCKS = " ▄▀█"
"""Characters by the halves that are ink: none, the lower, the upper, both."""

PNG_SIDE = 112
"""Pixels of the longer side of a small image in a PNG file, about."""
PNG_GAP = 8
DARK = 64
"""Grey images with a lower mean are ink on a dark ground, shown dark on white in PNG files."""


def strip(images: Array, columns: int, color: bool, captions: Sequence[str] = ()) -> str:
    """Draw the first ten images side by side, as many in a row as `columns` hold.

    A character is two pixels, one above the other; each pixel is the mean of a square of the
    image, 2 x 2 for 28 x 28. Captions stand under the images, one each.

    Args:
        images: uint8, or floats from 0 to 1, (n, height, width) or (n, height, width, 3).
        columns: Width of the terminal.
        color: Whether it shows colours; else bright pixels are drawn as blocks.
        captions: A text for each image.
    """
    drawn = [_draw(image, WIDTH, color) for image in to_bytes(images[:FIRST])]
    width = max((width for _, width in drawn), default=WIDTH)
    for (lines, _), caption in zip(drawn, captions, strict=False):
        lines.append(caption[:width].center(width))
    per_row = max(1, (columns + GAP) // (width + GAP))
    rows = [drawn[start : start + per_row] for start in range(0, len(drawn), per_row)]
    return "\n".join(
        (" " * GAP).join(line) for row in rows for line in zip(*(r[0] for r in row), strict=True)
    )


def side_by_side(images: Sequence[Array], color: bool, captions: Sequence[str]) -> str:
    """Draw a few images in full, a caption under each.

    A character is two pixels; images of more than 28 columns are made smaller.
    """
    found = [_draw(to_bytes(image[None])[0], FULL_WIDTH, color) for image in images]
    height = max(len(lines) for lines, _ in found)
    drawn = []
    for (lines, width), caption in zip(found, captions, strict=True):
        # A small image is as wide as a short caption.
        more = " " * max(0, WIDTH - width)
        blank = [" " * width] * (height - len(lines))
        text = caption[: width + len(more)].center(width + len(more))
        drawn.append([*(line + more for line in [*lines, *blank]), text])
    return "\n".join((" " * GAP).join(line).rstrip(" ") for line in zip(*drawn, strict=True))


def bar(part: float, width: int) -> str:
    """Return a bar that fills `part` of `columns`, to an eighth of a column."""
    whole, eighths = divmod(round(part * width * 8), 8)
    return "█" * whole + " ▏▎▍▌▋▊▉"[eighths].strip()


def save_png(images: Array, path: Path) -> None:
    """Save the first ten images in one row: colour as it is, ink dark on white.

    `-` is stdout. Raises ZooError if the file cannot be written.
    """
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(_row(to_bytes(images[:FIRST]))).save(file, format="PNG")
    write_output(path, file.getvalue())


def to_bytes(images: Array) -> Array:
    """Return images as uint8; floats are from 0 to 1."""
    if images.dtype == "uint8":
        return images
    whole: Array = (images * 255).round().clip(0, 255).astype("uint8")
    return whole


def is_ink(images: Array) -> bool:
    """Return whether grey images, uint8, are bright strokes on a dark ground."""
    return images.ndim == 3 and images.size > 0 and float(images.mean()) < DARK


def class_counts(labels: Array, n_classes: int) -> list[int]:
    """Count the images of each class."""
    import numpy as np

    return [int(count) for count in np.bincount(labels, minlength=n_classes)]


def _draw(image: Array, columns: int, color: bool) -> tuple[list[str], int]:
    """The lines of an image, uint8, in at most `columns` columns, and the number of columns."""
    small = _shrink(image, -(-image.shape[1] // columns))
    return (_in_color if color else _in_blocks)(small), small.shape[1]


def _shrink(image: Array, factor: int) -> Array:
    """The means of squares of pixels; an even number of lines, for which the last is repeated."""
    import numpy as np

    height, width = image.shape[:2]
    more = (-height % (2 * factor), -width % factor)
    padding = [(0, more[0]), (0, more[1]), *[(0, 0)] * (image.ndim - 2)]
    full = np.pad(image, padding, mode="edge")
    blocks = full.reshape(
        full.shape[0] // factor, factor, full.shape[1] // factor, factor, *full.shape[2:]
    )
    means: Array = blocks.mean(axis=(1, 3)).round().astype("uint8")
    return means


def _in_color(image: Array) -> list[str]:
    import numpy as np

    colors = image if image.ndim == 3 else np.repeat(image[..., None], 3, axis=2)

    def cell(upper: Array, lower: Array) -> str:
        above, below = (";".join(map(str, each)) for each in (upper, lower))
        return f"\x1b[38;2;{above};48;2;{below}m▀"

    return [
        "".join(cell(*pair) for pair in zip(upper.tolist(), lower.tolist(), strict=True))
        + "\x1b[0m"
        for upper, lower in zip(colors[::2], colors[1::2], strict=True)
    ]


def _in_blocks(image: Array) -> list[str]:
    ink = (image if image.ndim == 2 else image.mean(axis=2)) > 255 * 0.4
    codes = 2 * ink[::2] + ink[1::2]
    return ["".join(BLOCKS[code] for code in line) for line in codes]


def _row(images: Array) -> Array:
    import numpy as np

    scale = max(1, PNG_SIDE // max(images.shape[1:3]))
    shown = 255 - images if is_ink(images) else images
    large = np.repeat(np.repeat(shown, scale, axis=1), scale, axis=2)
    padding = [(0, 0), (PNG_GAP, PNG_GAP), (PNG_GAP // 2, PNG_GAP // 2)]
    padded = np.pad(large, [*padding, *[(0, 0)] * (large.ndim - 3)], constant_values=255)
    return np.ascontiguousarray(np.hstack(list(padded)))
