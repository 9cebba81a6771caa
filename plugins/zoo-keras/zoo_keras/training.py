"""Train a compiled network with the same bits as Keras's `fit`, in a loop inside a graph."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple

import zoo
from zoo_keras import progress as reports
from zoo_keras.progress import Progress

if TYPE_CHECKING:
    from zoo.model import Array

ALIGNMENT = 64
"""TensorFlow uses an array without a copy if it is aligned to this number of bytes."""
KNOWN = "3.15."
"""Releases of Keras whose shuffling and step this module uses; tests compare them with `fit`."""


STATEFUL = (
    *("RandomUniform", "RandomStandardNormal", "TruncatedNormal", "ParameterizedTruncatedNormal"),
    *("RandomUniformInt", "RandomShuffle", "RandomGamma", "RandomPoissonV2", "Multinomial"),
)
"""Operations of `tf.random` whose state TensorFlow cannot save."""

log = logging.getLogger(__name__)


class Rows(NamedTuple):
    """The rows of a training."""

    x: Array
    y: Array
    batch_size: int
    sample_weight: Array | None = None
    """Weights of the rows, (n,)."""
    validation: tuple[Array, Array] | None = None
    """Inputs and labels that are judged after each epoch."""

    @property
    def steps(self) -> int:
        """Return the number of batches of an epoch."""
        return -(-len(self.x) // self.batch_size)


def fit(keras: Any, network: Any, rows: Rows, progress: Progress) -> None:
    """Train the network on all rows, in Keras's own order of batches, and report each epoch.

    Keras calls its train function once per batch from Python, which costs more than the batch of a
    small network. Where `fit_in_graph` is known to do the same, an epoch is one loop in a graph.
    The learning rate of a schedule may differ there in its last bit: TensorFlow reorders its terms.
    """
    in_graph = is_known(keras, network) and not progress.has_batch_hooks
    train = fit_in_graph if in_graph else fit_by_keras
    with _release_gradients():
        try:
            train(keras, network, rows, progress)
        except zoo.Stop:
            progress.end()
            raise


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


def fit_by_keras(keras: Any, network: Any, rows: Rows, progress: Progress) -> None:
    """Train by `network.fit`."""
    driver = _driver(keras, progress, rows.steps)
    if progress.checkpoint is not None:
        _build(network, _tensors(rows), rows.batch_size)
        # The order of batches cannot be saved: what has been trained is drawn again and skipped.
        network.make_train_function()
        network.make_test_function()
        network.train_function = driver.skipping(network, network.train_function)
        network.test_function = driver.skipping(network, network.test_function)
    try:
        network.fit(
            rows.x,
            rows.y,
            batch_size=rows.batch_size,
            epochs=progress.epochs,
            sample_weight=rows.sample_weight,
            validation_data=rows.validation,
            verbose=0,
            callbacks=[driver],
        )
    finally:
        network.train_function = network.test_function = None


def fit_in_graph(keras: Any, network: Any, rows: Rows, progress: Progress) -> None:
    """Train by the network's `train_step`, in a loop inside a graph."""
    import tensorflow as tf

    data = _tensors(rows)
    # Otherwise the first trace creates variables of optimizer and metrics, and a second follows.
    _build(network, data, rows.batch_size)
    train = _loop(network.train_step, data, rows.batch_size)
    validate = rows.validation and _validation(network, rows.validation, rows.batch_size, progress)
    orders = _orders(len(rows.x))
    if progress.checkpoint is not None and (found := _stateful(train)):
        log.warning("No checkpoints: the network uses %s, whose state cannot be saved.", found)
        progress.checkpoint = None
    progress.begin(keras, network, rows.steps)
    for _ in range(progress.epoch):
        next(iter(orders))
    size = 1
    while not progress.is_over:
        network.reset_metrics()
        order = next(iter(orders))
        progress.begin_epoch()
        done = progress.batch
        while done < rows.steps:
            start = time.monotonic()
            last = min(done + size, rows.steps)
            train(order, tf.constant(done), tf.constant(last))
            size = _next_size(last - done, time.monotonic() - start)
            done = last
            progress.batches_done(done)
        measured = _measured(network)
        if validate:
            measured |= {f"val_{name}": value for name, value in validate().items()}
        progress.end_epoch(measured)
    network.optimizer.finalize_variable_values(network.trainable_weights)
    progress.end()


def _tensors(rows: Rows) -> list[Any]:
    """Return inputs, labels and, if there are any, weights."""
    import numpy as np
    import tensorflow as tf

    data = [as_tensor(rows.x), tf.constant(rows.y)]
    if rows.sample_weight is not None:
        data.append(tf.constant(rows.sample_weight.astype(np.float32)))
    return data


