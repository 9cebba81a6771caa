"""Fit an MLPClassifier epoch by epoch: progress, checkpoints, validation rows, an early end."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import zoo
from zoo import weights
from zoo_sklearn.releases import is_known

if TYPE_CHECKING:
    from zoo.model import Array, Validation

UNIT = "epoch"
STATE = "state.json"
ONLY_FOR_FIT = ("_optimizer", "_random_state", "_best_coefs", "_best_intercepts")
"""Attributes that predictions do not need; the optimizer is twice as large as the weights."""
KEPT = (
    *("loss_", "best_loss_", "best_validation_score_", "loss_curve_", "validation_scores_"),
    *("n_iter_", "t_", "_no_improvement_count"),
)
"""Numbers, and lists of numbers, that an epoch changes."""
OPTIMIZER = {"adam": ("ms", "vs"), "sgd": ("velocities",)}
"""Arrays of the optimizers, one for each array of weights."""


@contextlib.contextmanager
def reported(
    network: Any,
    report: zoo.Report,
    checkpoint: zoo.Checkpoint | None = None,
    *,
    validation: Validation | None = None,
) -> Iterator[None]:
    """Have `network.fit` report each epoch, and go on from a checkpoint; the bits do not change.

    Once `report` has raised, the network predicts with the weights so far, the best ones with
    early stopping.

    Args:
        network: The classifier.
        report: Called after each epoch; once after all for the solver lbfgs, and for an unknown
            release of scikit-learn.
        checkpoint: Where epochs are saved.
        validation: Rows whose accuracy and loss are reported. Early stopping goes by this
            accuracy, and holds back no rows.
    """
    if network.solver == "lbfgs" or not is_known():
        yield
        _forget(network)
        report(1, 1, "fit", train_loss=network.loss_)
        return
    epochs = _Epochs(network, report, checkpoint, validation)
    epochs.begin()
    try:
        yield
        epochs.end()
    finally:
        epochs.clear()


def _forget(network: Any) -> None:
    for name in ONLY_FOR_FIT:
        vars(network).pop(name, None)


class _Epochs:
    """Called from within `fit`, once an epoch's weights and loss are there."""

    def __init__(
        self,
        network: Any,
        report: zoo.Report,
        checkpoint: zoo.Checkpoint | None,
        validation: Validation | None,
    ) -> None:
        self._network = network
        self._report = report
        self._checkpoint = checkpoint
        self._validation = validation
        self._early_stopping = network.early_stopping
        self._total = network.max_iter
        self._earlier: Path | None = None
        self._state: dict[str, Any] = {}

    def begin(self) -> None:
        """Replace methods of the network that `fit` calls."""
        network = self._network
        network._update_no_improvement_count = self._epoch_ends
        network._initialize = self._initialize
        if self._validation is not None:
            network.early_stopping = False  # holds back no rows
        self._earlier = self._checkpoint.latest() if self._checkpoint else None
        if self._earlier is not None:
            self._state = json.loads((self._earlier / STATE).read_text(encoding="utf-8"))
            # One more: in the first one nothing is computed.
            network.max_iter = self._total - self._state["n_iter_"] + 1
            network._backprop = self._skip

    def _initialize(self, *args: Any) -> None:
        network = self._network
        type(network)._initialize(network, *args)
        if self._validation is not None and self._early_stopping:
            network.validation_scores_ = []
            network.best_validation_score_ = -math.inf
            network.best_loss_ = None
        if self._earlier is not None:
            network._random_state = _replaying(network._random_state, self._state["n_iter_"])

    def _skip(self, *args: Any) -> Any:
        """Take the place of `_backprop` in the epoch that only brings the rows into their order."""
        self._network._optimizer.update_params = lambda *_: None
        coef_grads, intercept_grads = args[-2:]
        return 0.0, coef_grads, intercept_grads

    def _epoch_ends(self, early_stopping: bool, *held_back: Any) -> None:
        network = self._network
        if self._earlier is not None:
            self._restore(self._earlier)
            return
        metrics = {"train_loss": network.loss_}
        if self._validation is not None:
            early_stopping, held_back = self._early_stopping, (*self._validation, None)
            metrics |= _measured(network, *self._validation)
        type(network)._update_no_improvement_count(network, early_stopping, *held_back)
        self._report(network.n_iter_, self._total, UNIT, **metrics)
        if self._checkpoint and self._checkpoint.is_due():
            self._save(self._checkpoint)

    def _lists(self) -> dict[str, list[Array]]:
        """Return the arrays that an epoch changes."""
        network = self._network
        lists = {"coef": network.coefs_, "intercept": network.intercepts_}
        if self._early_stopping:
            lists |= {"best_coef": network._best_coefs, "best_intercept": network._best_intercepts}
        return lists | {n: getattr(network._optimizer, n) for n in OPTIMIZER[network.solver]}

    def _save(self, checkpoint: zoo.Checkpoint) -> None:
        network = self._network
        state = {name: getattr(network, name) for name in KEPT}
        optimizer = network._optimizer
        state |= {"learning_rate": float(optimizer.learning_rate), "t": getattr(optimizer, "t", 0)}
        with checkpoint.save(network.n_iter_) as folder:
            weights.save(folder, _named(self._lists()))
            (folder / STATE).write_text(json.dumps(state), encoding="utf-8")

    def _restore(self, folder: Path) -> None:
        network, arrays = self._network, _named(self._lists())
        found = weights.load(
            folder, {name: (str(each.dtype), each.shape) for name, each in arrays.items()}
        )
        for name, array in arrays.items():
            array[...] = found[name]
        for name in KEPT:
            setattr(network, name, _numbers(name, self._state[name]))
        optimizer = network._optimizer
        optimizer.learning_rate, optimizer.t = self._state["learning_rate"], self._state["t"]
        del network._backprop, optimizer.update_params
        self._earlier, network.max_iter = None, self._total

    def end(self) -> None:
        """Say why there are fewer epochs than asked for."""
        if self._network.n_iter_ < self._total:
            self._report.done(f"no better for {self._network.n_iter_no_change} epochs")

    def clear(self) -> None:
        """Set the fitted attributes of `fit` that predictions need."""
        network = self._network
        for name in ("_update_no_improvement_count", "_initialize", "_backprop"):
            vars(network).pop(name, None)
        network.early_stopping, network.max_iter = self._early_stopping, self._total
        if self._early_stopping and hasattr(network, "_best_coefs"):
            network.coefs_, network.intercepts_ = network._best_coefs, network._best_intercepts
        _forget(network)


