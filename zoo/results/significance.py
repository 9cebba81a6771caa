"""Paired significance tests over folds, seeds or images."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from zoo.errors import ZooError

if TYPE_CHECKING:
    from zoo.model import Array

ROUNDS = 1000
"""Random exchanges of a randomization test."""


@dataclass(frozen=True)
class SignificanceTest:
    """The result of a paired test between two models, A and B."""

    name: str
    n: int
    """Number of pairs: folds, seeds, or images that exactly one model got right."""
    difference: float
    """The metric of A minus that of B; of groups the means."""
    p: float | None
    """Two-sided p-value; None if the pairs allow no test."""
    about: str
    """What the test takes as random, and its source."""
    metric: str = "accuracy"
    """The metric that is compared."""

    def to_json(self) -> dict[str, Any]:
        return dict(vars(self))


def corrected_t_test(
    a: Sequence[float], b: Sequence[float], unit: str = "images"
) -> SignificanceTest:
    """Run the corrected resampled t-test over a metric of equal folds, such as their accuracies.

    The training sets of two folds overlap, so the plain variance is too small: it is multiplied by
    1/k + n_test/n_train instead of 1/k. C. Nadeau and Y. Bengio, Inference for the Generalization
    Error, Machine Learning 52 (2003), 239-281.

    Raises:
        ZooError: If scipy is not installed.
    """
    k = len(a)
    # One of k equal folds is the test set, k - 1 are the training set.
    mean, p = _t_test(a, b, 1 / k + 1 / (k - 1))
    about = f"folds share training {unit}, for which it is corrected (Nadeau and Bengio, 2003)"
    return SignificanceTest("corrected resampled t-test", k, mean, p, about)


def paired_t_test(a: Sequence[float], b: Sequence[float], unit: str = "images") -> SignificanceTest:
    """Run the paired t-test over a metric of equal seeds on the same images.

    Raises:
        ZooError: If scipy is not installed.
    """
    mean, p = _t_test(a, b, 1 / len(a))
    about = f"chance is the seed alone: other {unit} may say something else"
    return SignificanceTest("paired t-test", len(a), mean, p, about)


def _t_test(a: Sequence[float], b: Sequence[float], share: float) -> tuple[float, float | None]:
    """Return mean difference and p; the variance of the mean is `share` of that of one pair."""
    differences = [x - y for x, y in zip(a, b, strict=True)]
    n = len(differences)
    mean = math.fsum(differences) / n
    if n < 2:
        return mean, None
    variance = math.fsum((d - mean) ** 2 for d in differences) / (n - 1)
    # Differences that are equal up to rounding say nothing about their variance.
    if variance <= (1e-12 * max(1.0, abs(mean))) ** 2:
        return mean, 1.0 if mean == 0 else None
    t = mean / math.sqrt(share * variance)
    return mean, float(2 * _scipy_stats().t.sf(abs(t), n - 1))


def mcnemar_test(only_a: int, only_b: int, n_images: int, unit: str = "images") -> SignificanceTest:
    """Run McNemar's exact test over the inputs that exactly one of two models got right.

    `unit` is their word: images or rows.

    Under the null hypothesis each model is the right one with probability 1/2. Q. McNemar, Note on
    the sampling error of the difference between correlated proportions, Psychometrika 12 (1947),
    153-157.

    Raises:
        ZooError: If scipy is not installed.
    """
    n = only_a + only_b
    p = float(_scipy_stats().binomtest(only_a, n, 0.5).pvalue) if n else 1.0
    about = f"chance is the {unit} alone: other seeds may say something else (McNemar, 1947)"
    return SignificanceTest("McNemar's exact test", n, (only_a - only_b) / n_images, p, about)


def randomization_test(
    difference: Callable[[Array], float], n: int, unit: str = "images"
) -> SignificanceTest:
    """Run the approximate randomization test over a metric of two models on the same n inputs.

    Under the null hypothesis either model may have made either prediction of an input: predictions
    are exchanged at random, ROUNDS times, always with the same random numbers. A. Yeh, More
    accurate tests for the statistical significance of result differences, COLING 2000.

    Args:
        difference: Returns the metric of A minus that of B once the predictions of the inputs where
            the given array, bool (n,), is True are exchanged.
        n: Number of inputs.
        unit: Their word: images or rows.
    """
    import numpy as np

    found = difference(np.zeros(n, dtype=bool))
    random = np.random.default_rng(0)
    # Equal up to rounding counts as equal.
    least = abs(found) - 1e-12
    as_large = sum(abs(difference(random.random(n) < 0.5)) >= least for _ in range(ROUNDS))
    about = f"chance is the {unit} alone: other seeds may say something else (Yeh, 2000)"
    p = (as_large + 1) / (ROUNDS + 1)
    return SignificanceTest("approximate randomization test", n, found, p, about)


def _scipy_stats() -> Any:
    try:
        from scipy import stats
    except ImportError:
        raise ZooError(
            "A significance test needs scipy, which is not installed here.", "pip install scipy"
        ) from None
    return stats
