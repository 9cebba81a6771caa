"""Metrics of a classification, computed with numpy alone and equal to scikit-learn's.

Importing scikit-learn takes longer than a short job; `tests/unit/test_metrics.py` compares every
value with its functions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from zoo.metrics import matthews

if TYPE_CHECKING:
    from zoo.model import Array

BINS = 15
"""Number of equally wide bins of the confidence, as in Guo et al. 2017."""
TOP = 5
"""Number of most probable classes of `top_5_accuracy`."""
MANY_CLASSES = 10
"""Above this number of classes there is a `top_5_accuracy`."""

Metrics = dict[str, float | None]


def from_counts(matrix: Array) -> Metrics:
    """Return the metrics that the confusion matrix (true class, predicted class) determines."""
    import numpy as np

    hits, support, predicted = matrix.diagonal(), matrix.sum(axis=1), matrix.sum(axis=0)
    occurring = support > 0
    recalls = hits[occurring] / support[occurring]
    totals = support + predicted
    f1 = np.where(totals > 0, 2 * hits / np.maximum(totals, 1), 0.0)
    return {
        "balanced_accuracy": float(recalls.mean()),
        "f1_macro": float(f1.mean()),
        "matthews_corrcoef": matthews(matrix.tolist()),
    }


def from_probabilities(
    labels: Array, predicted: Array, probabilities: Array | None, n_classes: int, positive: int = 1
) -> Metrics:
    """Return the metrics that take the probabilities (n, n_classes), each None without them.

    Two classes add the area under the ROC curve and the average precision of the class `positive`,
    None unless both classes occur in the labels; more than ten add the top-5 accuracy.
    """
    import numpy as np

    found: dict[str, Callable[[Array], float | None]] = {
        "expected_calibration_error": lambda p: _calibration_error(labels, predicted, p)
    }
    if n_classes == 2:
        is_defined = np.unique(labels).size == 2
        curves = {"roc_auc": _roc_auc, "average_precision": _average_precision}
        for name, curve in curves.items():
            found[name] = lambda p, curve=curve: (  # type: ignore[misc]
                curve(*_counts_by_threshold(labels == positive, p[:, positive]))
                if is_defined
                else None
            )
    if n_classes > MANY_CLASSES:
        found["top_5_accuracy"] = lambda p: _top_accuracy(labels, p)
    return {name: None if probabilities is None else f(probabilities) for name, f in found.items()}


def _calibration_error(labels: Array, predicted: Array, probabilities: Array) -> float:
    """Return the expected calibration error, equation 3 of Guo et al. 2017, arXiv:1706.04599.

    The mean over all rows of |accuracy - confidence| of their bin. As in the paper, a bin excludes
    its lower bound and includes its upper one.
    """
    import numpy as np

    confidence = probabilities[np.arange(len(labels)), predicted].astype("float64")
    bins = np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)
    right = np.bincount(bins, labels == predicted, BINS)
    claimed = np.bincount(bins, confidence, BINS)
    return float(abs(right - claimed).sum() / len(labels))


def _counts_by_threshold(is_positive: Array, scores: Array) -> tuple[Array, Array]:
    """Return true and false positives at each distinct threshold, from the highest down.

    int64 (n_thresholds + 1,); the first threshold is above all scores.
    """
    import numpy as np

    order = np.argsort(-scores, kind="stable")
    ordered = scores[order]
    ends = np.append(np.flatnonzero(np.diff(ordered)), len(ordered) - 1)
    true = np.cumsum(is_positive[order])[ends]
    false = ends + 1 - true
    return np.append(0, true), np.append(0, false)


def _roc_auc(true: Array, false: Array) -> float:
    # Trapezoids of whole numbers, which are exact: equal orders have equal areas.
    twice = int(((true[1:] + true[:-1]) * (false[1:] - false[:-1])).sum())
    return twice / (2 * int(true[-1]) * int(false[-1]))


def _average_precision(true: Array, false: Array) -> float:
    """Return the sum over thresholds of precision times the gain in recall."""
    precision = true[1:] / (true[1:] + false[1:])
    return float(((true[1:] - true[:-1]) * precision).sum() / true[-1])


def _top_accuracy(labels: Array, probabilities: Array) -> float:
    """Return the share of rows whose class is among the five most probable.

    Of equal probabilities the class with the larger label comes first, as in scikit-learn.
    """
    import numpy as np

    own = probabilities[np.arange(len(labels)), labels][:, None]
    is_later = np.arange(probabilities.shape[1]) > labels[:, None]
    before = ((probabilities > own) | ((probabilities == own) & is_later)).sum(axis=1)
    return float((before < TOP).mean())
