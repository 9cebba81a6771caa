"""What the training loop and the export ask of a model."""

from __future__ import annotations

from typing import Any, ClassVar, Protocol


class Learner(Protocol):
    """A `TorchModel`, which documents these."""

    params: Any
    seed: int
    layout: ClassVar[Any]
    input_shape: tuple[int, ...]
    network: Any
    torch_device: Any

    @property
    def n_features(self) -> int: ...
    def losses(self, outputs: Any, y: Any) -> Any: ...
    def probabilities(self, outputs: Any) -> Any: ...
    def optimizer(self, network: Any) -> Any: ...
    def scheduler(self, optimizer: Any, steps: int) -> Any: ...
    def arranged(self, x: Any) -> Any: ...
