"""A small convolutional network with batch normalization, for grey and colour images."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

import zoo
from zoo_torch.model import TorchModel, TorchParams
from zoo_torch.pytorch import load_torch

Maps = Annotated[int, Field(ge=1, le=1024)]


class CnnParams(TorchParams):
    """The params of every network, and the blocks."""

    epochs: int = zoo.param(10, ge=1, le=10_000, help="passes over the training data")
    batch_size: int = zoo.param(
        32, ge=2, le=65_536, help="images per step; the normalization needs two"
    )
    maps: list[Maps] = zoo.param(
        [32, 64], min_length=1, max_length=5, help="feature maps of each block"
    )
    dropout: float = zoo.param(
        0.2, ge=0, lt=1, help="part of the units left out at each training step, after a block"
    )


class Cnn(TorchModel):
    """Blocks of two 3 x 3 convolutions with batch normalization, each pooled, by PyTorch.

    The convolutions have no bias, for the normalization has one. The last feature maps are
    averaged, so that the number of weights does not depend on the size of the images.
    """

    name = "torch-cnn"
    layout = "image"
    family = "convolutional network"
    paper = "Ioffe and Szegedy 2015, Batch normalization, arXiv:1502.03167"
    min_side = 8
    Params = CnnParams

    def module(self) -> Any:
        nn, params = load_torch().nn, self.params
        layers: list[Any] = []
        channels = self.n_channels
        for maps in params.maps:
            for _ in range(2):
                layers += [
                    nn.Conv2d(channels, maps, 3, padding=1, bias=False),
                    nn.BatchNorm2d(maps),
                    nn.ReLU(),
                ]
                channels = maps
            layers.append(nn.MaxPool2d(2, ceil_mode=True))
            if params.dropout:
                layers.append(nn.Dropout(params.dropout))
        layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
        return nn.Sequential(*layers, nn.Linear(channels, self.n_classes))
