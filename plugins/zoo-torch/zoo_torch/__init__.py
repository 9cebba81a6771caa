"""Models of PyTorch, and the base class for modules of your own."""

from __future__ import annotations

from collections.abc import Callable

import zoo
from zoo_torch.cnn import Cnn
from zoo_torch.mlp import Mlp
from zoo_torch.model import TorchModel, TorchParams

__all__ = ["TorchModel", "TorchParams", "register_models"]


@zoo.hookimpl
def register_models(register: Callable[[type[zoo.Model]], None]) -> None:
    """Bring the networks."""
    for model in (Mlp, Cnn):
        register(model)
