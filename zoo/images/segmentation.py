"""Separate the ink of a drawn or photographed digit from its background."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zoo.errors import PictureError

if TYPE_CHECKING:
    from zoo.model import Array

HALF = 0.4
"""From this part of the ink's contrast on a pixel is ink: a pencil's line is not even."""
NOISE = 4.0
"""Minimum contrast of the ink in standard deviations of the background."""
LEAST_CONTRAST = 10.0
"""Of 255; below it a picture is blank."""
SPECK = 0.05
"""A spot with less ink than this part of the largest one is dirt."""


def find(pixels: Array) -> Array:
    """Return the amount of ink at each pixel: (height, width), 0 to 1.

    `pixels` is (height, width, channels), 0 to 255. Raises PictureError if there is no ink.
    """
    import numpy as np
    from scipy import ndimage

    contrast = _along_the_ink(pixels - _background(pixels))
    contrast = ndimage.gaussian_filter(contrast, max(contrast.shape) / 400)
    full = _full_contrast(contrast)
    others = np.abs(contrast[contrast < full * HALF])
    noise = 1.4826 * float(np.median(others)) if others.size else 0.0
    if full < max(LEAST_CONTRAST, NOISE * noise):
        raise PictureError("The picture shows nothing that differs from its background.")
    if inner := _inside_a_frame(contrast >= full * HALF):
        return find(pixels[inner])
    spots, count = ndimage.label(contrast >= full * HALF, np.ones((3, 3)))
    sums = ndimage.sum_labels(contrast, spots, range(count + 1))
    sums[0] = 0
    digit = (sums >= SPECK * sums.max())[spots]
    # Two pixels more: where the ink begins, its edge is soft.
    digit = ndimage.binary_dilation(digit, np.ones((3, 3)), iterations=2)
    low = max(2 * noise, 0.05 * full)
    found: Array = ((contrast - low) / (full - low)).clip(0, 1) * digit
    return found


def _inside_a_frame(ink: Array) -> tuple[slice, slice] | None:
    """Where the sheet of paper is whose frame was taken for the background, a little inside of it.

    None if there is none: no digit fills three quarters of its box and two fifths of a picture.
    """
    import numpy as np

    if ink.mean() < 0.4:
        return None
    inner = []
    for axis in (1, 0):
        places = np.flatnonzero(ink.any(axis=axis))
        inset = 2 + len(places) // 50
        inner.append(slice(int(places[0]) + inset, int(places[-1]) + 1 - inset))
    found = inner[0], inner[1]
    # A solid sheet has no digit on it; and what is left must be less, or there is no end.
    is_sheet = ink[found].size and 0.75 < ink[found].mean() < 1
    return found if is_sheet else None


def at_least(ink: Array, part: float) -> Array:
    """Thicken lines that are thinner than this part of the longest side of the ink.

    The width of a line is four times the mean distance of its ink from the edge.
    """
    import numpy as np
    from scipy import ndimage

    inside = ink >= 0.5
    rows, columns = (np.flatnonzero(inside.any(axis=axis)) for axis in (1, 0))
    longest = max(np.ptp(rows), np.ptp(columns)) + 1
    width = 4 * ndimage.distance_transform_edt(np.pad(inside, 1))[1:-1, 1:-1][inside].mean()
    missing = (part * longest - width) / 2
    if missing < 0.5:
        return ink
    room = int(missing) + 1
    wide = np.pad(ink, room)
    grown = (missing + 1 - ndimage.distance_transform_edt(wide < 0.5)).clip(0, 1)
    thick: Array = np.maximum(wide, grown)
    return thick


def _background(pixels: Array) -> Array:
    """The background colour at each pixel: a quadratic surface, as of unevenly lit paper.

    It is fitted to the border first, then to all pixels close to it; pixels far from it are ink.
    """
    import numpy as np

    height, width = pixels.shape[:2]
    step = max(1, max(height, width) // 64)
    terms = _terms(height, width)
    few, known = terms[::step, ::step], pixels[::step, ::step]
    border = np.ones(known.shape[:2], dtype=bool)
    border[1:-1, 1:-1] = False
    chosen = border
    for part, degree in ((border, 1), (border, 3), (border, 6), (True, 6), (True, 6), (True, 6)):
        fit = np.linalg.lstsq(few[chosen][:, :degree], known[chosen], rcond=None)[0]
        far = np.linalg.norm(known - few[..., :degree] @ fit, axis=-1)
        spread = 1.4826 * np.median(far[chosen])
        chosen = part & (far <= max(2.5 * spread, LEAST_CONTRAST / 2))
    surface: Array = terms @ fit
    return surface


def _terms(height: int, width: int) -> Array:
    """The terms of a quadratic surface at each pixel: 1, x, y, x^2, xy, y^2."""
    import numpy as np

    y, x = np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij")
    terms: Array = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=-1)
    return terms


def _along_the_ink(away: Array) -> Array:
    """Differences from the background, along the colour in which the strongest of them lie."""
    import numpy as np

    distance = np.linalg.norm(away, axis=-1)
    strongest = away[distance >= np.quantile(distance, 0.995)]
    direction = np.linalg.eigh(strongest.T @ strongest)[1][:, -1]
    along: Array = away @ direction
    signed: Array = along * np.sign((strongest @ direction).sum() or 1.0)
    return signed


def _full_contrast(contrast: Array) -> float:
    """The mean contrast of ink: of all that has more than half of it (isodata's rule)."""
    full = float(contrast.max())
    for _ in range(10):
        if full <= 0:
            return 0.0
        full = float(contrast[contrast >= full / 2].mean())
    return full
