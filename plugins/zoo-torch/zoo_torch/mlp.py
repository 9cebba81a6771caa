"""A network of fully connected layers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

import zoo
from zoo_torch.model import TorchModel, TorchParams
from zoo_torch.pytorch import load_torch

if TYPE_CHECKING:
    from zoo.model import Array

Units = Annotated[int, Field(ge=1, le=8192)]


class MlpParams(TorchParams):
    """The params of every network, and the hidden layers."""

    hidden: list[Units] = zoo.param(
        [128], max_length=16, help="units of each hidden layer, with relu; [] for none"
    )
    dropout: float = zoo.param(
        0.0, ge=0, lt=1, help="part of each hidden layer's units left out at each training step"
    )


class Mlp(TorchModel):
    """Fully connected layers with relu, trained by PyTorch; without hidden ones, linear."""

    name = "torch-mlp"
    takes = ("image", "table")
    family = "neural network"
    paper = "LeCun et al. 1998, Gradient-Based Learning, doi:10.1109/5.726791"
    Params = MlpParams

    def module(self) -> Any:
        nn, params = load_torch().nn, self.params
        layers: list[Any] = []
        size = self.n_features
        for units in params.hidden:
            layers += [nn.Linear(size, units), nn.ReLU()]
            if params.dropout:
                layers.append(nn.Dropout(params.dropout))
            size = units
        return nn.Sequential(*layers, nn.Linear(size, self.n_classes))

    def weight_images(self) -> Array | None:
        if self.params.hidden:
            return None
        found: Array = self.network[-1].weight.detach().cpu().numpy()
        return found
