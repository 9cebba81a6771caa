"""Normalize a drawn or photographed picture in the way the images of MNIST were made."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from zoo.data.readers import pictures
from zoo.images import segmentation

if TYPE_CHECKING:
    from PIL.Image import Image

    from zoo.model import Array

SIDE, INK_SIDE = 28, 20
"""Pixels of an image, and of the longest side of its ink."""

LEAST_LINE = 2.0
"""Minimum width of a line in pixels; nine in ten digits of MNIST have wider lines."""
WORK_SIDE = 384
"""Longest side in pixels on which ink is searched: small pictures are sufficient and fast."""
ROWS = 256
"""Rows of a picture of wide numbers that are converted at a time."""


def open(source: Path | bytes) -> Image:
    """Read a picture, rotated by its EXIF orientation and scaled down to the size for `prepare`.

    Of several frames or pages the first is read. Raises PictureError if it is not a picture of a
    format in `pictures.FORMATS`, is damaged, or has more than 24 million pixels (a JPEG: 50
    million).
    """
    with pictures.quiet():
        return pictures.decoded(source, _upright, draft=(2 * WORK_SIDE, 2 * WORK_SIDE))


def prepare(picture: Image) -> Array:
    """Normalize a picture as MNIST: uint8 (28, 28), bright ink on 0.

    The ink's longest side becomes 20 pixels, smoothed, and its centre of mass comes to the centre
    of the 28 x 28 (LeCun, Cortes & Burges, The MNIST database of handwritten digits,
    http://yann.lecun.com/exdb/mnist). Ink is found by the distance of a pixel from the
    background, a smooth surface that is fitted starting at the border: it may be dark on light or
    light on dark, coloured, or unevenly lit. A line that would be thinner than 2 pixels, as of a
    pen in a large picture, is thickened. Raises PictureError if there is no ink.
    """
    return _centred(
        _sized(segmentation.at_least(segmentation.find(_pixels(picture)), LEAST_LINE / INK_SIDE))
    )


def thumbnail(picture: Image) -> Array:
    """Return the whole picture in grey for display, uint8 (28, 28)."""
    import numpy as np
    from PIL import Image, ImageOps

    grey = Image.fromarray(_pixels(picture).mean(axis=2).round().astype("uint8"))
    return np.asarray(ImageOps.pad(grey, (SIDE, SIDE), Image.Resampling.BOX))


def _upright(picture: Image) -> Image:
    """The picture scaled down and then rotated, which needs no second large picture."""
    from PIL import ImageOps
    from PIL.ExifTags import Base

    small = _small(picture)
    small.getexif()[Base.Orientation] = picture.getexif().get(Base.Orientation, 1)
    return ImageOps.exif_transpose(small)


def _small(picture: Image) -> Image:
    """The picture as RGB, RGBA, grey, or grey float, at most WORK_SIDE on a side."""
    from PIL import Image

    if picture.mode.startswith(("I", "F")):
        plain = Image.fromarray(_stretched(picture))
    elif picture.mode == "LAB":
        plain = picture.getchannel(0)
    else:
        mode = "RGBA" if picture.has_transparency_data else "RGB"
        plain = picture if picture.mode == mode else picture.convert(mode)
    ratio = WORK_SIDE / max(plain.size)
    if ratio >= 1:
        return plain
    width, height = (max(1, round(side * ratio)) for side in plain.size)
    return plain.resize((width, height), Image.Resampling.BOX)


def _pixels(picture: Image) -> Array:
    """The picture as float (height, width, channels), 0 to 255, at most WORK_SIDE on a side."""
    import numpy as np

    plain = _small(picture)
    pixels: Array = np.atleast_3d(np.asarray(plain, dtype="float64"))
    return _on_paper(pixels) if plain.mode == "RGBA" else pixels


def _stretched(picture: Image) -> Array:
    """Scale values of any range, as of 16 bits, to 0 to 255; float32."""
    import numpy as np

    values = np.asarray(picture)
    stretched = np.empty(values.shape, dtype="float32")
    parts = [slice(first, first + ROWS) for first in range(0, len(values), ROWS)]
    finite = (_finite(values[part]) for part in parts)
    low, high = np.array([(each.min(), each.max()) for each in finite]).T
    scale = 255 / max(high.max() - low.min(), 1e-9)
    for part in parts:
        stretched[part] = (_finite(values[part]) - low.min()) * scale
    return stretched


def _finite(values: Array) -> Array:
    import numpy as np

    finite: Array = np.nan_to_num(values.astype("float64"), posinf=0.0, neginf=0.0)
    return finite


def _on_paper(pixels: Array) -> Array:
    """Put a background behind a transparent picture.

    A mostly transparent picture is ink: on white, or on black if it is light. Otherwise the
    transparent part, such as round corners, gets the most frequent colour of the rest.
    """
    import numpy as np

    colour, alpha = pixels[..., :3], pixels[..., 3:] / 255
    if alpha.mean() > 0.5:
        paper = np.median(colour[alpha[..., 0] > 0.5], axis=0)
    else:
        is_light = (colour * alpha).mean() > alpha.mean() * 255 / 2
        paper = np.full(3, 0.0 if is_light else 255.0)
    laid: Array = colour * alpha + paper * (1 - alpha)
    return laid


def _sized(found: Array) -> Array:
    """Crop to the ink and scale its longest side to 20 pixels."""
    import numpy as np
    from PIL import Image

    shown = found > 0.1
    rows, columns = (np.flatnonzero(shown.any(axis=axis)) for axis in (1, 0))
    cropped = found[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    ratio = INK_SIDE / max(cropped.shape)
    height, width = (max(1, round(side * ratio)) for side in cropped.shape)
    picture = Image.fromarray(cropped.astype("float32"))
    sized: Array = np.asarray(picture.resize((width, height), Image.Resampling.LANCZOS))
    return sized.clip(0, 1)


def _centred(digit: Array) -> Array:
    """Move the centre of mass of the ink to the pixel (14, 14) of 28 x 28, as in MNIST."""
    import numpy as np

    image = np.zeros((SIDE, SIDE), dtype="uint8")
    starts = []
    for axis, side in enumerate(digit.shape):
        centre = float(digit.sum(axis=1 - axis) @ np.arange(side) / digit.sum())
        starts.append(min(max(round(SIDE / 2 - centre), 0), SIDE - side))
    (top, left), (height, width) = starts, digit.shape
    image[top : top + height, left : left + width] = (digit * 255).round()
    return image
