"""Evaluate a trained model: check its predictions, then measure them."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from zoo.errors import PluginError, UsageError, reason
from zoo.metrics import METRICS, Metric
from zoo.model import Model
from zoo.training import classification_metrics

if TYPE_CHECKING:
    from zoo.model import Array

log = logging.getLogger(__name__)

SUM_TOLERANCE = 1e-3
"""Largest deviation of the sum of probabilities from 1: float32 over many classes."""


class Predictions(NamedTuple):
    """The predictions of a model for n images."""

    labels: Array
    """The predicted class, int64 (n,)."""
    probabilities: Array | None
    """The probability of each class, (n, n_classes); None if the model returns none."""
    seconds: float
    """Time to predict the labels."""


def renamed(labels: Array, names: Sequence[str], known: Sequence[str]) -> Array:
    """Map labels from indices into `names` to indices into `known`.

    Classes without a label may be unknown. Raises UsageError if another one is not in `known`.
    """
    import numpy as np

    if list(names) == list(known):
        return labels
    places = {name: label for label, name in enumerate(known)}
    given = [names[label] for label in np.unique(labels).tolist()]
    if strange := [name for name in given if name not in places]:
        raise UsageError(
            f"The model was trained on the classes {', '.join(known)}, which have no "
            f"{', '.join(strange)}.",
            "Evaluate it on inputs of those classes.",
        )
    found: Array = np.array([places.get(name, -1) for name in names], dtype="int64")[labels]
    return found


def targets(model: Model, y: Array) -> Array:
    """Map the labels of the dataset to those of the model.

    Raises PluginError if the model does not return one class for each image.
    """
    return _checked_labels(model, model.labels(y), len(y), "turned the dataset's labels into")


def predict(model: Model, x: Array) -> Predictions:
    """Predict a class and, if the model has them, probabilities for every image.

    Raises PluginError for predictions that break the contract.
    """
    if len(x) == 0:
        return _of_nothing(model, x)
    start = time.perf_counter()
    given = model.predict_proba(x)
    probabilities = None if given is None else _checked_probabilities(model, given, len(x))
    if probabilities is not None and type(model).predict is Model.predict:
        # The default `predict` is the argmax of these probabilities.
        labels = probabilities.argmax(axis=1)
    else:
        start = time.perf_counter()
        labels = model.predict(x)
    seconds = time.perf_counter() - start
    labels = _checked_labels(model, labels, len(x), "predicted")
    return Predictions(labels, probabilities, seconds)


def _of_nothing(model: Model, x: Array) -> Predictions:
    """Predictions for zero images, which most libraries reject: predict a blank image, drop it."""
    import numpy as np

    one = predict(model, np.zeros((1, *x.shape[1:]), x.dtype))
    probabilities = None if one.probabilities is None else one.probabilities[:0]
    return Predictions(one.labels[:0], probabilities, 0.0)


def weight_images(model: Model) -> Array | None:
    """Return the model's weights as images, float32 (n_classes, n_features).

    None for models that have none, and for models of tables.

    Raises PluginError for weights of another shape, or that are not finite.
    """
    import numpy as np

    is_table = len(model.input_shape) == 1
    given = None if is_table else model.weight_images()
    if given is None:
        return None
    images = np.asarray(given)
    if images.shape != (model.n_classes, model.n_features) or images.dtype.kind != "f":
        what = f"{images.dtype} {images.shape}, not float ({model.n_classes}, {model.n_features})"
        raise _broken(model, f"returned its weights as {what}")
    if not np.isfinite(images).all():
        raise _broken(model, "returned weights that are not finite")
    return images.astype("float32")


def measure(
    labels: Array,
    predictions: Predictions,
    class_names: Sequence[str],
    positive: str | None = None,
    others: Iterable[Metric] = (),
) -> dict[str, Any]:
    """Compare predictions with the true labels: `zoo.metrics.METRICS`, and metrics for each class.

    Precision, recall and f1 are computed from the confusion matrix and equal those of
    scikit-learn's `precision_recall_fscore_support`; they are 0 where the denominator is 0.

    Args:
        labels: The true classes, int64 (n,).
        predictions: What the model predicts for them.
        class_names: All classes of the dataset.
        positive: The class that metrics of two classes look for; by default the second one.
        others: Metrics of plugins.

    Returns:
        The metrics, as JSON; None where a metric is undefined.
    """
    known = len(class_names)
    matrix = classification_metrics.confusion_matrix(labels, predictions.labels, known)
    hits, support, predicted = matrix.diagonal(), matrix.sum(axis=1), matrix.sum(axis=0)
    columns = {
        "precision": _shares(hits, predicted),
        "recall": _shares(hits, support),
        "f1": _shares(2 * hits, support + predicted),
        "support": support.tolist(),
    }
    rows = zip(*columns.values(), strict=True)
    looked_for = class_names.index(positive) if positive in class_names else 1
    probabilities = predictions.probabilities
    ranked = classification_metrics.from_probabilities(
        labels, predictions.labels, probabilities, known, looked_for
    )
    return {
        "accuracy": float(hits.sum() / len(labels)),
        "loss": classification_metrics.log_loss(labels, probabilities),
        **classification_metrics.from_counts(matrix),
        **ranked,
        **{each.name: _plugin_value(each, labels, predictions, class_names) for each in others},
        # A list keeps the order of the labels; JSON objects do not.
        "classes": list(class_names),
        "per_class": {
            name: dict(zip(columns, row, strict=True))
            for name, row in zip(class_names, rows, strict=True)
        },
        "confusion_matrix": matrix.tolist(),
        "n_images": len(labels),
        "predict_us_per_image": predictions.seconds / len(labels) * 1e6,
    }


def measure_validation(
    model: Model, x: Array, y: Array, positive: str | None = None, others: Sequence[Metric] = ()
) -> dict[str, Any]:
    """Return the metrics of a trained model on validation rows, named `val_accuracy`..."""
    labels = targets(model, y)
    found = measure(labels, predict(model, x), model.class_names, positive, others)
    names = (*METRICS, *(each.name for each in others))
    return {f"val_{name}": found[name] for name in names if name in found}


def _plugin_value(
    metric: Metric, labels: Array, predictions: Predictions, class_names: Sequence[str]
) -> float | None:
    """Return a plugin's metric; None, with a warning, if it fails: the training is kept."""
    import numpy as np

    arrays = (labels, predictions.probabilities, predictions.labels)
    y, probabilities, predicted = (None if a is None else a.view() for a in arrays)
    for each in (y, probabilities, predicted):
        if each is not None:
            each.flags.writeable = False
    try:
        value = metric.function(y, probabilities, predicted, list(class_names))
    except Exception as error:
        log.warning("The metric %s failed: %s.", metric.name, reason(error))
        return None
    is_number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    if value is None or (is_number and math.isfinite(value)):
        return None if value is None else float(value)
    log.warning("The metric %s returned %.100r, which is no finite number.", metric.name, value)
    return None


