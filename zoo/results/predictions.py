"""Read what a finished job has predicted, image by image."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from zoo.errors import ArtifactError, reason
from zoo.storage import artifacts
from zoo.training.run import PREDICTIONS

if TYPE_CHECKING:
    from zoo.jobs import Job
    from zoo.model import Array
    from zoo.settings import Settings


@dataclass(frozen=True)
class Predictions:
    """The predictions of a job for n images."""

    index: Array
    """Position of each image in the split, int64 (n,)."""
    labels: Array
    """True class of each image, int64 (n,)."""
    predicted: Array
    """Predicted class, int64 (n,)."""
    probabilities: Array | None
    """float32 (n, n_classes), if the model has any."""

    @property
    def confidence(self) -> Array | None:
        """The probability of the predicted class, (n,)."""
        import numpy as np

        if self.probabilities is None:
            return None
        found: Array = self.probabilities[np.arange(len(self.predicted)), self.predicted]
        return found


def read_predictions(file: Path | IO[bytes]) -> Predictions:
    """Read a `predictions.npz`; a damaged file raises almost any exception."""
    import numpy as np

    with np.load(file, allow_pickle=False) as found:
        names = ("index", "label", "predicted")
        index, labels, predicted = (found[name].astype("int64") for name in names)
        return Predictions(index, labels, predicted, found.get("probabilities"))


def load_predictions(settings: Settings, job: Job) -> Predictions:
    """Load the predictions that a job has stored, and check their shapes and classes.

    Raises ArtifactError if they are gone or damaged.
    """
    where, sha256 = job.stored_artifact()
    content = artifacts.read(settings.artifacts, where, sha256, PREDICTIONS)
    try:
        found = read_predictions(io.BytesIO(content))
        _check(found, len(job.class_names))
    # A damaged file raises almost anything: BadZipFile, EOFError, ValueError, MemoryError...
    except Exception as error:
        raise ArtifactError(
            f"The predictions of {job.id[:8]} cannot be read: {reason(error)}."
        ) from None
    return found


def _check(found: Predictions, n_classes: int) -> None:
    index, labels, predicted = found.index, found.labels, found.predicted
    same = labels.ndim == 1 and index.shape == predicted.shape == labels.shape and len(labels) > 0
    if not same or index.min() < 0:
        raise ValueError("they are not of the shape that was stored")
    if any(each.min() < 0 or each.max() >= n_classes for each in (labels, predicted)):
        raise ValueError("they are not of the classes that were stored")
    if found.probabilities is not None and found.probabilities.shape != (len(labels), n_classes):
        raise ValueError("their probabilities are not of the shape that was stored")
