"""Judge a trained model: its answers checked, then measured."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from zoo.errors import PluginError, UsageError
from zoo.model import Model

if TYPE_CHECKING:
    from zoo.model import Array

SUM_TOLERANCE = 1e-3
"""Probabilities of one image may miss 1 by this much: float32 over many classes."""

PIXELS = 28 * 28


class Predictions(NamedTuple):
    """What a model says about n images."""

    labels: Array
    """The predicted class, int64 (n,)."""
    probabilities: Array | None
    """The probability of each class, (n, n_classes), if the model has any."""
    seconds: float
    """The time that it took to predict the labels."""


def renamed(labels: Array, names: Sequence[str], known: Sequence[str]) -> Array:
    """Turn labels, indices into the class names `names`, into indices into `known`.

    Raises UsageError if a class is not among those that are known.
    """
    import numpy as np

    if list(names) == list(known):
        return labels
    if strange := [name for name in names if name not in known]:
        raise UsageError(
            f"The model was trained on the classes {', '.join(known)}, which have no "
            f"{', '.join(strange)}.",
            "Judge it on images of those classes.",
        )
    found: Array = np.array([list(known).index(name) for name in names])[labels]
    return found


def targets(model: Model, y: Array) -> Array:
    """Turn the dataset's labels into the model's own.

    Raises PluginError if the model gives something else than a class for each image.
    """
    return _checked_labels(model, model.labels(y), len(y), "turned the dataset's labels into")


def predict(model: Model, x: Array) -> Predictions:
    """Ask the model about every image.

    Raises PluginError for an answer that breaks the contract.
    """
    if len(x) == 0:
        return _of_nothing(model, x)
    start = time.perf_counter()
    given = model.predict_proba(x)
    probabilities = None if given is None else _checked_probabilities(model, given, len(x))
    if probabilities is not None and type(model).predict is Model.predict:
        # That is what it does, and the work is done.
        labels = probabilities.argmax(axis=1)
    else:
        start = time.perf_counter()
        labels = model.predict(x)
    seconds = time.perf_counter() - start
    labels = _checked_labels(model, labels, len(x), "predicted")
    return Predictions(labels, probabilities, seconds)


def _of_nothing(model: Model, x: Array) -> Predictions:
    """Predictions of no image, which most libraries refuse: those of a blank one, left out."""
    import numpy as np

    one = predict(model, np.zeros((1, *x.shape[1:]), x.dtype))
    probabilities = None if one.probabilities is None else one.probabilities[:0]
    return Predictions(one.labels[:0], probabilities, 0.0)


def weight_images(model: Model) -> Array | None:
    """The trained model's weights as images, float32 (n_classes, 784), if it has any.

    Raises PluginError for weights of another shape, or that are not finite.
    """
    import numpy as np

    given = model.weight_images()
    if given is None:
        return None
    images = np.asarray(given)
    if images.shape != (model.n_classes, PIXELS) or images.dtype.kind != "f":
        what = f"{images.dtype} {images.shape}, not float ({model.n_classes}, {PIXELS})"
        raise _broken(model, f"gave its weights as {what}")
    if not np.isfinite(images).all():
        raise _broken(model, "gave weights that are not finite")
    return images.astype("float32")


def measure(labels: Array, predictions: Predictions, class_names: Sequence[str]) -> dict[str, Any]:
    """Compare the predictions with the true labels: accuracy, loss, and the same for each class.

    Precision, recall and f1 (0 where nothing was predicted or there is nothing) are read off the
    confusion matrix as scikit-learn's `precision_recall_fscore_support` does, which counts again.
    """
    import numpy as np

    known = len(class_names)
    pairs = np.bincount(labels * known + predictions.labels, minlength=known * known)
    matrix = pairs.reshape(known, known)
    hits, support, predicted = matrix.diagonal(), matrix.sum(axis=1), matrix.sum(axis=0)
    columns = {
        "precision": _shares(hits, predicted),
        "recall": _shares(hits, support),
        "f1": _shares(2 * hits, support + predicted),
        "support": support.tolist(),
    }
    rows = zip(*columns.values(), strict=True)
    return {
        "accuracy": float(hits.sum() / len(labels)),
        "loss": _loss(labels, predictions.probabilities),
        # In the order of the labels, which JSON objects do not keep.
        "classes": list(class_names),
        "per_class": {
            name: dict(zip(columns, row, strict=True))
            for name, row in zip(class_names, rows, strict=True)
        },
        "confusion_matrix": matrix.tolist(),
        "n_images": len(labels),
        "predict_us_per_image": predictions.seconds / len(labels) * 1e6,
    }


def _shares(parts: Array, wholes: Array) -> list[float]:
    import numpy as np

    shares: list[float] = np.where(wholes > 0, parts / np.maximum(wholes, 1), 0.0).tolist()
    return shares


def _loss(labels: Array, probabilities: Array | None) -> float | None:
    """The log loss, bit for bit as scikit-learn's `log_loss` has it, which takes 3 ms to begin.

    Each row there is multiplied with zeros and a single one, and added up; here that one is picked.
    """
    if probabilities is None:
        return None
    import numpy as np

    told = probabilities[np.arange(len(labels)), labels]
    if told.dtype.itemsize > np.dtype("float64").itemsize:
        told = told.astype("float64")
    eps = np.finfo(told.dtype).eps
    return float(np.mean(-np.log(np.clip(told, eps, 1 - eps))))


def _checked_labels(model: Model, given: Any, n_images: int, verb: str) -> Array:
    import numpy as np

    labels = np.asarray(given)
    if labels.shape != (n_images,) or labels.dtype.kind not in "iu":
        what = f"{verb} {labels.dtype} {labels.shape}, not one whole number for each image"
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
        raise _broken(model, f"gave probabilities as {what}")
    if not np.isfinite(probabilities).all():
        raise _broken(
            model,
            "gave probabilities that are not finite",
            "Its training may have diverged: try a lower learning_rate.",
        )
    sums = probabilities.sum(axis=1)
    if probabilities.min() < 0 or abs(sums - 1).max() > SUM_TOLERANCE:
        raise _broken(model, "gave probabilities that are negative or do not sum to 1")
    # A sum of 1.001 is let pass, a single probability of 1.001 is not one.
    checked: Array = np.minimum(probabilities, 1)
    return checked


def _broken(model: Model, what: str, hint: str = "Tell the plugin's author.") -> PluginError:
    return PluginError(f"The model '{model.name}' {what}.", hint)
