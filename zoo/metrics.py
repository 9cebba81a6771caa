"""The metrics by which results are ranked: their names and directions, without numpy."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Metric:
    """A metric of a plugin, registered by the hook `register_metrics`."""

    name: str
    """Lower case letters, digits and underscores, such as `cohen_kappa`."""
    function: Callable[[Any, Any, Any, list[str]], float | None]
    """`function(y, probabilities, predicted, class_names)`: true labels int64 (n,), probabilities
    (n, n_classes) or None, predicted labels int64 (n,). Returns None where it is undefined."""
    higher_is_better: bool
    """Its direction; ranking needs it."""
    summary: str = ""
    """What it is, in one line."""


@dataclass(frozen=True)
class MetricInfo:
    """What is known of a metric without computing it."""

    name: str
    higher_is_better: bool
    summary: str
    defined: str = "always"
    """Where it has a value; elsewhere it is null."""


_BINARY = "two classes that both occur in the test split; a model with probabilities"
METRICS: Mapping[str, MetricInfo] = {
    each.name: each
    for each in (
        MetricInfo("accuracy", True, "share of correct predictions"),
        MetricInfo("balanced_accuracy", True, "mean recall of the classes in the test split"),
        MetricInfo("f1_macro", True, "mean F1 of all classes of the dataset"),
        MetricInfo(
            "matthews_corrcoef",
            True,
            "correlation of true and predicted classes",
            "two classes in the test split",
        ),
        MetricInfo("loss", False, "log loss", "a model with probabilities"),
        MetricInfo(
            "expected_calibration_error",
            False,
            "mean gap between confidence and accuracy, 15 equal bins (Guo et al. 2017)",
            "a model with probabilities",
        ),
        MetricInfo("roc_auc", True, "area under the ROC curve of the positive class", _BINARY),
        MetricInfo("average_precision", True, "average precision of the positive class", _BINARY),
        MetricInfo(
            "top_5_accuracy",
            True,
            "share of inputs whose class is among the five most probable",
            "more than ten classes; a model with probabilities",
        ),
    )
}
"""The metrics that Zoo computes of predictions, in the order of display."""
OF_PLUGIN = "where the plugin says"
"""Where the metrics of plugins are defined."""
COSTS: Mapping[str, MetricInfo] = {
    each.name: each
    for each in (
        MetricInfo("fit_seconds", False, "time of the training in seconds"),
        MetricInfo("predict_us_per_image", False, "time of a prediction in microseconds"),
        MetricInfo("parameters", False, "number of trained parameters"),
        MetricInfo("weights_bytes", False, "size of the weights"),
    )
}
"""What a result costs; results can be ranked by it, too."""
PARTS = ("val_", "train_")
"""Prefixes of a metric's name: it is of the validation rows, or of the training rows."""


def from_confusion_matrix(matrix: Sequence[Sequence[int]]) -> dict[str, float | None]:
    """Return the metrics that a confusion matrix (true class, predicted class) determines.

    For results of before they were measured. Raises ValueError if it is no matrix of counts.
    """
    size = len(matrix)
    is_counted = all(type(n) is int and n >= 0 for row in matrix for n in row)
    if not is_counted or any(len(row) != size for row in matrix):
        raise ValueError("this is no confusion matrix")
    support, predicted = _totals(matrix)
    if not any(support):
        raise ValueError("this confusion matrix is empty")
    hits = [row[i] for i, row in enumerate(matrix)]
    recalls = [hit / n for hit, n in zip(hits, support, strict=True) if n]
    totals = [n + p for n, p in zip(support, predicted, strict=True)]
    f1 = [2 * hit / n if n else 0.0 for hit, n in zip(hits, totals, strict=True)]
    return {
        "balanced_accuracy": sum(recalls) / len(recalls),
        "f1_macro": sum(f1) / size,
        "matthews_corrcoef": matthews(matrix),
    }


def matthews(matrix: Sequence[Sequence[int]]) -> float | None:
    """Return the Matthews correlation of a confusion matrix.

    None if only one class occurs in the labels, where it is 0/0; 0, as scikit-learn has it, where
    all predictions are one class. J. Gorodkin, Comparing two K-category assignments by a K-category
    correlation coefficient, Computational Biology and Chemistry 28 (2004), 367-374.
    """
    # Python's integers are exact.
    true, predicted = _totals(matrix)
    if sum(n > 0 for n in true) < 2:
        return None
    n, right = sum(true), sum(row[i] for i, row in enumerate(matrix))
    together = right * n - sum(t * p for t, p in zip(true, predicted, strict=True))
    spread = (n * n - sum(p * p for p in predicted)) * (n * n - sum(t * t for t in true))
    return together / math.sqrt(spread) if spread else 0.0


def _totals(matrix: Sequence[Sequence[int]]) -> tuple[list[int], list[int]]:
    """Return the sums of rows and columns."""
    return [sum(row) for row in matrix], [sum(column) for column in zip(*matrix, strict=True)]


def base_name(name: str) -> str:
    """Return the metric's name without its part: `val_loss` is `loss` of the validation rows."""
    for part in PARTS:
        if name.startswith(part):
            return name.removeprefix(part)
    return name


def heading(name: str) -> str:
    """Return the heading of a column of this metric of results: `test accuracy`.

    `val_accuracy` is of the validation rows, and `fit_seconds` of no rows: their names stand alone.
    """
    return name if base_name(name) != name or name in COSTS else f"test {name}"


def common_heading(names: Sequence[str]) -> str:
    """Return the heading of a column of these metrics of results, one for each row."""
    first = {heading(name).partition(" ")[0] for name in names}
    if len(set(names)) == 1:
        return heading(names[0])
    return "test result" if first == {"test"} else "result"


def higher_is_better(name: str, others: Mapping[str, bool] | None = None) -> bool | None:
    """Return whether a higher value of a metric is better; None if that is not known.

    `others` has the directions of plugins' metrics.
    """
    base = base_name(name)
    known = METRICS.get(base) or COSTS.get(name)
    return known.higher_is_better if known else (others or {}).get(base)


@dataclass(frozen=True)
class Objective:
    """The metric by which results are ranked, and its direction."""

    metric: str = "accuracy"
    higher_is_better: bool = True

    @property
    def base(self) -> str:
        """The metric's name without its part."""
        return base_name(self.metric)

    @property
    def is_accuracy(self) -> bool:
        """Whether results are ranked by the accuracy on test images or folds."""
        return self.metric == "accuracy"

    def key(self, value: float | None) -> float:
        """Return a sort key: the best value first, None last."""
        if value is None:
            return math.inf
        return -value if self.higher_is_better else value

    def is_better(self, value: float, other: float) -> bool:
        """Return whether a value is better than another."""
        return self.key(value) < self.key(other)

    def to_json(self) -> dict[str, Any]:
        """Return the fields as a sweep's group stores them."""
        return {"objective": self.metric, "higher_is_better": self.higher_is_better}

    @classmethod
    def from_json(cls, about: Mapping[str, Any]) -> Objective:
        """Read the fields of a sweep's group; one of before is ranked by accuracy."""
        name, higher = about.get("objective"), about.get("higher_is_better")
        if not isinstance(name, str):
            return ACCURACY
        known = higher_is_better(name) if not isinstance(higher, bool) else higher
        return cls(name, known is not False)


ACCURACY = Objective()
