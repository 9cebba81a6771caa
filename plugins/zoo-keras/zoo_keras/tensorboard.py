"""Event files for TensorBoard: metrics and histograms of the weights for each epoch."""

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
"""Bins of a histogram, as in TensorBoard."""
LARGEST = 1_000_000
"""Largest array of weights with a histogram, which takes 50 ms at this size."""


@contextlib.contextmanager
def event_report(folder: Path | None, network: Any, report: zoo.Report) -> Iterator[zoo.Report]:
    """Yield the report function for a training, which also writes events if there is a folder."""
    if folder is None:
        yield report
        return
    import tensorflow as tf

    writer = tf.summary.create_file_writer(str(folder / FOLDER))
    try:
        yield _EventReport(writer, network, report)
    finally:
        writer.close()


class _EventReport:
    """Forwards a report, and writes the metrics of each epoch; training is not affected."""

    def __init__(self, writer: Any, network: Any, report: zoo.Report) -> None:
        self._writer = writer
        self._network = network
        self._report = report

    def __call__(self, step: int, total: int, unit: str = "epoch", **metrics: float) -> None:
        if metrics:
            with self._writer.as_default(step=step):
                self._write(metrics)
        self._report(step, total, unit, **metrics)

    def done(self, why: str) -> None:
        self._report.done(why)

    def _write(self, metrics: dict[str, float]) -> None:
        for name, value in metrics.items():
            _scalar(name, value)
        _scalar("learning_rate", float(self._network.optimizer.learning_rate))
        for variable in self._network.trainable_variables:
            if variable.shape.num_elements() <= LARGEST:
                _histogram(variable.path, variable.numpy())


# `tf.summary.scalar` and `histogram` need TensorBoard. They write a tensor with the name of the
# TensorBoard plugin that displays it; `tf.summary.write` does the same without TensorBoard.


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
