"""LeNet-1, LeNet-4 and LeNet-5: the convolutional networks of LeCun et al. 1998."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import zoo
from zoo_keras.network import KerasModel, KerasParams, channels_last, load_keras

UNPADDED_SIDE = 16
"""The least side of an image that two unpadded convolutions of 5 x 5, each pooled, leave."""
PAPER = "LeCun et al. 1998, Gradient-based learning applied to document recognition"


class LeNetParams(KerasParams):
    """Params of LeNet, with later variants."""

    activation: Literal["tanh", "relu"] = zoo.param("tanh", help="of every layer but the last")
    pooling: Literal["average", "max"] = zoo.param("average", help="how four pixels become one")
    dropout: float = zoo.param(
        0.0, ge=0, lt=1, help="part of the units left out at each training step, after pooling"
    )
    distortion: float = zoo.param(
        0.0, ge=0, le=1, help="train on images shifted, scaled, squeezed and sheared by up to this"
    )


class LeNet(KerasModel):
    """Two convolutions of 5 x 5, each pooled, then dense layers, then softmax.

    Where the paper joins some feature maps of a layer to some of the next, these join all to all;
    the last layer is softmax instead of radial basis functions.
    """

    layout = "image"
    min_side = 12
    Params = LeNetParams
    family = "convolutional network"
    paper = PAPER
    padding: ClassVar[Literal["valid", "same"]] = "same"
    """Padding of the first convolution: "same" replaces the paper's images of 32 x 32, and is
    used for images too small for "valid"."""
    maps: ClassVar[tuple[int, int]]
    """Feature maps of the first and of the second convolution."""
    units: ClassVar[tuple[int, ...]]
    """Units of each dense layer before the last."""

    def layers(self) -> list[Any]:
        kinds, activation = load_keras().layers, self.params.activation
        pool = kinds.AveragePooling2D if self.params.pooling == "average" else kinds.MaxPooling2D
        is_small = min(self.input_shape[:2]) < UNPADDED_SIDE
        first = "same" if is_small else self.padding
        found = [*channels_last(self.input_shape), *self._distortions()]
        for maps, padding in zip(self.maps, (first, "valid"), strict=True):
            found += [kinds.Conv2D(maps, 5, padding=padding, activation=activation), pool(2)]
        found += [kinds.Flatten(), *self._dropout()]
        for units in self.units:
            found += [kinds.Dense(units, activation=activation), *self._dropout()]
        return [*found, kinds.Dense(self.n_classes, activation="softmax")]

    def _dropout(self) -> list[Any]:
        rate = self.params.dropout
        return [load_keras().layers.Dropout(rate)] if rate else []

    def _distortions(self) -> list[Any]:
        """Return the augmentations of the paper: shift, scale, squeeze, horizontal shear."""
        by, kinds = self.params.distortion, load_keras().layers
        if not by:
            return []
        common = {"fill_mode": "constant", "fill_value": 0.0, "data_format": "channels_last"}
        return [
            kinds.RandomTranslation(by, by, seed=self.seed, **common),
            # Height and width independently: scaling and squeezing at once.
            kinds.RandomZoom(by, by, seed=self.seed + 1, **common),
            kinds.RandomShear(x_factor=by, y_factor=0.0, seed=self.seed + 2, **common),
        ]


class LeNet1(LeNet):
    """LeNet-1: 4 and 12 feature maps, and no dense layer before the last."""

    name = "lenet-1"
    padding = "valid"
    maps = (4, 12)
    units = ()


class LeNet4(LeNet):
    """LeNet-4: 4 and 16 feature maps, and 120 units."""

    name = "lenet-4"
    maps = (4, 16)
    units = (120,)


class LeNet5(LeNet):
    """LeNet-5: 6 and 16 feature maps, then 120 and 84 units."""

    name = "lenet-5"
    maps = (6, 16)
    units = (120, 84)