def _shares(parts: Array, wholes: Array) -> list[float]:
    import numpy as np

    shares: list[float] = np.where(wholes > 0, parts / np.maximum(wholes, 1), 0.0).tolist()
    return shares


def _checked_labels(model: Model, given: Any, n_images: int, verb: str) -> Array:
    import numpy as np

    labels = np.asarray(given)
    if labels.shape != (n_images,) or labels.dtype.kind not in "iu":
        what = f"{verb} {labels.dtype} {labels.shape}, not one integer for each image"
        raise _broken(model, what)
    if labels.size and not 0 <= labels.min() <= labels.max() < model.n_classes:
        raise _broken(
            model, f"{verb} {labels.min()}..{labels.max()}, but has {model.n_classes} classes"
        )
    return labels.astype("int64")


def _checked_probabilities(model: Model, given: Any, n_images: int) -> Array:
    import numpy as np

    probabilities = np.asarray(given)
    shape = (n_images, model.n_classes)
    if probabilities.shape != shape or probabilities.dtype.kind != "f":
        what = f"{probabilities.dtype} {probabilities.shape}, not float {shape}"
        raise _broken(model, f"returned probabilities as {what}")
    if not np.isfinite(probabilities).all():
        raise _broken(
            model,
            "returned probabilities that are not finite",
            "Its training may have diverged: try a lower learning_rate.",
        )
    sums = probabilities.sum(axis=1)
    if probabilities.min() < 0 or abs(sums - 1).max() > SUM_TOLERANCE:
        raise _broken(model, "returned probabilities that are negative or do not sum to 1")
    # A sum of 1.001 is accepted; a single probability must not exceed 1.
    checked: Array = np.minimum(probabilities, 1)
    return checked


def _broken(
    model: Model, what: str, hint: str = "Report it to the author of the plugin."
) -> PluginError:
    return PluginError(f"The model '{model.name}' {what}.", hint)
