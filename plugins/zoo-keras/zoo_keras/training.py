"""Train a compiled network as Keras's own `fit` does, to the last bit, but an epoch at a time."""

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
"""Between two reports within an epoch."""
ALIGNMENT = 64
"""Bytes; TensorFlow reads an array where it lies if it begins at a multiple of this."""
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
    small network. Where `fit_in_graph` is known to do the same, an epoch is one loop in a graph.
    The learning rate of a schedule may differ there in its last bit: TensorFlow reorders its terms.
    """
    train = fit_in_graph if is_known(keras, network) else fit_plainly
    with _forgotten_gradients():
        train(keras, network, x, y, batch_size=batch_size, epochs=epochs, report=report)


def is_known(keras: Any, network: Any) -> bool:
    """Tell whether this is the Keras that was tested, on one device and without XLA."""
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
def _forgotten_gradients() -> Iterator[None]:
    """Drop at the end the gradients that tracing has registered, and with them whole graphs.

    TensorFlow 2.21 keeps them for ever (its issue 97697): 1.6 MB and 2,000 objects a fit, so that
    each collection of garbage takes longer than the last.
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
    import tensorflow as tf

    train = _steps(network, _placed(x), tf.constant(y), batch_size)
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
    """Make the function (order, first, last) that trains on the batches first to last - 1."""
    import tensorflow as tf

    # Else the first trace makes the variables of optimizer and metrics, and a second one follows.
    network._symbolic_build(data_batch=(images[:batch_size], labels[:batch_size]))

    # As in `fit`, where the graph knows the size of a batch if all have the same. It decides bits,
    # for TensorFlow turns a division by a known number into a product; and it saves a tenth.
    is_even = len(images) % batch_size == 0

    # Without autograph, which would read and convert the source of Keras.
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

        # One after the other: each begins with the weights that the last one left.
        tf.while_loop(lambda batch: batch < last, step, (first,), parallel_iterations=1)

    return train


def _orders(n_images: int) -> Any:
    """Make the dataset that gives, each time it is read, the rows of all images as `fit` does."""
    import numpy as np
    from keras.src.trainers.data_adapters.array_data_adapter import ArrayDataAdapter

    # Keras's own shuffling, of row numbers instead of rows: it depends on their number alone.
    rows = np.arange(n_images)
    return ArrayDataAdapter(rows, batch_size=n_images, shuffle=True).get_tf_dataset()


def _placed(x: Array) -> Any:
    """Give TensorFlow the images: where they lie, if it can read them there, else as a copy."""
    import numpy as np
    import tensorflow as tf

    if not x.flags.c_contiguous or x.ctypes.data % ALIGNMENT:
        return tf.constant(x)
    # DLPack has no word for read-only, and training only reads. `owner` holds the memory.
    seen = x.__array_interface__ | {"data": (x.ctypes.data, False)}
    shared = np.asarray(SimpleNamespace(__array_interface__=seen, owner=x))
    return tf.experimental.dlpack.from_dlpack(shared.__dlpack__())


def _next_size(size: int, seconds: float) -> int:
    """How many batches the next call takes, so that a report is never long overdue."""
    return max(1, int(size * REPORT_SECONDS / max(seconds, 1e-6)))


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