def _build(network: Any, data: list[Any], batch_size: int) -> None:
    """Create the variables of optimizer and metrics."""
    network._symbolic_build(data_batch=tuple(each[:batch_size] for each in data))


def _loop(step: Callable[[Any], Any], data: list[Any], batch_size: int) -> Any:
    """Return a function (order, first, last) that calls `step` with batches first to last - 1."""
    import tensorflow as tf

    # As in `fit`, where the graph knows the size of a batch if all have the same. It decides bits,
    # for TensorFlow turns a division by a known number into a product; and it saves a tenth.
    is_even = len(data[0]) % batch_size == 0

    # Without autograph, which would convert the source of Keras.
    @tf.function(autograph=False)  # type: ignore[untyped-decorator]
    def loop(order: Any, first: Any, last: Any) -> None:
        table = tf.reshape(order, (-1, batch_size)) if is_even else None

        def one(batch: Any) -> tuple[Any]:
            if is_even:
                rows = tf.gather(table, batch)
            else:
                rows = order[batch * batch_size : (batch + 1) * batch_size]
            step(tuple(tf.gather(each, rows) for each in data))
            return (batch + 1,)

        # Sequentially: each batch starts with the weights of the previous one.
        tf.while_loop(lambda batch: batch < last, one, (first,), parallel_iterations=1)

    order = tf.TensorSpec((len(data[0]),), tf.int64)
    batch = tf.TensorSpec((), tf.int32)
    return loop.get_concrete_function(order, batch, batch)


def _validation(
    network: Any, validation: tuple[Array, Array], batch_size: int, progress: Progress
) -> Callable[[], dict[str, float]]:
    """Return a function that judges the network as `evaluate` does, in the rows' order."""
    import tensorflow as tf

    x, y = validation
    judge = _loop(network.test_step, [as_tensor(x), tf.constant(y)], batch_size)
    order, steps = tf.range(len(x), dtype=tf.int64), -(-len(x) // batch_size)

    def validate() -> dict[str, float]:
        progress.begin_validation()
        network.reset_metrics()
        judge(order, tf.constant(0), tf.constant(steps))
        measured = _measured(network)
        progress.end_validation(measured)
        return measured

    return validate


def _measured(network: Any) -> dict[str, float]:
    return {name: float(value) for name, value in network.get_metrics_result().items()}


def _stateful(function: Any) -> str:
    """Return the first operation of a traced function with a random state of its own, or ""."""
    definition = function.graph.as_graph_def(add_shapes=False)
    nodes = [*definition.node, *(n for each in definition.library.function for n in each.node_def)]
    return next((node.op for node in nodes if node.op in STATEFUL), "")


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
    return max(1, int(size * reports.REPORT_SECONDS / max(seconds, 1e-6)))


class _Driver:
    """The methods of a Keras callback that passes on what happens, once the past is skipped."""

    model: Any

    def __init__(self, keras: Any, progress: Progress, steps: int) -> None:
        super().__init__()
        self._keras = keras
        self._progress = progress
        self._steps = steps
        self._begins_at = (0, 0)
        self._at = (0, 0)

    def skipping(self, network: Any, function: Any) -> Any:
        """Return a train or test function that skips what came before the checkpoint."""

        def run(batches: Any) -> Any:
            if self._is_new:
                return function(batches)
            for _ in range(network.steps_per_execution):
                next(batches)
            return {}

        return run

    @property
    def _is_new(self) -> bool:
        return self._at >= self._begins_at

    def on_train_begin(self, logs: Any = None) -> None:
        self._progress.begin(self._keras, self.model, self._steps)
        self._begins_at = (self._progress.epoch, self._progress.batch)
        if self._progress.is_over:
            self._begins_at = (self._progress.epochs, 0)
            self.model.stop_training = True

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._at = (epoch, 0)
        if epoch >= self._begins_at[0]:
            self._progress.begin_epoch()

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        self._at = (self._at[0], batch)
        if self._is_new:
            self._progress.begin_batch(batch)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if self._is_new:
            self._progress.end_batch(batch, logs)

    def on_test_begin(self, logs: Any = None) -> None:
        if self._is_new:
            self._progress.begin_validation()

    def on_test_batch_begin(self, batch: int, logs: Any = None) -> None:
        if self._is_new:
            self._progress.begin_validation_batch(batch)

    def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
        if self._is_new:
            self._progress.end_validation_batch(batch, logs)

    def on_test_end(self, logs: Any = None) -> None:
        if self._is_new:
            self._progress.end_validation(logs)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if self._is_new:
            self._progress.end_epoch(logs)

    def on_train_end(self, logs: Any = None) -> None:
        self._progress.end()


def _driver(keras: Any, progress: Progress, steps: int) -> Any:
    class Driver(_Driver, keras.callbacks.Callback):  # type: ignore[misc]
        pass

    return Driver(keras, progress, steps)
