"""End a training that gets no better on the validation rows, and keep its best epoch."""

from __future__ import annotations

import copy
import math
from typing import Any


class EarlyStopping:
    """Counts epochs without a lower loss on the validation rows, as that of Keras does."""

    def __init__(self, patience: int | None, *, restore_best: bool) -> None:
        """Without `patience` no training ends early; without `restore_best` no weights are kept."""
        self._patience = patience
        self._restores = restore_best
        self.best: dict[str, Any] | None = None
        """The state of the module after the best epoch."""
        self._loss = math.inf
        self._waited = 0

    def is_over(self, loss: float, network: Any) -> bool:
        """Note the loss on the validation rows after an epoch; return whether to end now."""
        self._waited += 1
        is_first = self._restores and self.best is None
        if loss < self._loss:
            self._loss, self._waited = loss, 0
        if self._restores and (is_first or self._waited == 0):
            self.best = copy.deepcopy(network.state_dict())
        return self._patience is not None and self._waited >= self._patience

    def restore(self, network: Any) -> None:
        """Give the module the weights of the best epoch, if they are wanted."""
        if self.best is not None:
            network.load_state_dict(self.best)

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        return {"best": self.best, "loss": self._loss, "waited": self._waited}

    def load(self, state: dict[str, Any]) -> None:
        """Go on from what `state` has returned."""
        self.best, self._loss, self._waited = state["best"], state["loss"], state["waited"]
