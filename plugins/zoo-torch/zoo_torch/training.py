"""The training loop: batches, epochs, reports, early stopping and checkpoints."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import zoo
from zoo_torch import tensor_files
from zoo_torch.early_stopping import EarlyStopping
from zoo_torch.learner import Learner
from zoo_torch.pytorch import as_tensor, load_torch, random_states, restore_random_states

if TYPE_CHECKING:
    from zoo.model import Array

REPORT_SECONDS = 0.3
"""Interval of reports within an epoch."""
EVALUATED = 1024
"""Inputs of one batch in prediction."""


class Rows(NamedTuple):
    """Inputs and labels as tensors, on the processor."""

    x: Any
    y: Any
    weights: Any = None
    """Weights of the rows, float32 (n,); None if all count alike."""

    @classmethod
    def of(cls, x: Array, y: Array, weights: Array | None = None) -> Rows:
        """Convert arrays, without a copy of the inputs."""
        row_weights = None if weights is None else as_tensor(weights.astype("float32"))
        return cls(as_tensor(x), as_tensor(y), row_weights)


class Training:
    """One training of a module, which can be left after each batch and taken up again."""

    def __init__(
        self,
        model: Learner,
        rows: Rows,
        report: zoo.Report,
        *,
        validation: Rows | None = None,
        checkpoint: zoo.Checkpoint | None = None,
    ) -> None:
        """Prepare the training of `model.network`, seeded by the caller."""
        torch, params = load_torch(), model.params
        self._model = model
        self._network = model.network
        self._rows = rows
        self._report = report
        self._validation = validation
        self._checkpoint = checkpoint
        self._epochs = params.epochs
        self._size = params.batch_size
        # A last batch of one row joins the one before: batch normalization needs two.
        n = len(rows.y)
        self._steps = max(1, n // self._size if n % self._size == 1 else -(-n // self._size))
        # A generator of its own: what the module draws does not change the order of the batches.
        self._generator = torch.Generator().manual_seed(model.seed)
        self._optimizer = model.optimizer(self._network)
        self._scheduler = model.scheduler(self._optimizer, self._steps * self._epochs)
        self._stopping = (
            None
            if params.patience is None
            else EarlyStopping(params.monitor, params.patience, restore_best=params.restore_best)
        )
        self._epoch = self._batch = 0
        self._sums = self._no_sums()
        self._drawn = self._generator.get_state()

    def run(self) -> None:
        """Train to the end, from the newest checkpoint if there is one."""
        folder = self._checkpoint.latest() if self._checkpoint else None
        if folder is not None:
            self._resume(folder)
        try:
            while self._epoch < self._epochs:
                self._train_epoch()
                if self._end_epoch():
                    break
                self._save_if_due(self._epoch)
        finally:
            # Also where `report` raises zoo.Stop: what has been learned so far is kept.
            if self._stopping:
                self._stopping.restore(self._network)

    def _train_epoch(self) -> None:
        torch = load_torch()
        self._drawn = self._generator.get_state()
        order = torch.randperm(len(self._rows.y), generator=self._generator)
        self._network.train(True)
        due = time.monotonic() + REPORT_SECONDS
        while self._batch < self._steps:
            first = self._batch * self._size
            is_last = self._batch == self._steps - 1
            self._learn(order[first:] if is_last else order[first : first + self._size])
            self._batch += 1
            if time.monotonic() >= due and not is_last:
                due = time.monotonic() + REPORT_SECONDS
                step = self._epoch * self._steps + self._batch
                self._report(step, self._epochs * self._steps, "batch")
                self._save_if_due(step)

    def _learn(self, rows: Any) -> None:
        model, device = self._model, self._model.torch_device
        y = self._rows.y[rows].to(device)
        self._optimizer.zero_grad(set_to_none=True)
        outputs = self._network(model.arranged(self._rows.x[rows].to(device)))
        losses = model.losses(outputs, y)
        weights = self._rows.weights
        total = len(rows)
        if weights is not None:
            chosen = weights[rows].to(device)
            losses, total = losses * chosen, chosen.sum().double()
        losses.mean().backward()
        self._optimizer.step()
        if self._scheduler is not None:
            self._scheduler.step()
        with load_torch().no_grad():
            self._sums["loss"] += losses.sum().double()
            self._sums["weight"] += total
            self._sums["right"] += (model.probabilities(outputs).argmax(dim=1) == y).sum()

    def _end_epoch(self) -> bool:
        """Report the epoch; return whether the training is to end early."""
        found = self._sums
        metrics = {
            "train_loss": float(found["loss"] / found["weight"]),
            "train_accuracy": float(found["right"]) / len(self._rows.y),
        }
        is_over = False
        if self._validation is not None:
            loss, accuracy = evaluate(self._model, self._validation)
            metrics |= {"val_loss": loss, "val_accuracy": accuracy}
        if self._stopping:
            is_over = self._stopping.is_over(self._epoch + 1, metrics, self._network)
        self._epoch, self._batch, self._sums = self._epoch + 1, 0, self._no_sums()
        self._drawn = self._generator.get_state()
        self._report(self._epoch, self._epochs, "epoch", **metrics)
        if is_over and self._stopping and self._epoch < self._epochs:
            self._report.done(self._stopping.why)
        return is_over

    def _no_sums(self) -> dict[str, Any]:
        torch, device = load_torch(), self._model.torch_device
        names = ("loss", "weight", "right")
        return {name: torch.zeros((), dtype=torch.float64, device=device) for name in names}

    def _save_if_due(self, step: int) -> None:
        if self._checkpoint is None or not self._checkpoint.is_due():
            return
        state = {
            "epoch": self._epoch,
            "batch": self._batch,
            "sums": self._sums,
            # The generator as it was before the epoch, from which its order is drawn again.
            "order": self._drawn,
            "random": random_states(self._model.torch_device),
            "module": self._network.state_dict(),
            # Also those that are no part of the weights.
            "buffers": dict(self._network.named_buffers()),
            "optimizer": self._optimizer.state_dict(),
            "scheduler": self._scheduler and self._scheduler.state_dict(),
            "stopping": self._stopping and self._stopping.state(),
        }
        with self._checkpoint.save(step) as folder:
            tensor_files.save(folder, state)

    def _resume(self, folder: Path) -> None:
        state, device = tensor_files.load(folder), self._model.torch_device
        self._epoch, self._batch = state["epoch"], state["batch"]
        self._sums = {name: each.to(device) for name, each in state["sums"].items()}
        self._network.load_state_dict(state["module"])
        with load_torch().no_grad():
            for name, buffer in self._network.named_buffers():
                buffer.copy_(state["buffers"][name])
        self._optimizer.load_state_dict(state["optimizer"])
        if self._scheduler is not None:
            self._scheduler.load_state_dict(state["scheduler"])
        if self._stopping:
            self._stopping.load(state["stopping"])
        self._generator.set_state(state["order"])
        restore_random_states(state["random"])


def evaluate(model: Learner, rows: Rows) -> tuple[float, float]:
    """Return mean loss and accuracy of `model.network` on rows."""
    loss = right = 0.0
    with load_torch().no_grad():
        for first in range(0, len(rows.y), EVALUATED):
            part = slice(first, first + EVALUATED)
            y = rows.y[part].to(model.torch_device)
            outputs = outputs_of(model, rows.x[part])
            loss += float(model.losses(outputs, y).sum().double())
            right += float((model.probabilities(outputs).argmax(dim=1) == y).sum())
    return loss / len(rows.y), right / len(rows.y)


def outputs_of(model: Learner, x: Any) -> Any:
    """Return the outputs of `model.network` in prediction, not in training."""
    model.network.train(False)
    return model.network(model.arranged(x.to(model.torch_device)))
