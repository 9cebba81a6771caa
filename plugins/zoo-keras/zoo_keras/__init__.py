"""Models of Keras, and the base class `KerasModel` for networks of other plugins."""

from __future__ import annotations

from collections.abc import Callable

import zoo
from zoo_keras.cnn import Cnn
from zoo_keras.dense_softmax import DenseSoftmax
from zoo_keras.digit_detector import DigitDetector
from zoo_keras.lenet import LeNet1, LeNet4, LeNet5
from zoo_keras.network import KerasModel as KerasModel
from zoo_keras.network import KerasParams as KerasParams
from zoo_keras.network import channels_last as channels_last


@zoo.hookimpl
def register_models(register: Callable[[type[zoo.Model]], None]) -> None:
    """Bring the networks."""
    for model in (DenseSoftmax, DigitDetector, LeNet1, LeNet4, LeNet5, Cnn):
        register(model)
