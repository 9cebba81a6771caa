"""Event files for TensorBoard: metrics and histograms of the weights for each epoch."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zoo.model import Array

FOLDER = "tensorboard"
BINS = 30
"""Bins of a histogram, as in TensorBoard."""
LARGEST = 1_000_000
"""Largest array of weights with a histogram, which takes 50 ms at this size."""


class EventFiles:
    """Writes the metrics of each epoch and the weights; training is not affected."""

    def __init__(self, folder: Path, network: Any) -> None:
        """The files go into a folder `tensorboard` of the folder."""
        self._folder = folder / FOLDER
        self._network = network
        self._writer: Any = None

    def write(self, step: int, metrics: dict[str, float]) -> None:
        """Write metrics, learning rate and histograms of the weights after an epoch."""
        import tensorflow as tf

        if self._writer is None:
            self._writer = tf.summary.create_file_writer(str(self._folder))
        with self._writer.as_default(step=step):
            for name, value in metrics.items():
                _scalar(name, value)
            _scalar("learning_rate", float(self._network.optimizer.learning_rate))
            for variable in self._network.trainable_variables:
                if variable.shape.num_elements() <= LARGEST:
                    _histogram(variable.path, variable.numpy())

    def save(self, folder: Path) -> None:
        """Copy the files so far."""
        if self._writer is not None:
            self._writer.flush()
        if self._folder.is_dir():
            shutil.copytree(self._folder, folder)

    def restore(self, folder: Path) -> None:
        """Take the files of `save`; what follows goes into another one, as TensorBoard allows."""
        if folder.is_dir():
            shutil.copytree(folder, self._folder)

    def close(self) -> None:
        """Finish the files."""
        if self._writer is not None:
            self._writer.close()


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
