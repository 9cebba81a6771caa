"""Metrics: equal to scikit-learn's, null where they are undefined, and what a plugin adds."""

from __future__ import annotations

import logging
import warnings
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.metrics import ACCURACY, METRICS, Metric, Objective, higher_is_better
from zoo.training.evaluation import Predictions, measure

sklearn = pytest.importorskip("sklearn.metrics")


class Problem(NamedTuple):
    """Labels and predictions; some classes may not occur among either."""

    labels: Any
    predicted: Any
    probabilities: Any
    known: int
    positive: int


@st.composite
def problems(draw: st.DrawFn) -> Problem:
    known = draw(st.just(2) | st.integers(2, 13))
    n = draw(st.integers(1, 60))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    occurring = random.permutation(known)[: draw(st.integers(1, known))]
    labels = random.choice(occurring, n).astype("int64")
    # Rounded, so that probabilities are often equal.
    raw = random.random((n, known)).round(draw(st.integers(1, 8))) + 0.01
    raw[np.arange(n), labels] += draw(st.sampled_from([0.0, 0.3, 3.0]))
    probabilities = (raw / raw.sum(axis=1, keepdims=True)).astype(
        draw(st.sampled_from(["float32", "float64"]))
    )
    own = draw(st.booleans())  # some models have labels of their own
    predicted = random.integers(0, known, n) if own else probabilities.argmax(axis=1)
    return Problem(labels, predicted, probabilities, known, draw(st.integers(0, 1)))


def reference(problem: Problem) -> dict[str, float | None]:
    """The metrics by scikit-learn's functions."""
    y, predicted, p, known, positive = problem
    every = list(range(known))
    occurring = len(set(y.tolist()))
    found = {
        "accuracy": sklearn.accuracy_score(y, predicted),
        "balanced_accuracy": sklearn.balanced_accuracy_score(y, predicted),
        "f1_macro": sklearn.f1_score(y, predicted, labels=every, average="macro", zero_division=0),
        "matthews_corrcoef": sklearn.matthews_corrcoef(y, predicted) if occurring > 1 else None,
        "loss": sklearn.log_loss(y, p, labels=every),
    }
    if known == 2:
        is_positive, scores = y == positive, p[:, positive]
        found["roc_auc"] = found["average_precision"] = None
        if occurring == 2:
            found["roc_auc"] = sklearn.roc_auc_score(is_positive, scores)
            found["average_precision"] = sklearn.average_precision_score(is_positive, scores)
    if known > 10:
        found["top_5_accuracy"] = sklearn.top_k_accuracy_score(y, p, k=5, labels=every)
    return found


def calibration_error(problem: Problem) -> float:
    """Equation 3 of Guo et al. 2017, bin by bin."""
    y, predicted, p = problem[:3]
    confidence = p[np.arange(len(y)), predicted].astype("float64")
    total = 0.0
    for i in range(15):
        inside = (confidence * 15 > i) & (confidence * 15 <= i + 1)
        if inside.any():
            gap = abs((y == predicted)[inside].mean() - confidence[inside].mean())
            total += inside.sum() / len(y) * gap
    return float(total)


@pytest.mark.slow
@settings(max_examples=80)
@given(problems())
def test_every_metric_equals_that_of_scikit_learn(problem: Problem) -> None:
    y, predicted, p, known, positive = problem
    names = [f"class {i}" for i in range(known)]
    found = measure(y, Predictions(predicted, p, 0.0), names, names[positive])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = reference(problem)
    for name, value in expected.items():
        near = None if value is None else pytest.approx(value, rel=1e-12, abs=1e-12)
        assert found[name] == near, name
    assert found["expected_calibration_error"] == pytest.approx(
        calibration_error(problem), abs=1e-9
    )
    assert expected.keys() | {"expected_calibration_error"} == METRICS.keys() & found.keys()


def test_what_is_undefined_is_null() -> None:
    y, predicted = np.array([0, 0]), np.array([0, 1])
    p = np.array([[0.9, 0.1], [0.2, 0.8]])
    one_class = measure(y, Predictions(predicted, p, 0.0), ["a", "b"])
    undefined = ("matthews_corrcoef", "roc_auc", "average_precision")
    assert [name for name in METRICS if one_class.get(name, 0) is None] == list(undefined)
    y = np.array([0, 1])
    without = measure(y, Predictions(predicted, None, 0.0), ["a", "b"])
    nulls = {name for name in METRICS if name in without and without[name] is None}
    assert nulls == {"loss", "expected_calibration_error", "roc_auc", "average_precision"}
    assert "top_5_accuracy" not in without
    assert "roc_auc" not in measure(y, Predictions(predicted, None, 0.0), ["a", "b", "c"])


def test_the_positive_class_is_the_second_one_or_the_one_that_is_named() -> None:
    y = np.array([0, 0, 1])
    p = np.array([[0.6, 0.4], [0.5, 0.5], [0.55, 0.45]])
    by = [
        measure(y, Predictions(p.argmax(axis=1), p, 0.0), ["no", "yes"], positive)
        for positive in (None, "yes", "no")
    ]
    assert by[0] == by[1]
    assert by[0]["roc_auc"] == by[2]["roc_auc"] == 0.5
    assert (by[0]["average_precision"], by[2]["average_precision"]) == (0.5, pytest.approx(5 / 6))


def test_a_metric_of_a_plugin_is_measured_and_a_broken_one_is_null(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def errors(y: Any, p: Any, predicted: Any, names: list[str]) -> float:
        assert p is None and names == ["a", "b"]
        return np.float32((y != predicted).sum())  # type: ignore[no-any-return]

    def changes(y: Any, p: Any, predicted: Any, names: list[str]) -> float:
        y[0] = 1
        return 0.0

    others = [
        Metric("errors", errors, higher_is_better=False),
        Metric("changes", changes, higher_is_better=True),
        Metric("text", lambda *_: "much", higher_is_better=True),  # type: ignore[arg-type]
        Metric("none", lambda *_: None, higher_is_better=True),
        Metric("endless", lambda *_: float("inf"), higher_is_better=True),
    ]
    y = np.array([0, 1])
    with caplog.at_level(logging.WARNING):
        found = measure(y, Predictions(np.array([1, 1]), None, 0.0), ["a", "b"], None, others)
    assert {each.name: found[each.name] for each in others} == {
        **{"errors": 1.0, "changes": None, "text": None, "none": None, "endless": None}
    }
    warned = [record.getMessage().split()[2] for record in caplog.records]
    assert warned == ["changes", "text", "endless"]
    assert y.tolist() == [0, 1]


def test_a_direction_is_that_of_the_metric_on_any_rows() -> None:
    assert higher_is_better("val_f1_macro") is True
    assert higher_is_better("train_loss") is higher_is_better("fit_seconds") is False
    assert higher_is_better("val_errors", {"errors": False}) is False
    assert higher_is_better("epochs") is None
    assert Objective.from_json({}) == Objective.from_json({"objective": "accuracy"}) == ACCURACY
    lower = Objective("loss", higher_is_better=False)
    assert Objective.from_json(lower.to_json()) == lower
    assert sorted([None, 0.5, 0.1], key=lower.key) == [0.1, 0.5, None]
    assert sorted([None, 0.5, 0.1], key=ACCURACY.key) == [0.5, 0.1, None]
    assert lower.is_better(0.1, 0.5) and not ACCURACY.is_better(0.1, 0.5)
