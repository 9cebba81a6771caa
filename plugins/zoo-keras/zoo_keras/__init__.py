"""Models of Keras."""

from __future__ import annotations

from collections.abc import Callable

import zoo
from zoo_keras.dense_softmax import DenseSoftmax
from zoo_keras.digit_detector import DigitDetector


@zoo.hookimpl
def register_models(register: Callable[[type[zoo.Model]], None]) -> None:
    """Bring the networks."""
    register(DenseSoftmax)
    register(DigitDetector)
