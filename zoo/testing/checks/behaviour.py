"""Checks that train the model and ask it."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, SupportsFloat
from unittest import SkipTest

from zoo.errors import ZooError
from zoo.model import Model
from zoo.testing.checks.fixtures import SEED, Bench, Broken, read_only
from zoo.training import evaluation

if TYPE_CHECKING:
    from zoo.model import Array

LONE_TOLERANCE = 1e-4
"""Matrix products of another size round otherwise; more than that is no rounding."""
LONE = "An image alone gets another answer than among others."
RARE = 0.25
"""Of 20 images, those that may get another answer alone, by rounding at a threshold."""
WORSE = 0.8
"""A model that learns little in few steps may be a little worse than the commonest class."""
ONE_CLASS, PER_CLASS = 3, 50


def fits_and_predicts(bench: Bench) -> None:
    """`fit` accepts images that cannot be written to; every image gets a class and probabilities.

    Probabilities are floats (n, n_classes), finite, not negative, with rows that sum to 1; the
    classes are whole numbers (n,) from 0 to n_classes - 1. `weight_images`, if it gives any, are
    finite floats (n_classes, 784).
    """
    evaluation.weight_images(bench.trained.model)


def changes_no_input(bench: Bench) -> None:
    """Images and labels are the same after `fit` and `predict`, though they could be changed."""
    x, y = bench.images.copy(), bench.labels.copy()
    before = _hash(x), _hash(y)
    model, _ = bench.fitted(x, y)
    evaluation.predict(model, x)
    if _hash(x) != before[0]:
        raise Broken(
            "The images are changed in place: other jobs share them. Copy what you change."
        )
    if _hash(y) != before[1]:
        raise Broken("The labels are changed in place. Copy what you change.")


def _hash(array: Array) -> str:
    return hashlib.sha256(array.tobytes()).hexdigest()


def reports_progress(bench: Bench) -> None:
    """`fit` calls `report(step, total)`; the steps rise to the total, unless it ends early."""
    steps = bench.trained.reports.steps
    if not steps:
        raise Broken("fit never calls report: at the least, end it with report(1, 1, 'fit').")
    parts = [step / total if total > 0 else math.nan for step, total, _ in steps]
    seen = ", ".join(f"{step} of {total}" for step, total, _ in steps[-3:])
    if not all(0 <= part <= 1 for part in parts) or parts != sorted(parts) or parts[-1] == 0:
        raise Broken(f"The steps that fit reports must rise to the total; they end with {seen}.")
    # One that ends early may never reach the total, but has counted from 1.
    if parts[0] == 0 and steps[-1][0] == steps[-1][1] - 1:
        raise Broken(f"The steps that fit reports count from 1 to the total; they end with {seen}.")
    for name, value in ((n, v) for _, _, metrics in steps for n, v in metrics.items()):
        if not isinstance(value, SupportsFloat):  # numpy's and TensorFlow's numbers, too
            raise Broken(f"fit reports {name}={value!r}, which is no number.")


class _Cancelled(Exception):
    pass


def ends_when_report_raises(bench: Bench) -> None:
    """An exception raised by `report` passes through `fit`: so a job is stopped from outside."""
    calls = []

    def report(step: int, total: int, unit: str = "epoch", **metrics: float) -> None:
        calls.append(step)
        raise _Cancelled

    try:
        bench.fitted(bench.images, bench.labels, report=report)
    except _Cancelled:
        return
    if not calls:
        raise SkipTest("fit never calls report")
    raise Broken("fit swallows the exception that report raised, and goes on.")


def predicts_each_image_by_itself(bench: Bench) -> None:
    """What is said of an image depends on no other image that is asked about with it."""
    import numpy as np

    model, x, others = bench.trained.model, bench.images[:20], bench.images[20:40]
    whole = _said(evaluation.predict(model, x))
    # Among as many others, in the same place, not even rounding differs.
    even = (np.arange(len(x)) % 2 == 0).reshape(-1, *[1] * (x.ndim - 1))
    for kept in (even, ~even):
        mixed = _said(evaluation.predict(model, read_only(np.where(kept, x, others))))
        if _differ(whole, mixed)[kept.ravel()].any():
            raise Broken(LONE)
    lone = np.concatenate([_said(evaluation.predict(model, x[i : i + 1])) for i in range(len(x))])
    # Matrix products of another size round otherwise, and a tree behind one may take the other
    # branch where an image lies on a threshold: that is rare, a dependence is not.
    if _differ(whole, lone).mean() > RARE:
        raise Broken(LONE)


def _said(found: evaluation.Predictions) -> Array:
    """Probabilities, else labels, as rows of floats."""
    import numpy as np

    said = found.labels if found.probabilities is None else found.probabilities
    return np.asarray(said, dtype="float64").reshape(len(found.labels), -1)


def _differ(first: Array, second: Array) -> Array:
    """Which rows are not the same but for rounding."""
    import numpy as np

    found: Array = np.any(np.abs(first - second) > LONE_TOLERANCE, axis=1)
    return found


def repeats_itself(bench: Bench) -> None:
    """Trained twice with one seed, it says the same to the last bit."""
    again, _ = bench.fitted(bench.images, bench.labels)
    same_answers(bench.trained.says, evaluation.predict(again, bench.images), "trained again")


def same_answers(before: evaluation.Predictions, after: evaluation.Predictions, when: str) -> None:
    """Raise Broken where two answers differ in a single bit."""
    import numpy as np

    if (before.probabilities is None) != (after.probabilities is None):
        raise Broken(f"With the seed {SEED} it has probabilities the one time only, when {when}.")
    pairs: list[tuple[Any, Any]] = [(before.labels, after.labels)]
    if before.probabilities is not None:
        pairs.append((before.probabilities, after.probabilities))
    for first, second in pairs:
        if not np.array_equal(first, second):
            rows = (first != second).reshape(len(first), -1).any(axis=1).sum()
            raise Broken(
                f"With the same seed and images, it says something else of {rows} of {len(first)} "
                f"images when {when}."
            )


def learns(bench: Bench) -> None:
    """On its training images it is not worse than always naming the commonest class."""
    import numpy as np

    trained = bench.trained
    labels = evaluation.targets(trained.model, bench.labels)
    accuracy = float((trained.says.labels == labels).mean())
    commonest = float(np.bincount(labels).max() / len(labels))
    if accuracy < WORSE * commonest:
        raise Broken(
            f"It gets {accuracy:.0%} of its own training images right; always naming the commonest "
            f"class gets {commonest:.0%}. Are the columns in the order of the labels?"
        )


def works_with_2_classes(bench: Bench) -> None:
    """It learns a dataset of two classes."""
    chosen = bench.labels < 2
    _answers(bench, bench.images[chosen], bench.labels[chosen], bench.names[:2])


def works_with_10_classes(bench: Bench) -> None:
    """It learns a dataset of ten classes."""
    if len(bench.names) < 10:
        raise SkipTest(f"{bench.dataset} has {len(bench.names)} classes")
    if len(bench.names) == 10:
        bench.trained  # noqa: B018 (the shared training is on ten classes)
        return
    chosen = bench.labels < 10
    _answers(bench, bench.images[chosen], bench.labels[chosen], bench.names[:10])


def _answers(bench: Bench, x: Array, y: Array, names: tuple[str, ...]) -> None:
    model, _ = bench.fitted(read_only(x), y, names)
    evaluation.predict(model, x)


def bears_blank_images(bench: Bench) -> None:
    """Images of one grey, to learn from or to judge, break nothing."""
    import numpy as np

    blanks = np.repeat(np.array([0, 1, 0.5], dtype=bench.images.dtype), 10)
    shape = (len(blanks), *[1] * (bench.images.ndim - 1))
    blank = np.broadcast_to(blanks.reshape(shape), (len(blanks), *bench.images.shape[1:])).copy()
    x, y = np.concatenate([bench.images, blank]), np.concatenate([bench.labels, blanks > 0.6])
    model, _ = bench.fitted(read_only(x), y)
    evaluation.predict(model, read_only(blank))


def bears_a_single_class(bench: Bench) -> None:
    """Images of one class alone are learned, or refused in a sentence; never learned wrong."""
    chosen = bench.labels == ONE_CLASS
    x, y = bench.images[chosen][:PER_CLASS], bench.labels[chosen][:PER_CLASS]
    model = _said_no(lambda: bench.fitted(read_only(x), y)[0])
    if model is None:
        return
    advice = "Refuse such data in a sentence (raise ValueError), or learn it."
    try:
        says = evaluation.predict(model, x)
    except ZooError as error:
        raise Broken(f"After images of one class alone: {error.message} {advice}") from error
    right = float((says.labels == evaluation.targets(model, y)).mean())
    if right < 0.5:
        raise Broken(f"After images of one class alone, it gets {right:.0%} right. {advice}")


def _said_no(fit: Callable[[], Model]) -> Model | None:
    try:
        return fit()
    except SkipTest:
        raise
    except (ZooError, ValueError) as error:
        if not str(error).strip():
            raise Broken(f"A single class raises {type(error).__name__} without a word.") from error
        return None
