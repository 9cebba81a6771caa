"""Checks that train the model and compare its predictions."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, SupportsFloat
from unittest import SkipTest

from zoo.errors import ZooError
from zoo.model import Model
from zoo.testing.checks.fixtures import SEED, Bench, Broken, Reports, read_only
from zoo.training import evaluation

if TYPE_CHECKING:
    from zoo.model import Array

LONE_TOLERANCE = 1e-4
"""Largest difference by rounding: matrix products of another size round differently."""
LONE = "The prediction of one input depends on the others in the batch."
RARE = 0.25
"""Share of 20 inputs whose prediction may differ alone, by rounding at a threshold."""
WORSE = 0.8
"""Required accuracy as a share of that of the most frequent class, as few steps train little."""
ONE_CLASS, PER_CLASS = 1, 50


def fits_and_predicts(bench: Bench) -> None:
    """`fit` accepts read-only inputs; every input gets a class and probabilities.

    Probabilities are floats (n, n_classes), finite, not negative, with rows that sum to 1; the
    classes are integers (n,) from 0 to n_classes - 1. `weight_images` returns finite floats
    (n_classes, n_features) or None.
    """
    evaluation.weight_images(bench.trained.model)


def leaves_input_unchanged(bench: Bench) -> None:
    """`fit` and `predict` leave writable inputs and labels unchanged."""
    x, y = bench.x.copy(), bench.y.copy()
    before = _hash(x), _hash(y)
    model, _ = bench.fitted(x, y)
    evaluation.predict(model, x)
    if _hash(x) != before[0]:
        raise Broken(
            f"The {bench.unit} are changed in place, but other jobs share them: copy them first."
        )
    if _hash(y) != before[1]:
        raise Broken("The labels are changed in place: copy them first.")


def _hash(array: Array) -> str:
    return hashlib.sha256(array.tobytes()).hexdigest()


def reports_progress(bench: Bench) -> None:
    """`fit` calls `report(step, total)`; the steps rise to the total, unless it stops early."""
    steps = bench.trained.reports.steps
    if not steps:
        raise Broken("fit never calls report: call at least report(1, 1, 'fit') at its end.")
    parts = [step / total if total > 0 else math.nan for step, total, _ in steps]
    seen = ", ".join(f"{step} of {total}" for step, total, _ in steps[-3:])
    if not all(0 <= part <= 1 for part in parts) or parts != sorted(parts) or parts[-1] == 0:
        raise Broken(f"The steps that fit reports must rise to the total; they end with {seen}.")
    # Early stopping may never reach the total, but steps must count from 1.
    if parts[0] == 0 and steps[-1][0] == steps[-1][1] - 1:
        raise Broken(f"The steps that fit reports count from 1 to the total; they end with {seen}.")
    for name, value in ((n, v) for _, _, metrics in steps for n, v in metrics.items()):
        if not isinstance(value, SupportsFloat):  # numpy's and TensorFlow's numbers, too
            raise Broken(f"fit reports {name}={value!r}, which is not a number.")


class _Cancelled(Exception):
    pass


class _Cancelling(Reports):
    """A `report` function that raises, as in a job that is cancelled."""

    def __call__(self, step: int, total: int, unit: str = "epoch", **metrics: float) -> None:
        super().__call__(step, total, unit, **metrics)
        raise _Cancelled


def stops_when_report_raises(bench: Bench) -> None:
    """`fit` lets exceptions of `report` pass: that is how a job is stopped."""
    report = _Cancelling()
    try:
        bench.fitted(bench.x, bench.y, report=report)
    except _Cancelled:
        return
    if not report.steps:
        raise SkipTest("fit never calls report")
    raise Broken("fit swallows the exception that report raised, and continues.")


def predicts_inputs_independently(bench: Bench) -> None:
    """The prediction of one input does not depend on the others of the batch."""
    import numpy as np

    model, x, others = bench.trained.model, bench.x[:20], bench.x[20:40]
    whole = _values(evaluation.predict(model, x))
    # In a batch of the same size, at the same place, not even rounding differs.
    even = (np.arange(len(x)) % 2 == 0).reshape(-1, *[1] * (x.ndim - 1))
    for kept in (even, ~even):
        mixed = _values(evaluation.predict(model, read_only(np.where(kept, x, others))))
        if _differ(whole, mixed)[kept.ravel()].any():
            raise Broken(LONE)
    lone = np.concatenate([_values(evaluation.predict(model, x[i : i + 1])) for i in range(len(x))])
    # Matrix products of another size round differently, and a tree may take another branch for an
    # input on a threshold: that is rare, a real dependence is not.
    if _differ(whole, lone).mean() > RARE:
        raise Broken(LONE)


def _values(found: evaluation.Predictions) -> Array:
    """Probabilities, else labels, as rows of floats."""
    import numpy as np

    values = found.labels if found.probabilities is None else found.probabilities
    return np.asarray(values, dtype="float64").reshape(len(found.labels), -1)


def _differ(first: Array, second: Array) -> Array:
    """Rows that differ by more than rounding."""
    import numpy as np

    found: Array = np.any(np.abs(first - second) > LONE_TOLERANCE, axis=1)
    return found


def is_reproducible(bench: Bench) -> None:
    """Two trainings with the same seed predict the same to the last bit."""
    again, _ = bench.fitted(bench.x, bench.y)
    check_same(bench.trained.predictions, evaluation.predict(again, bench.x), "trained again")


def check_same(before: evaluation.Predictions, after: evaluation.Predictions, when: str) -> None:
    """Raise Broken if predictions differ in a single bit."""
    import numpy as np

    if (before.probabilities is None) != (after.probabilities is None):
        raise Broken(f"With the seed {SEED} it returns probabilities only once, when {when}.")
    pairs: list[tuple[Any, Any]] = [(before.labels, after.labels)]
    if before.probabilities is not None:
        pairs.append((before.probabilities, after.probabilities))
    for first, second in pairs:
        if not np.array_equal(first, second):
            rows = (first != second).reshape(len(first), -1).any(axis=1).sum()
            raise Broken(
                f"With the same seed and inputs, the predictions of {rows} of {len(first)} inputs "
                f"differ when {when}."
            )


def learns(bench: Bench) -> None:
    """The accuracy on the training rows is not below that of the most frequent class."""
    import numpy as np

    trained = bench.trained
    labels = evaluation.targets(trained.model, bench.y)
    accuracy = float((trained.predictions.labels == labels).mean())
    commonest = float(np.bincount(labels).max() / len(labels))
    if accuracy < WORSE * commonest:
        raise Broken(
            f"The accuracy on the training {bench.unit} is {accuracy:.0%}; always predicting the "
            f"most frequent class has {commonest:.0%}. Are the columns in the order of the labels?"
        )


def works_with_2_classes(bench: Bench) -> None:
    """A dataset of two classes can be trained on."""
    chosen = bench.y < 2
    _answers(bench, bench.x[chosen], bench.y[chosen], bench.names[:2])


def works_with_10_classes(bench: Bench) -> None:
    """A dataset of ten classes can be trained on."""
    if len(bench.names) < 10:
        raise SkipTest(f"{bench.dataset} has {len(bench.names)} classes")
    if len(bench.names) == 10:
        bench.trained  # noqa: B018 (the shared training is on ten classes)
        return
    chosen = bench.y < 10
    _answers(bench, bench.x[chosen], bench.y[chosen], bench.names[:10])


def _answers(bench: Bench, x: Array, y: Array, names: tuple[str, ...]) -> None:
    model, _ = bench.fitted(read_only(x), y, names)
    evaluation.predict(model, x)


def handles_blank_images(bench: Bench) -> None:
    """Images of a single grey level are handled in training and prediction."""
    import numpy as np

    if bench.sample.inputs.kind != "image":
        raise SkipTest(f"{bench.dataset} has no images")

    blanks = np.repeat(np.array([0, 1, 0.5], dtype=bench.x.dtype), 10)
    shape = (len(blanks), *[1] * (bench.x.ndim - 1))
    blank = np.broadcast_to(blanks.reshape(shape), (len(blanks), *bench.x.shape[1:])).copy()
    x, y = np.concatenate([bench.x, blank]), np.concatenate([bench.y, blanks > 0.6])
    model, _ = bench.fitted(read_only(x), y)
    evaluation.predict(model, read_only(blank))


def handles_single_class(bench: Bench) -> None:
    """Training rows of a single class are learned, or rejected with a message."""
    chosen = bench.y == ONE_CLASS
    x, y = bench.x[chosen][:PER_CLASS], bench.y[chosen][:PER_CLASS]
    model = _unless_rejected(lambda: bench.fitted(read_only(x), y)[0])
    if model is None:
        return
    advice = "Reject such data with a message (raise ValueError), or learn it."
    try:
        predictions = evaluation.predict(model, x)
    except ZooError as error:
        raise Broken(f"After {bench.unit} of a single class: {error.message} {advice}") from error
    right = float((predictions.labels == evaluation.targets(model, y)).mean())
    if right < 0.5:
        raise Broken(f"After {bench.unit} of a single class, the accuracy is {right:.0%}. {advice}")


def _unless_rejected(fit: Callable[[], Model]) -> Model | None:
    try:
        return fit()
    except SkipTest:
        raise
    except (ZooError, ValueError) as error:
        if not str(error).strip():
            raise Broken(
                f"A single class raises {type(error).__name__} without a message."
            ) from error
        return None
