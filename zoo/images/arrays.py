"""Convert arrays of images to the inputs of a trained model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from zoo.data import preprocessing
from zoo.errors import UsageError

if TYPE_CHECKING:
    from zoo.model import Array, Model

SIDE = 28
NEAR = 1e-3
"""A scaled pixel that is so near to a whole grey is that grey, rounded by float32."""


def prepare(given: Any, model: Model, preprocess: str) -> Array:
    """Prepare images, raw (whole numbers 0 to 255) or scaled (0 to 1), for this model.

    Their shape is (n, 28, 28), (n, 784), or of one image (28, 28) or (784,). Scaled images that
    were raw ones give what those give, bit for bit. Raises UsageError for anything else.
    """
    return preprocessing.model_input(_greys(_shaped(given)), model, preprocess)


def _shaped(given: Any) -> Array:
    import numpy as np

    images = np.asarray(given)
    if images.shape in ((SIDE, SIDE), (SIDE * SIDE,)):
        images = images[None]
    if images.ndim < 2 or images.shape[1:] not in ((SIDE, SIDE), (SIDE * SIDE,)):
        raise UsageError(
            f"Images of the shape {images.shape} cannot be predicted.",
            "Give (n, 28, 28) or (n, 784).",
        )
    return images.reshape(len(images), SIDE, SIDE)


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
