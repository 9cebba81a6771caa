"""Arrays of images from outside become the raw inputs of a model, or are refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from zoo.data.contents import Inputs
from zoo.data.preprocessing import scale
from zoo.errors import UsageError
from zoo.images.arrays import raw_images

COLOUR = Inputs(shape=(6, 4, 3))


@pytest.mark.parametrize("inputs", [Inputs(), COLOUR, Inputs(shape=(5, 7))])
def test_scaled_images_are_prepared_as_the_raw_ones_bit_for_bit(inputs: Inputs) -> None:
    raw = np.random.default_rng(1).integers(0, 256, (20, *inputs.shape)).astype("uint8")
    expected = scale(raw, inputs, "float32")
    flat = raw.reshape(20, -1)
    for given in (raw, flat, raw / 255.0, (flat / 255.0).astype("float32"), raw.tolist()):
        assert (scale(raw_images(given, inputs), inputs, "float32") == expected).all()
    assert (raw_images(raw[3], inputs) == raw[3:4]).all()
    assert (raw_images(flat[3], inputs) == raw[3:4]).all()


def test_values_between_two_greys_and_images_of_floats_stay_as_they_are() -> None:
    between = np.full((1, 784), 0.5012)
    assert scale(raw_images(between, Inputs()), Inputs(), "float64") == pytest.approx(0.5012)
    floats = Inputs(shape=(2, 2), dtype="float32")
    given = np.array([[[0.1, 0.2], [0.3, 1.0]]], "float32")
    assert (scale(raw_images(given, floats), floats, "float32") == given).all()
    assert raw_images(np.full((1, 2, 2), 255), floats).tolist() == [[[1, 1], [1, 1]]]


def test_a_channel_of_grey_images_is_left_out() -> None:
    assert raw_images(np.zeros((3, 28, 28, 1), "uint8"), Inputs()).shape == (3, 28, 28)


@pytest.mark.parametrize(
    ("given", "inputs", "why"),
    [
        (np.zeros((3, 27, 28)), Inputs(), r"shape.*\(n, 28, 28\) or \(n, 784\)"),
        (np.zeros((3, 6, 4)), COLOUR, r"shape.*\(n, 6, 4, 3\) or \(n, 72\)"),
        (np.zeros((3, 3, 6, 4)), COLOUR, "shape"),
        (np.zeros(()), Inputs(), "shape"),
        (np.full((1, 784), 2.0), Inputs(), "go from 2 to 2"),
        (np.full((1, 784), -1), Inputs(), "go from -1"),
        (np.full((1, 784), np.nan), Inputs(), "go from nan"),
        (np.full((1, 784), "a"), Inputs(), "Give numbers"),
        (np.full((1, 784), True), Inputs(), "Give numbers"),
    ],
)
def test_what_is_no_image_is_refused(given: Any, inputs: Inputs, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        raw_images(given, inputs)
