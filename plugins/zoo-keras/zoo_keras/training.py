"""Train a compiled network with the same bits as Keras's `fit`, in a loop inside a graph."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import zoo

if TYPE_CHECKING:
    from zoo.model import Array

REPORT_SECONDS = 0.3
"""Interval of reports within an epoch."""
ALIGNMENT = 64
"""TensorFlow uses an array without a copy if it is aligned to this number of bytes."""
KNOWN = "3.15."
"""Releases of Keras whose shuffling and step this module uses; tests compare them with `fit`."""


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
    small network. Where `fit_in_graph` is known to do the same, an epoch is one loop in a graph.
    The learning rate of a schedule may differ there in its last bit: TensorFlow reorders its terms.
    """
    train = fit_in_graph if is_known(keras, network) else fit_by_keras
    with _release_gradients():
        train(keras, network, x, y, batch_size=batch_size, epochs=epochs, report=report)


def is_known(keras: Any, network: Any) -> bool:
    """Return whether this is a tested release of Keras, on one device and without XLA."""
    return bool(
        keras.__version__.startswith(KNOWN)
        and keras.backend.backend() == "tensorflow"
        and keras.config.floatx() == "float32"
        and keras.config.max_epochs() is None
        and keras.config.max_steps_per_epoch() is None
        # With a GPU, Keras compiles by itself, and a compiled step rounds in another order.
        and not network.jit_compile
        and not network.run_eagerly
        and network.distribute_strategy.num_replicas_in_sync == 1
    )


@contextlib.contextmanager
def _release_gradients() -> Iterator[None]:
    """Remove the gradients that tracing has registered, which hold whole graphs.

    TensorFlow 2.21 never releases them (its issue 97697): 1.6 MB and 2,000 objects per fit, which
    slow down garbage collection.
    """
    from tensorflow.python.framework import ops

    registered = getattr(getattr(ops, "gradient_registry", None), "_registry", {})
    before = set(registered)
    try:
        yield
    finally:
        for name in [*registered]:
            if name not in before and name.startswith("CustomGradient-"):
                del registered[name]


def fit_by_keras(
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
    """Train by the network's `train_step`, in a loop inside a graph."""
    import tensorflow as tf

    train = _steps(network, as_tensor(x), tf.constant(y), batch_size)
    orders = _orders(len(x))
    steps = -(-len(x) // batch_size)
    due = time.monotonic() + REPORT_SECONDS
    size = 1
    for epoch in range(epochs):
        network.reset_metrics()
        order = next(iter(orders))
        done = 0
        while done < steps:
            start = time.monotonic()
            last = min(done + size, steps)
            train(order, tf.constant(done), tf.constant(last))
            size = _next_size(last - done, time.monotonic() - start)
            done = last
            if time.monotonic() >= due and done < steps:
                due = time.monotonic() + REPORT_SECONDS
                report(epoch * steps + done, epochs * steps, "batch")
        _report_epoch(report, epoch, epochs, network.get_metrics_result())


def _steps(network: Any, images: Any, labels: Any, batch_size: int) -> Any:
    """Return a function (order, first, last) that trains on the batches first to last - 1."""
    import tensorflow as tf

    # Otherwise the first trace creates variables of optimizer and metrics, and a second follows.
    network._symbolic_build(data_batch=(images[:batch_size], labels[:batch_size]))

    # As in `fit`, where the graph knows the size of a batch if all have the same. It decides bits,
    # for TensorFlow turns a division by a known number into a product; and it saves a tenth.
    is_even = len(images) % batch_size == 0

    # Without autograph, which would convert the source of Keras.
    @tf.function(autograph=False)  # type: ignore[untyped-decorator]
    def train(order: Any, first: Any, last: Any) -> None:
        table = tf.reshape(order, (-1, batch_size)) if is_even else None

        def step(batch: Any) -> tuple[Any]:
            if is_even:
                rows = tf.gather(table, batch)
            else:
                rows = order[batch * batch_size : (batch + 1) * batch_size]
            network.train_step((tf.gather(images, rows), tf.gather(labels, rows)))
            return (batch + 1,)

        # Sequentially: each batch starts with the weights of the previous one.
        tf.while_loop(lambda batch: batch < last, step, (first,), parallel_iterations=1)

    return train


def _orders(n_images: int) -> Any:
    """Return a dataset that yields the row numbers of all images in the order of `fit`."""
    import numpy as np
    from keras.src.trainers.data_adapters.array_data_adapter import ArrayDataAdapter

    # Keras's shuffling, applied to row numbers: it depends only on their count.
    rows = np.arange(n_images)
    return ArrayDataAdapter(rows, batch_size=n_images, shuffle=True).get_tf_dataset()


def as_tensor(x: Array) -> Any:
    """Return the images as a tensor, without a copy if they are aligned."""
    import numpy as np
    import tensorflow as tf

    if not x.flags.c_contiguous or x.ctypes.data % ALIGNMENT:
        return tf.constant(x)
    # DLPack cannot express read-only memory; training only reads. `owner` keeps it alive.
    seen = x.__array_interface__ | {"data": (x.ctypes.data, False)}
    shared = np.asarray(SimpleNamespace(__array_interface__=seen, owner=x))
    return tf.experimental.dlpack.from_dlpack(shared.__dlpack__())


def _next_size(size: int, seconds: float) -> int:
    """Return the number of batches of the next call, so that reports come in time."""
    return max(1, int(size * REPORT_SECONDS / max(seconds, 1e-6)))


def _report_epoch(report: zoo.Report, epoch: int, epochs: int, measured: dict[str, Any]) -> None:
    metrics = {f"train_{name}": float(value) for name, value in measured.items()}
    report(epoch + 1, epochs, "epoch", **metrics)


def _reporter(keras: Any, report: zoo.Report, epochs: int) -> Any:
    """Return a Keras callback that reports each epoch with its metrics, and batches in between."""

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
