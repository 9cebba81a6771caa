"""The Dense-softmax network: one output unit for each class, and hidden layers if asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

import zoo
from zoo_keras.network import KerasModel, KerasParams, load_keras

if TYPE_CHECKING:
    from zoo.model import Array

Units = Annotated[int, Field(ge=1, le=8192)]


class DenseSoftmaxParams(KerasParams):
    """The params of every network, and the hidden layers."""

    hidden: list[Units] = zoo.param(
        [], max_length=16, help="units of each hidden layer, with relu; [] for none"
    )
    dropout: float = zoo.param(
        0.0, ge=0, lt=1, help="part of each hidden layer's units left out at each training step"
    )


class DenseSoftmax(KerasModel):
    """A Dense layer with softmax, trained by Keras; without hidden layers, logistic regression."""

    name = "dense-softmax"
    takes = ("image", "table")
    family = "neural network"
    paper = "LeCun et al. 1998, Gradient-Based Learning, doi:10.1109/5.726791"
    Params = DenseSoftmaxParams

    def layers(self) -> list[Any]:
        kinds, hidden = load_keras().layers, []
        for units in self.params.hidden:
            hidden.append(kinds.Dense(units, activation="relu"))
            if self.params.dropout:
                hidden.append(kinds.Dropout(self.params.dropout))
        return [*hidden, kinds.Dense(self.n_classes, activation="softmax")]

    def weight_images(self) -> Array | None:
        return None if self.params.hidden else self.kernel().T
