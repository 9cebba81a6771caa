"""Convert arrays of images to the inputs of a trained model."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from zoo.data import preprocessing
from zoo.errors import UsageError

if TYPE_CHECKING:
    from zoo.data.contents import Inputs
    from zoo.data.preprocessing import Fitted
    from zoo.model import Array, Model

NEAR = 1e-3
"""A scaled pixel that is so near to a whole grey is that grey, rounded by float32."""


def prepare(given: Any, model: Model, inputs: Inputs, preprocess: str, fitted: Fitted) -> Array:
    """Prepare images, raw (whole numbers 0 to 255) or scaled (0 to 1), for this model.

    Their shape is (n, *shape) or (n, pixels), or that of one image. Scaled images that
    were raw ones give what those give, bit for bit. Raises UsageError for anything else.
    """
    images = _greys(_shaped(given, inputs.shape))
    return preprocessing.model_input(images, inputs, model, preprocess, fitted)


def _shaped(given: Any, shape: tuple[int, ...]) -> Array:
    import numpy as np

    images, flat = np.asarray(given), (math.prod(shape),)
    if images.shape in (shape, flat):
        images = images[None]
    if images.ndim < 2 or images.shape[1:] not in (shape, flat):
        wanted = ", ".join(map(str, shape))
        raise UsageError(
            f"Images of the shape {images.shape} cannot be predicted.",
            f"Give (n, {wanted}) or (n, {flat[0]}).",
        )
    return images.reshape(len(images), *shape)


def _greys(images: Array) -> Array:
    """From 0 to 255: whole where they came whole."""
    import numpy as np

    if images.dtype.kind not in "uif":
        raise UsageError(f"Images of {images.dtype} cannot be predicted.", "Give numbers.")
    is_scaled = images.dtype.kind == "f"
    least, most = (images.min(), images.max()) if images.size else (0, 0)
    # NaN fails this comparison too.
    if not (least >= 0 and most <= (1 if is_scaled else 255)):
        raise UsageError(
            f"The pixels go from {least:g} to {most:g}.",
            "Give whole numbers from 0 to 255, or scaled ones from 0 to 1.",
        )
    if not is_scaled:
        return images
    greys = images.astype("float64") * preprocessing.WHITE
    whole = np.rint(greys)
    near: Array = np.where(np.abs(greys - whole) < NEAR, whole, greys)
    return near
