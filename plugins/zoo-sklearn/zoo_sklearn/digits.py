"""The dataset `digits`: scikit-learn's 1,797 handwritten digits in the format of MNIST."""

from __future__ import annotations

from typing import TYPE_CHECKING

import zoo

if TYPE_CHECKING:
    from zoo.model import Array

N_TEST = 360
BOX = 20
"""MNIST fits each digit into a box of 20 x 20 pixels, in the centre of its 28 x 28."""


def load() -> dict[str, zoo.Images]:
    """Read, enlarge and split the digits, stratified: 1,437 for training and 360 for the test."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    raw = load_digits()
    labels = raw.target.astype("int64")
    x_train, x_test, y_train, y_test = train_test_split(
        enlarge(raw.images), labels, test_size=N_TEST, stratify=labels, random_state=0
    )
    return {"train": zoo.Images(x_train, y_train), "test": zoo.Images(x_test, y_test)}


def enlarge(images: Array) -> Array:
    """Convert images (n, 8, 8) of 0..16 to uint8 (n, 28, 28)."""
    import numpy as np
    from PIL import Image

    # Integers only: Pillow resizes bytes in integer arithmetic, the same on any machine.
    grey = (images.astype("int64") * 255 // 16).astype("uint8")
    margin = (28 - BOX) // 2
    large = np.zeros((len(grey), 28, 28), dtype="uint8")
    for canvas, image in zip(large, grey, strict=True):
        box = Image.fromarray(image).resize((BOX, BOX), Image.Resampling.BICUBIC)
        canvas[margin:-margin, margin:-margin] = np.asarray(box)
    return large


DIGITS = zoo.Dataset(
    name="digits",
    summary="1,797 real handwritten digits of scikit-learn, 8 x 8 enlarged to 28 x 28",
    load=load,
)
