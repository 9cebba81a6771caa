"""Options for images of arrays: transpose, grey and size."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from zoo.data.source_options import SourceOptions

if TYPE_CHECKING:
    from zoo.model import Array

LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in grey, of ITU-R BT.601, as in Pillow."""


@dataclass(frozen=True)
class Changes:
    """Conversions of chunks of images, in order; `shape` is that of one image afterwards."""

    shape: tuple[int, ...]
    apply: tuple[Callable[[Array], Array], ...]


def changes(options: SourceOptions, shape: tuple[int, ...], dtype: str) -> Changes:
    """Return the conversions that the options ask of images of a shape and type."""
    apply: list[Callable[[Array], Array]] = []
    if options.transpose:
        shape = (shape[1], shape[0], *shape[2:])
        apply.append(lambda x: x.swapaxes(1, 2))
    if options.grey and len(shape) == 3:
        shape = shape[:2]
        apply.append(_grey)
    if options.size and options.size != shape[:2]:
        height, width = options.size
        shape = (height, width, *shape[2:])
        apply.append(lambda x: _resized(x, height, width, dtype))
    return Changes(shape, tuple(apply))


def _grey(images: Array) -> Array:
    import numpy as np
    from PIL import Image

    if images.dtype != "uint8":
        grey: Array = np.clip(images @ np.array(LUMA, images.dtype), 0, 1)
        return grey
    count, height, width, _ = images.shape
    strip = np.ascontiguousarray(images).reshape(count * height, width, 3)
    return np.asarray(Image.fromarray(strip).convert("L")).reshape(count, height, width)


def _resized(images: Array, height: int, width: int, dtype: str) -> Array:
    import numpy as np
    from PIL import Image

    def plane(image: Array) -> Array:
        resized = Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR)
        return np.asarray(resized)

    made = np.empty((len(images), height, width, *images.shape[3:]), dtype)
    if dtype == "uint8":
        for index, image in enumerate(np.ascontiguousarray(images)):
            made[index] = plane(image)
        return made
    # Pillow has images of a single float32 channel alone.
    for index, image in enumerate(images.astype("float32")):
        channels = image[..., None] if image.ndim == 2 else image
        for channel in range(channels.shape[2]):
            target = made[index] if image.ndim == 2 else made[index, ..., channel]
            target[...] = plane(np.ascontiguousarray(channels[..., channel])).clip(0, 1)
    return made
