"""Metrics of a classification, computed with numpy alone and equal to scikit-learn's.

Importing scikit-learn takes longer than a short job; `tests/unit/test_metrics.py` compares every
value with its functions.
"""

from __future__ import annotations

import functools
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
Function = Callable[["Array", "Array", "Array | None"], float | None]
"""Computes a metric from labels (n,), predicted classes (n,) and probabilities or None."""


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
    found = _probability_functions(n_classes, positive)
    return {name: function(labels, predicted, probabilities) for name, function in found.items()}


def metric_function(name: str, n_classes: int, positive: int = 1) -> Function | None:
    """Return the function of labels, predicted classes and probabilities that computes a metric.

    None for a name that is no metric of predictions on N classes.
    """
    if name == "accuracy":
        return lambda labels, predicted, _: float((labels == predicted).mean())
    if name == "loss":
        return lambda labels, _, p: log_loss(labels, p)
    if name in ("balanced_accuracy", "f1_macro", "matthews_corrcoef"):
        return lambda labels, predicted, _: from_counts(
            confusion_matrix(labels, predicted, n_classes)
        )[name]
    return _probability_functions(n_classes, positive).get(name)


def confusion_matrix(labels: Array, predicted: Array, n_classes: int) -> Array:
    """Count the pairs of true and predicted class, int64 (n_classes, n_classes)."""
    import numpy as np

    pairs: Array = np.bincount(labels * n_classes + predicted, minlength=n_classes * n_classes)
    return pairs.reshape(n_classes, n_classes)


def log_loss(labels: Array, probabilities: Array | None) -> float | None:
    """Return the log loss, bit for bit equal to scikit-learn's; None without probabilities.

    Instead of multiplying by one-hot labels, the probability of the true class is selected.
    """
    if probabilities is None:
        return None
    import numpy as np

    chosen = probabilities[np.arange(len(labels)), labels]
    if chosen.dtype.itemsize > np.dtype("float64").itemsize:
        chosen = chosen.astype("float64")
    eps = np.finfo(chosen.dtype).eps
    return float(np.mean(-np.log(np.clip(chosen, eps, 1 - eps))))


def _probability_functions(n_classes: int, positive: int) -> dict[str, Function]:
    found = {"expected_calibration_error": _of_probabilities(_calibration_error)}
    if n_classes == 2:
        for name, curve in (("roc_auc", _roc_auc), ("average_precision", _average_precision)):
            found[name] = _of_probabilities(functools.partial(_binary, curve, positive))
    if n_classes > MANY_CLASSES:
        found["top_5_accuracy"] = _of_probabilities(_top_accuracy)
    return found


def _of_probabilities(function: Callable[[Array, Array, Array], float | None]) -> Function:
    return lambda labels, predicted, p: None if p is None else function(labels, predicted, p)


def _binary(
    curve: Callable[[Array, Array], float],
    positive: int,
    labels: Array,
    _: Array,
    probabilities: Array,
) -> float | None:
    is_positive = labels == positive
    if is_positive.all() or not is_positive.any():
        return None
    return curve(*_counts_by_threshold(is_positive, probabilities[:, positive]))


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

    # Equal scores count together, so that their order does not matter: not the slower stable sort.
    order = np.argsort(-scores)
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


def _top_accuracy(labels: Array, _: Array, probabilities: Array) -> float:
    """Return the share of rows whose class is among the five most probable.

    Of equal probabilities the class with the larger label comes first, as in scikit-learn.
    """
    import numpy as np

    own = probabilities[np.arange(len(labels)), labels][:, None]
    is_later = np.arange(probabilities.shape[1]) > labels[:, None]
    before = ((probabilities > own) | ((probabilities == own) & is_later)).sum(axis=1)
    return float((before < TOP).mean())
