"""A small convolutional network with batch normalization, for grey and colour images."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

import zoo
from zoo_keras.network import KerasModel, KerasParams, Optimizer, channels_last, load_keras

MOMENTUM = 0.9
"""Of the averages used in prediction. Keras's 0.99 needs some hundred steps, more than a training
on a few hundred images takes."""
Maps = Annotated[int, Field(ge=1, le=1024)]


class CnnParams(KerasParams):
    """The params of every network, and the blocks."""

    epochs: int = zoo.param(10, ge=1, le=10_000, help="passes over the training data")
    optimizer: Optimizer = zoo.param("adam", help="the rule that changes the weights")
    maps: list[Maps] = zoo.param(
        [32, 64], min_length=1, max_length=5, help="feature maps of each block"
    )
    dropout: float = zoo.param(
        0.2, ge=0, lt=1, help="part of the units left out at each training step, after a block"
    )
    flip: bool = zoo.param(False, help="train on images mirrored at random, left to right")


class Cnn(KerasModel):
    """Blocks of two 3 x 3 convolutions with batch normalization, each pooled, then softmax.

    The convolutions have no bias, for the normalization has one. The last feature maps are
    averaged, so that the number of weights does not depend on the size of the images.
    """

    name = "cnn"
    layout = "image"
    family = "convolutional network"
    paper = "Ioffe and Szegedy 2015, Batch normalization, arXiv:1502.03167"
    min_side = 8
    Params = CnnParams

    def layers(self) -> list[Any]:
        kinds, params = load_keras().layers, self.params
        found = channels_last(self.input_shape)
        if params.flip:
            found.append(
                kinds.RandomFlip("horizontal", seed=self.seed, data_format="channels_last")
            )
        for maps in params.maps:
            for _ in range(2):
                found += [
                    kinds.Conv2D(maps, 3, padding="same", use_bias=False),
                    kinds.BatchNormalization(momentum=MOMENTUM),
                    kinds.Activation("relu"),
                ]
            found.append(kinds.MaxPooling2D(2, padding="same"))
            if params.dropout:
                found.append(kinds.Dropout(params.dropout))
        found.append(kinds.GlobalAveragePooling2D())
        return [*found, kinds.Dense(self.n_classes, activation="softmax")]
