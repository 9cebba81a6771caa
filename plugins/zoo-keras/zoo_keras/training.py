"""Train a compiled network as Keras's own `fit` does, to the last bit, but an epoch at a time."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import zoo

if TYPE_CHECKING:
    from zoo.model import Array

REPORT_SECONDS = 0.3
"""Between two reports within an epoch."""
PIECE = 250
"""Batches between two looks at the clock."""
KNOWN = "3.15."
"""Releases of Keras whose shuffling and step this module takes; the tests hold them to `fit`."""


def fit(
    keras: Any,
    network: Any,
    x: Array,
    y: Array,
    *,
    batch_size: int,
    epochs: int,
    report: zoo.Report,
) -> None:
    """Train the network on all images, in Keras's own order of batches, and report each epoch.

    Keras calls its train function once per batch from Python, which costs more than the batch of a
    small network. Where Keras is the one that this was tested with, each epoch is one graph.
    """
    known = keras.__version__.startswith(KNOWN) and keras.backend.backend() == "tensorflow"
    train = fit_in_graph if known else fit_plainly
    train(keras, network, x, y, batch_size=batch_size, epochs=epochs, report=report)


def fit_plainly(
    keras: Any,
    network: Any,
    x: Array,
    y: Array,
    *,
    batch_size: int,
    epochs: int,
    report: zoo.Report,
) -> None:
    """Train by `network.fit`."""
    reporter = _reporter(keras, report, epochs)
    network.fit(x, y, batch_size=batch_size, epochs=epochs, verbose=0, callbacks=[reporter])


def fit_in_graph(
    keras: Any,
    network: Any,
    x: Array,
    y: Array,
    *,
    batch_size: int,
    epochs: int,
    report: zoo.Report,
) -> None:
    """Train by the network's own `train_step`, in a loop inside a graph."""
    import numpy as np
    import tensorflow as tf
    from keras.src.trainers.data_adapters.array_data_adapter import ArrayDataAdapter

    # Keras's own shuffling of row numbers instead of rows: one element is the order of an epoch.
    orders = ArrayDataAdapter(np.arange(len(x)), batch_size=len(x), shuffle=True).get_tf_dataset()
    images, labels = tf.constant(x), tf.constant(y)
    # Else the optimizer would make its variables inside the graph, which cannot.
    network.optimizer.build(network.trainable_variables)

    @tf.function  # type: ignore[untyped-decorator]
    def train(order: Any, first: Any, last: Any) -> None:
        for batch in tf.range(first, last):
            rows = order[batch * batch_size : (batch + 1) * batch_size]
            network.train_step((tf.gather(images, rows), tf.gather(labels, rows)))

    steps = -(-len(x) // batch_size)
    due = time.monotonic() + REPORT_SECONDS
    for epoch in range(epochs):
        network.reset_metrics()
        (order,) = tf.nest.flatten(next(iter(orders)))
        for first in range(0, steps, PIECE):
            last = min(first + PIECE, steps)
            train(order, tf.constant(first), tf.constant(last))
            if time.monotonic() >= due and last < steps:
                due = time.monotonic() + REPORT_SECONDS
                report(epoch * steps + last, epochs * steps, "batch")
        _report_epoch(report, epoch, epochs, network.get_metrics_result())


def _report_epoch(report: zoo.Report, epoch: int, epochs: int, measured: dict[str, Any]) -> None:
    metrics = {f"train_{name}": float(value) for name, value in measured.items()}
    report(epoch + 1, epochs, "epoch", **metrics)


def _reporter(keras: Any, report: zoo.Report, epochs: int) -> Any:
    """Make the Keras callback that reports each epoch with its metrics, and batches in between."""

    class Reporter(keras.callbacks.Callback):  # type: ignore[misc]
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            self.epoch = epoch
            self.due = time.monotonic() + REPORT_SECONDS

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            if time.monotonic() >= self.due:
                self.due = time.monotonic() + REPORT_SECONDS
                steps = self.params["steps"]
                report(self.epoch * steps + batch + 1, epochs * steps, "batch")

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            _report_epoch(report, epoch, epochs, logs)

    return Reporter()
