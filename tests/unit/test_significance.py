"""The paired tests: against scipy's own, and against the sources' formulas."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from zoo.results import significance

scores = st.floats(0, 1, allow_nan=False)
pairs = st.lists(st.tuples(scores, scores), min_size=2, max_size=12)


@given(pairs)
def test_over_seeds_the_test_is_scipys_paired_t_test(found: list[tuple[float, float]]) -> None:
    a, b = zip(*found, strict=True)
    test = significance.paired_t_test(a, b)
    assert test.difference == pytest.approx(sum(a) / len(a) - sum(b) / len(b), abs=1e-9)
    spread = max(x - y for x, y in found) - min(x - y for x, y in found)
    if spread > 1e-6:
        assert test.p == pytest.approx(float(stats.ttest_rel(a, b).pvalue), rel=1e-6, abs=1e-12)


def test_over_folds_the_variance_is_corrected_as_nadeau_and_bengio_have_it() -> None:
    a, b = [0.90, 0.92, 0.88, 0.91, 0.93], [0.88, 0.91, 0.89, 0.87, 0.90]
    d = [x - y for x, y in zip(a, b, strict=True)]
    mean = sum(d) / 5
    variance = sum((each - mean) ** 2 for each in d) / 4
    t = mean / math.sqrt((1 / 5 + 0.2 / 0.8) * variance)
    test = significance.corrected_t_test(a, b)
    assert test.p == pytest.approx(2 * stats.t.sf(abs(t), 4))
    plain = significance.paired_t_test(a, b)
    assert test.p is not None and plain.p is not None and test.p > plain.p


def test_differences_that_are_all_the_same_are_not_taken_for_certain() -> None:
    assert significance.paired_t_test([0.9, 0.9], [0.9, 0.9]).p == 1.0
    assert significance.corrected_t_test([0.9, 0.8, 0.7], [0.8, 0.7, 0.6]).p is None
    assert significance.paired_t_test([0.9], [0.8]).p is None


@given(st.integers(0, 40), st.integers(0, 40))
def test_mcnemars_test_is_exact(only_a: int, only_b: int) -> None:
    test = significance.mcnemar_test(only_a, only_b, 1000)
    n = only_a + only_b
    # Twice the lighter tail of a fair coin, by counting.
    tail = sum(math.comb(n, k) for k in range(min(only_a, only_b) + 1)) / 2**n
    assert test.p == pytest.approx(min(1.0, 2 * tail))
    assert (test.n, test.difference) == (n, pytest.approx((only_a - only_b) / 1000))


def test_a_test_over_the_rows_of_a_table_says_so() -> None:
    scores = [0.9, 0.8], [0.7, 0.7]
    for test in (
        significance.paired_t_test(*scores, "rows"),
        significance.corrected_t_test(*scores, "rows"),
        significance.mcnemar_test(3, 1, 10, "rows"),
    ):
        assert "rows" in test.about and "images" not in test.about


def test_the_randomization_test_agrees_with_scipys_exact_permutation_test() -> None:
    a = np.array([0.9, 0.8, 0.75, 0.6, 0.9, 0.7, 0.8, 0.9, 0.3, 0.6])
    b = np.array([0.7, 0.85, 0.5, 0.5, 0.8, 0.4, 0.7, 0.6, 0.4, 0.3])

    def difference(swapped: Any) -> float:
        return float(np.where(swapped, b - a, a - b).mean())

    test = significance.randomization_test(difference, len(a))
    exact = stats.permutation_test(
        (a, b), lambda x, y: (x - y).mean(), permutation_type="samples", n_resamples=np.inf
    )
    assert test.difference == pytest.approx(exact.statistic)
    assert test.p == pytest.approx(exact.pvalue, abs=0.01)
    assert significance.randomization_test(lambda _: 0.0, 5).p == 1.0
