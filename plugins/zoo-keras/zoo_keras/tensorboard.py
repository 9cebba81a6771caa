"""Event files for TensorBoard: what each epoch measured, and how the weights are spread."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import zoo

if TYPE_CHECKING:
    from zoo.model import Array

FOLDER = "tensorboard"
BINS = 30
"""Of a histogram, as TensorBoard's own."""
LARGEST = 1_000_000
"""Numbers of an array of weights that still gets a histogram: to count so many takes 50 ms."""


@contextlib.contextmanager
def kept(folder: Path | None, network: Any, report: zoo.Report) -> Iterator[zoo.Report]:
    """Give the report that a training is to call: it writes events too, if there is a folder."""
    if folder is None:
        yield report
        return
    import tensorflow as tf

    writer = tf.summary.create_file_writer(str(folder / FOLDER))
    try:
        yield _Events(writer, network, report)
    finally:
        writer.close()


class _Events:
    """Passes a report on, and writes the metrics of each epoch: nothing that training looks at."""

    def __init__(self, writer: Any, network: Any, report: zoo.Report) -> None:
        self._writer = writer
        self._network = network
        self._report = report

    def __call__(self, step: int, total: int, unit: str = "epoch", **metrics: float) -> None:
        if metrics:
            with self._writer.as_default(step=step):
                self._write(metrics)
        self._report(step, total, unit, **metrics)

    def _write(self, metrics: dict[str, float]) -> None:
        for name, value in metrics.items():
            _scalar(name, value)
        _scalar("learning_rate", float(self._network.optimizer.learning_rate))
        for variable in self._network.trainable_variables:
            if variable.shape.num_elements() <= LARGEST:
                _histogram(variable.path, variable.numpy())


# `tf.summary.scalar` and `histogram` are TensorBoard's and raise where it is not installed. What
# they write is a tensor, with the name of TensorBoard's plugin that shows it.


def _scalar(name: str, value: float) -> None:
    import numpy as np
    import tensorflow as tf

    tf.summary.write(name, np.float32(value), metadata=_metadata("scalars", 1))


def _histogram(name: str, values: Array) -> None:
    import numpy as np
    import tensorflow as tf

    if not np.isfinite(values).all():  # of a training that diverges
        return
    counts, edges = np.histogram(values, bins=BINS)
    rows = np.stack([edges[:-1], edges[1:], counts], axis=1)
    tf.summary.write(name, rows, metadata=_metadata("histograms", 2))


def _metadata(plugin: str, data_class: int) -> Any:
    import tensorflow as tf

    found = tf.compat.v1.SummaryMetadata()
    found.plugin_data.plugin_name = plugin
    found.data_class = data_class
    return found
