"""Report a training, call its callbacks, and keep checkpoints of it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import zoo
from zoo_keras import state

if TYPE_CHECKING:
    from zoo.model import Array

REPORT_SECONDS = 0.3
"""Interval of reports within an epoch."""
OWN = "more"
"""Folder of a checkpoint for what `Events` keeps."""
PER_BATCH = (
    *("on_train_batch_begin", "on_train_batch_end", "on_batch_begin", "on_batch_end"),
    *("on_test_batch_begin", "on_test_batch_end"),
)
"""Methods of a callback that Keras calls for each batch."""


class Events(Protocol):
    """Writes the metrics of each epoch to files, which a checkpoint includes."""

    def write(self, step: int, metrics: dict[str, float]) -> None:
        """Write the metrics of an epoch."""

    def save(self, folder: Path) -> None:
        """Copy the files so far into the folder."""

    def restore(self, folder: Path) -> None:
        """Go on from the files of `save`."""


class Progress:
    """Where a training is: reports, callbacks, early stopping, checkpoints.

    A training loop calls `begin` once network and optimizer are built, starts at `epoch` and
    `batch`, and calls the other methods as it goes on.
    """

    def __init__(
        self,
        report: zoo.Report,
        epochs: int,
        *,
        callbacks: Sequence[Any] = (),
        checkpoint: zoo.Checkpoint | None = None,
        events: Events | None = None,
    ) -> None:
        """`callbacks` are Keras's, of which an EarlyStopping at the front says why it stops."""
        self.epochs = epochs
        self.epoch = 0
        """Epochs that have ended."""
        self.batch = 0
        """Batches of the next epoch that have been trained on."""
        self.checkpoint = checkpoint
        self.has_batch_hooks = any(
            _overrides(each, name) for each in callbacks for name in PER_BATCH
        )
        """Whether a callback is to be called for each batch."""
        self._report = report
        self._events = events
        self._given = list(callbacks)
        self._metrics: list[Array] = []
        self._is_stopped = False
        self._has_begun = False

    @property
    def is_over(self) -> bool:
        """Whether all epochs have been trained, or a callback has stopped the training."""
        return self.epoch >= self.epochs or self._is_stopped

    def begin(self, keras: Any, network: Any, steps: int) -> None:
        """Begin, or restore the newest checkpoint; `steps` is the number of batches of an epoch."""
        self._network = network
        self._steps = steps
        self._callbacks = keras.callbacks.CallbackList(
            self._given, model=network, epochs=self.epochs, steps=steps, verbose=0
        )
        network.stop_training = False
        self._callbacks.on_train_begin()
        self._has_begun = True
        folder = self.checkpoint.latest() if self.checkpoint else None
        if folder is not None:
            facts = state.restore(folder, network, self._given)
            self.epoch, self.batch = facts["epoch"], facts["batch"]
            self._is_stopped = facts["stopped"]
            self._metrics = state.metric_values(network)
            if self._events is not None:
                self._events.restore(folder / OWN)
        self._due = time.monotonic() + REPORT_SECONDS
        if self._is_stopped:
            self._report.done(self._why())

    def begin_epoch(self) -> None:
        """Begin an epoch, or go on within it; metrics must have been reset."""
        if self.batch:
            state.set_metrics(self._network, self._metrics)
        else:
            self._callbacks.on_epoch_begin(self.epoch)

    def begin_batch(self, batch: int) -> None:
        """Call the callbacks before a batch."""
        if self.has_batch_hooks:
            self._callbacks.on_train_batch_begin(batch)

    def end_batch(self, batch: int, logs: Any) -> None:
        """Call the callbacks after a batch, and count it."""
        if self.has_batch_hooks:
            self._callbacks.on_train_batch_end(batch, logs)
        self.batches_done(batch + 1)

    def batches_done(self, batch: int) -> None:
        """Count the batches of this epoch up to here; report them and save if it is time."""
        self.batch = batch
        if time.monotonic() < self._due or batch >= self._steps:
            return
        self._due = time.monotonic() + REPORT_SECONDS
        step = self.epoch * self._steps + batch
        self._report(step, self.epochs * self._steps, "batch")
        self._save_if_due(step)

    def begin_validation(self) -> None:
        """Call the callbacks before the validation rows are judged."""
        self._callbacks.on_test_begin()

    def begin_validation_batch(self, batch: int) -> None:
        """Call the callbacks before a batch of validation rows."""
        if self.has_batch_hooks:
            self._callbacks.on_test_batch_begin(batch)

    def end_validation_batch(self, batch: int, logs: Any) -> None:
        """Call the callbacks after a batch of validation rows."""
        if self.has_batch_hooks:
            self._callbacks.on_test_batch_end(batch, logs)

    def end_validation(self, logs: Any) -> None:
        """Call the callbacks after the validation rows have been judged."""
        self._callbacks.on_test_end(logs)

    def end_epoch(self, logs: dict[str, Any]) -> None:
        """End an epoch with its metrics, those of validation rows named `val_...`."""
        self._callbacks.on_epoch_end(self.epoch, logs)
        self._is_stopped = bool(self._network.stop_training)
        self.epoch, self.batch = self.epoch + 1, 0
        metrics = {_reported(name): float(value) for name, value in logs.items()}
        if self._events is not None:
            self._events.write(self.epoch, metrics)
        self._report(self.epoch, self.epochs, "epoch", **metrics)
        self._save_if_due(self.epoch)
        if self._is_stopped:
            self._report.done(self._why())

    def end(self) -> None:
        """End the training; EarlyStopping then restores the best weights."""
        if self._has_begun:
            self._has_begun = False
            self._callbacks.on_train_end()

    def _save_if_due(self, step: int) -> None:
        if self.checkpoint is None or not self.checkpoint.is_due():
            return
        with self.checkpoint.save(step) as folder:
            facts = {"epoch": self.epoch, "batch": self.batch, "stopped": self._is_stopped}
            state.save(folder, self._network, self._given, facts)
            if self._events is not None:
                self._events.save(folder / OWN)

    def _why(self) -> str:
        for each in self._given:
            if getattr(each, "stopped_epoch", 0) > 0 and hasattr(each, "best_epoch"):
                epochs = "1 epoch" if each.wait == 1 else f"{each.wait} epochs"
                best = f": weights of epoch {each.best_epoch + 1}"
                return f"no better for {epochs}" + (best if each.restore_best_weights else "")
        return "stopped by a callback"


def _reported(name: str) -> str:
    return name if name.startswith("val_") else f"train_{name}"


def _overrides(callback: Any, hook: str) -> bool:
    from keras.callbacks import Callback

    # LambdaCallback sets methods on the object.
    return getattr(getattr(callback, hook), "__func__", None) is not getattr(Callback, hook)
