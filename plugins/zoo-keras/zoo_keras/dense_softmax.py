"""The Dense-softmax network: one output unit for each class, and hidden layers if asked."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

import zoo
from zoo_keras.network import KerasModel, KerasParams, load_keras

Units = Annotated[int, Field(ge=1, le=8192)]


class DenseSoftmaxParams(KerasParams):
    """The params of every network, and the hidden layers."""

    hidden: list[Units] = zoo.param(
        [], max_length=16, help="units of each hidden layer, with relu; [] for none"
    )


class DenseSoftmax(KerasModel):
    """A Dense layer with softmax, trained by Keras; without hidden layers, logistic regression."""

    name = "dense-softmax"
    family = "neural network"
    paper = "LeCun et al. 1998, Gradient-Based Learning, doi:10.1109/5.726791"
    Params = DenseSoftmaxParams

    def layers(self) -> list[Any]:
        dense = load_keras().layers.Dense
        hidden = [dense(units, activation="relu") for units in self.params.hidden]
        return [*hidden, dense(self.n_classes, activation="softmax")]
