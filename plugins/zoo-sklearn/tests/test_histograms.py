"""Boosted trees of one split: histograms of the drawn features alone, with the same bits."""

from __future__ import annotations

import pickle
import sys
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.ensemble import HistGradientBoostingClassifier
from zoo_sklearn.histograms import only_drawn

gradient_boosting = sys.modules[HistGradientBoostingClassifier.__module__]
grower = sys.modules[gradient_boosting.TreeGrower.__module__]


@pytest.mark.parametrize(
    ("params", "missing", "classes"),
    [
        ({"max_leaf_nodes": 2, "max_features": 0.1}, False, 10),
        ({"max_depth": 1, "max_features": 0.01}, True, 10),
        ({"max_leaf_nodes": 2, "max_features": 0.5}, True, 2),
        ({"max_leaf_nodes": 3, "max_features": 0.3}, False, 3),
        ({"max_leaf_nodes": 2, "max_features": 0.3, "interaction_cst": [{1, 2, 20}]}, False, 3),
    ],
)
def test_the_bits_are_those_of_histograms_of_all_features(
    params: dict[str, Any], missing: bool, classes: int
) -> None:
    digits = load_digits()
    x, y = digits.data[digits.target < classes], digits.target[digits.target < classes]
    if missing:
        x = np.where(x == 7, np.nan, x)
    weights = np.random.default_rng(0).uniform(0.5, 2, len(x))

    def trees() -> bytes:
        """The trees with all their numbers, and the generator that has drawn their features."""
        boosting = HistGradientBoostingClassifier(max_iter=4, random_state=42, **params)
        return pickle.dumps(boosting.fit(x, y, weights))

    expected = trees()
    with only_drawn():
        assert trees() == expected
    assert gradient_boosting.TreeGrower is grower.TreeGrower


def test_features_that_are_not_drawn_have_no_histograms(monkeypatch: pytest.MonkeyPatch) -> None:
    counted = []
    builder = grower.HistogramBuilder

    class Counting:
        def __init__(self, *args: Any) -> None:
            self._builder = builder(*args)

        def __getattr__(self, name: str) -> Any:
            return getattr(self._builder, name)

        def compute_histograms_brute(self, indices: Any, allowed: Any) -> Any:
            counted.append(len(allowed))
            return self._builder.compute_histograms_brute(indices, allowed)

    monkeypatch.setattr(grower, "HistogramBuilder", Counting)
    x, y = load_digits(return_X_y=True)
    boosting = HistGradientBoostingClassifier(max_iter=1, max_leaf_nodes=2, max_features=0.1)
    with only_drawn():
        boosting.fit(x, y)
    assert len(counted) == 10
    assert max(counted) <= 8
