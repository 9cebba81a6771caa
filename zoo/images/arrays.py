"""Convert arrays of images from outside to the raw inputs of a trained model."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from zoo.data import preprocessing
from zoo.errors import UsageError

if TYPE_CHECKING:
    from zoo.data.contents import Inputs
    from zoo.model import Array

NEAR = 1e-3
"""A scaled pixel that is so near to a whole grey is that grey, rounded by float32."""


def raw_images(given: Any, inputs: Inputs) -> Array:
    """Return images, whole numbers 0 to 255 or scaled from 0 to 1, as the dataset had them.

    Args:
        given: (n, *shape), (n, pixels), or a single image; of grey ones also (n, *shape, 1).
        inputs: What the images of the training were.

    Returns:
        (n, *shape), from 0 to 255 if the dataset's are bytes, else from 0 to 1. Scaled images
        that were bytes give what those give, bit for bit.

    Raises:
        UsageError: The images have another shape, or values out of bounds.
    """
    images = _checked(_shaped(given, inputs.shape))
    if inputs.dtype == "uint8":
        return _greys(images)
    return images if images.dtype.kind == "f" else images / preprocessing.WHITE


def _shaped(given: Any, shape: tuple[int, ...]) -> Array:
    import numpy as np

    images, flat = np.asarray(given), (math.prod(shape),)
    known = [shape, flat] if len(shape) > 2 else [shape, flat, (*shape, 1)]
    if images.shape in known:
        images = images[None]
    if images.ndim < 2 or images.shape[1:] not in known:
        wanted = ", ".join(map(str, shape))
        raise UsageError(
            f"Images of the shape {images.shape} cannot be predicted.",
            f"Give (n, {wanted}) or (n, {flat[0]}).",
        )
    return images.reshape(len(images), *shape)


def _checked(images: Array) -> Array:
    if images.dtype.kind not in "uif":
        raise UsageError(f"Images of {images.dtype} cannot be predicted.", "Give numbers.")
    least, most = (images.min(), images.max()) if images.size else (0, 0)
    # NaN fails this comparison too.
    if not (least >= 0 and most <= (1 if images.dtype.kind == "f" else 255)):
        raise UsageError(
            f"The pixels go from {least:g} to {most:g}.",
            "Give whole numbers from 0 to 255, or scaled ones from 0 to 1.",
        )
    return images


def _greys(images: Array) -> Array:
    """From 0 to 255: whole where they came whole."""
    import numpy as np

    if images.dtype.kind != "f":
        return images
    greys = images.astype("float64") * preprocessing.WHITE
    whole = np.rint(greys)
    near: Array = np.where(np.abs(greys - whole) < NEAR, whole, greys)
    return near
