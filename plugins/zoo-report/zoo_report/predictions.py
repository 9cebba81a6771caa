"""Analyse the predictions of a job: its most confident mistakes, and its calibration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from zoo.data.preprocessing import prepare_splits
from zoo.plugins import registry
from zoo.results.predictions import Predictions

if TYPE_CHECKING:
    from zoo.model import Array

BINS = 15
"""Number of equally wide bins of the confidence, as in the paper."""


class Calibration(NamedTuple):
    """Confidence and accuracy for each bin of the confidence."""

    counts: Array
    """Images in the bin, (BINS,)."""
    confidence: Array
    """Their mean confidence; NaN in an empty bin."""
    accuracy: Array
    """Share of correct predictions; NaN in an empty bin."""
    error: float
    """The expected calibration error."""


def wrong_rows(found: Predictions, most: int | None = None) -> Array:
    """Return the rows of wrong predictions, by falling confidence if there are probabilities."""
    import numpy as np

    wrong = np.flatnonzero(found.labels != found.predicted)
    if found.confidence is not None:
        wrong = wrong[np.argsort(-found.confidence[wrong], kind="stable")]
    first: Array = wrong[:most]
    return first


def load_images(job: dict[str, Any], index: Array, fingerprint: str | None) -> Array | None:
    """Load prepared images of the job's dataset, (n, height, width) or (n, height, width, 3).

    None for a table, or if this machine has no such contents. Raises ZooError if they cannot be
    loaded.
    """
    # A fold is a part of the training images.
    split = "train" if job["fold"] else job["split"]
    model = registry.catalogue().models.get(job["model"])
    # In the dtype of the model, which is prepared already.
    dtype = model.dtype if model else "float32"
    (data,) = prepare_splits(
        job["dataset"],
        [split],
        "image",
        dtype,
        preprocess=job["preprocess"],
        contents=fingerprint,
    )
    is_other = data.fingerprint != fingerprint or data.meta.kind != "image"
    if is_other or (len(index) and index.max() >= len(data.x)):
        return None
    found: Array = data.x[index]
    return found


def measure_calibration(found: Predictions, bins: int = BINS) -> Calibration | None:
    """Compare confidence with accuracy; None without probabilities.

    The expected calibration error is the mean over all images of |accuracy - confidence| of their
    bin: equation 3 of Guo et al. 2017, On Calibration of Modern Neural Networks, arXiv:1706.04599.
    """
    import numpy as np

    confidence = found.confidence
    if confidence is None or not len(confidence):
        return None
    # As in the paper, a bin excludes its lower bound and includes its upper one.
    where = np.clip(np.ceil(confidence.astype("float64") * bins).astype(int) - 1, 0, bins - 1)
    counts = np.bincount(where, minlength=bins)
    right = np.bincount(where, found.labels == found.predicted, bins)
    claimed = np.bincount(where, confidence, bins)
    error = float(abs(right - claimed).sum() / len(confidence))
    filled = np.where(counts, counts, np.nan)
    return Calibration(counts, claimed / filled, right / filled, error)
