"""End a training that gets no better on the validation rows, and keep its best epoch."""

from __future__ import annotations

import copy
import math
from typing import Any


class EarlyStopping:
    """Counts epochs without a better metric, and decides as that of Keras does.

    Except that a first epoch whose metric is no number is not the best one for ever.
    """

    def __init__(self, monitor: str, patience: int, *, restore_best: bool) -> None:
        """`monitor` is `val_loss`, the lower the better, or a metric of which more is better."""
        self._monitor = monitor
        self._sign = -1 if monitor == "val_loss" else 1
        self._patience = patience
        self._restores = restore_best
        self._best = -math.inf
        self._epoch = 0
        self._waited = 0
        self._state: dict[str, Any] | None = None

    @property
    def why(self) -> str:
        """The reason of an early end, in words."""
        epochs = "1 epoch" if self._waited == 1 else f"{self._waited} epochs"
        best = f": weights of epoch {self._epoch}" if self._restores else ""
        return f"no better for {epochs}{best}"

    def is_over(self, epoch: int, metrics: dict[str, float], network: Any) -> bool:
        """Note the metrics after an epoch, from 1 on; return whether to end now."""
        value = self._sign * metrics[self._monitor]
        self._waited += 1
        is_better = value > self._best
        if is_better:
            self._best, self._waited = value, 0
        if is_better or epoch == 1:
            self._epoch = epoch
            if self._restores:
                self._state = copy.deepcopy(network.state_dict())
        return not is_better and epoch > 1 and self._waited >= self._patience

    def restore(self, network: Any) -> None:
        """Give the module the weights of the best epoch, if they are wanted."""
        if self._state is not None:
            network.load_state_dict(self._state)

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        return {
            "best": self._best,
            "epoch": self._epoch,
            "waited": self._waited,
            "state": self._state,
        }

    def load(self, kept: dict[str, Any]) -> None:
        """Go on from what `state` has returned."""
        self._best, self._epoch = kept["best"], kept["epoch"]
        self._waited, self._state = kept["waited"], kept["state"]
