"""What is measured of predictions is what scikit-learn measures."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics

from zoo.training.evaluation import Predictions, measure


@pytest.mark.slow
@given(st.data(), st.integers(2, 12), st.integers(1, 60))
def test_every_number_is_scikit_learns_to_the_last_bit(data: Any, known: int, n: int) -> None:
    # Few of the classes, so that some are never predicted and some not there at all.
    some = st.lists(st.integers(0, known - 1), min_size=n, max_size=n)
    labels, predicted = (np.array(data.draw(some)) for _ in range(2))
    names = [f"class {i}" for i in range(known)]
    found = measure(labels, Predictions(predicted, None, 0.0), names)
    assert found["accuracy"] == metrics.accuracy_score(labels, predicted)
    every = np.arange(known)
    matrix = metrics.confusion_matrix(labels, predicted, labels=every)
    assert found["confusion_matrix"] == matrix.tolist()
    columns = metrics.precision_recall_fscore_support(
        labels, predicted, labels=every, zero_division=0
    )
    for name, column in zip(("precision", "recall", "f1", "support"), columns, strict=True):
        assert [found["per_class"][each][name] for each in names] == column.tolist()


@pytest.mark.slow
@given(st.integers(2, 12), st.integers(1, 60), st.integers(0, 2**32 - 1))
@pytest.mark.filterwarnings("ignore:.*sum to one")
def test_the_loss_is_scikit_learns_to_the_last_bit(known: int, n: int, seed: int) -> None:
    draw = np.random.default_rng(seed)
    labels = draw.integers(0, known, n)
    sure = draw.choice([0.1, 1.0, 10.0])  # with 0.1 some are 0 and 1, which has no logarithm
    for dtype in ("float16", "float32", "float64"):
        probabilities = draw.dirichlet(np.full(known, sure), n).astype(dtype)
        predictions = Predictions(probabilities.argmax(axis=1), probabilities, 0.0)
        found = measure(labels, predictions, [f"class {i}" for i in range(known)])
        assert found["loss"] == metrics.log_loss(labels, probabilities, labels=range(known))
