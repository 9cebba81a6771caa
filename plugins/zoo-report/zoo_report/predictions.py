"""What a job predicted: which mistakes it was surest of, and how far its probabilities are true."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from zoo.data.preprocessing import prepare
from zoo.plugins import registry
from zoo.results.predictions import Predictions

if TYPE_CHECKING:
    from zoo.model import Array

BINS = 15
"""Of the confidence, equally wide: as many as in the paper."""


class Calibration(NamedTuple):
    """For each bin of the confidence: what the model claims, and what is true."""

    counts: Array
    """Images in the bin, (BINS,)."""
    confidence: Array
    """Their mean confidence; NaN in an empty bin."""
    accuracy: Array
    """Which part of them is right; NaN in an empty bin."""
    error: float
    """The expected calibration error."""


def mistakes(said: Predictions, most: int | None = None) -> Array:
    """The rows of the wrong predictions, the surest first; without probabilities, as they come."""
    import numpy as np

    wrong = np.flatnonzero(said.labels != said.predicted)
    if said.confidence is not None:
        wrong = wrong[np.argsort(-said.confidence[wrong], kind="stable")]
    first: Array = wrong[:most]
    return first


def images(job: dict[str, Any], index: Array, fingerprint: str) -> Array | None:
    """The images (n, 28, 28) of the job's dataset as the model saw them, but never flattened.

    None if the dataset is no longer what was judged. Raises ZooError if it cannot be had.
    """
    # A fold is held out of the images to train on.
    split = "train" if job["fold"] else job["split"]
    model = registry.catalogue().models.get(job["model"])
    # What the model was given is prepared already.
    dtype = model.dtype if model else "float32"
    data = prepare(job["dataset"], split, "image", dtype, preprocess=job["preprocess"])
    if data.fingerprint != fingerprint or (len(index) and index.max() >= len(data.x)):
        return None
    found: Array = data.x[index]
    return found


def calibration(said: Predictions, bins: int = BINS) -> Calibration | None:
    """Compare confidence with accuracy; None without probabilities.

    The expected calibration error is the mean over all images of |accuracy - confidence| of their
    bin: equation 3 of Guo et al. 2017, On Calibration of Modern Neural Networks, arXiv:1706.04599.
    """
    import numpy as np

    sure = said.confidence
    if sure is None or not len(sure):
        return None
    # As in the paper, a bin is without its lower end and with its upper one.
    where = np.clip(np.ceil(sure.astype("float64") * bins).astype(int) - 1, 0, bins - 1)
    counts = np.bincount(where, minlength=bins)
    right = np.bincount(where, said.labels == said.predicted, bins)
    claimed = np.bincount(where, sure, bins)
    error = float(abs(right - claimed).sum() / len(sure))
    filled = np.where(counts, counts, np.nan)
    return Calibration(counts, claimed / filled, right / filled, error)