def _named(lists: dict[str, list[Array]]) -> dict[str, Array]:
    return {f"{name}_{n}": each for name, found in lists.items() for n, each in enumerate(found)}


def _numbers(name: str, found: Any) -> Any:
    """Return losses in the type that `fit` gives them, for files of the same size."""
    import numpy as np

    if "loss" not in name or found is None:
        return found
    return [np.float64(each) for each in found] if isinstance(found, list) else np.float64(found)


def _replaying(random_state: Any, epochs: int) -> Any:
    """Return a random state whose first shuffle is that of several epochs one after the other.

    Each epoch shuffles the order of the one before, which `fit` keeps to itself.
    """
    import numpy as np

    class Replaying(np.random.RandomState):
        left = epochs

        def shuffle(self, x: Any) -> None:
            order = np.arange(len(x))
            for _ in range(self.left):
                one = np.arange(len(x))
                super().shuffle(one)
                order = order[one]
            self.left = 1
            x[...] = x[order]

        def permutation(self, x: Any) -> Any:
            # By `shuffle`, too; it is how rows are held back before the first epoch.
            left, self.left = self.left, 1
            found = super().permutation(x)
            self.left = left
            return found

    replaying = Replaying()
    replaying.set_state(random_state.get_state())
    return replaying


def _measured(network: Any, x: Array, y: Array) -> dict[str, float]:
    """Return accuracy and loss of the validation rows."""
    import numpy as np
    from sklearn.metrics import log_loss

    classes, found = network.classes_, network.predict_proba(x)
    right = classes[found.argmax(axis=1)] == y
    measured = {"val_accuracy": float(right.mean())}
    known = np.isin(y, classes)
    if known.any():
        measured["val_loss"] = float(log_loss(y[known], found[known], labels=classes))
    return measured
