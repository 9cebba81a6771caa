"""Whether two models differ by more than chance: paired tests over equal folds, seeds or images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from zoo.errors import ZooError


@dataclass(frozen=True)
class Test:
    """A paired test between two models, of which the first is called A."""

    name: str
    n: int
    """Pairs: of folds, seeds, or images that one of the two alone got right."""
    difference: float
    """Mean of A's accuracy less B's."""
    p: float | None
    """The probability of such a difference, or a larger one, if there were none; two-sided.
    None if the pairs allow no test."""
    about: str
    """What it takes for chance, and where it is from."""

    def to_json(self) -> dict[str, Any]:
        return dict(vars(self))


def over_folds(a: Sequence[float], b: Sequence[float]) -> Test:
    """The corrected resampled t-test over the folds of one cross-validation.

    The trainings of two folds share images, so plain variance is too small: it is multiplied by
    1/k + n_test/n_train instead of 1/k. C. Nadeau and Y. Bengio, Inference for the Generalization
    Error, Machine Learning 52 (2003), 239-281. Raises ZooError if scipy is missing.
    """
    k = len(a)
    # Of k equal folds one is for the test, k - 1 for the training.
    mean, p = _t_test(a, b, 1 / k + 1 / (k - 1))
    about = "folds share training images, for which it is corrected (Nadeau and Bengio, 2003)"
    return Test("corrected resampled t-test", k, mean, p, about)


def over_seeds(a: Sequence[float], b: Sequence[float]) -> Test:
    """The paired t-test over trainings with equal seeds, judged on the same images.

    Raises ZooError if scipy is missing.
    """
    mean, p = _t_test(a, b, 1 / len(a))
    about = "chance is the seed alone: other images may say something else"
    return Test("paired t-test", len(a), mean, p, about)


def _t_test(a: Sequence[float], b: Sequence[float], share: float) -> tuple[float, float | None]:
    """The mean difference and its p; the variance of the mean is `share` of that of one pair."""
    differences = [x - y for x, y in zip(a, b, strict=True)]
    n = len(differences)
    mean = math.fsum(differences) / n
    if n < 2:
        return mean, None
    variance = math.fsum((d - mean) ** 2 for d in differences) / (n - 1)
    # Differences that are all the same, up to rounding, tell nothing of how far they scatter.
    if variance <= (1e-12 * max(1.0, abs(mean))) ** 2:
        return mean, 1.0 if mean == 0 else None
    t = mean / math.sqrt(share * variance)
    return mean, float(2 * _scipy_stats().t.sf(abs(t), n - 1))


def over_images(only_a: int, only_b: int, n_images: int) -> Test:
    """McNemar's exact test over the images that one of two models alone got right.

    If both were equally good, either would be that one half of the times. Q. McNemar, Note on the
    sampling error of the difference between correlated proportions, Psychometrika 12 (1947),
    153-157. Raises ZooError if scipy is missing.
    """
    n = only_a + only_b
    p = float(_scipy_stats().binomtest(only_a, n, 0.5).pvalue) if n else 1.0
    about = "chance is the images alone: other seeds may say something else (McNemar, 1947)"
    return Test("McNemar's exact test", n, (only_a - only_b) / n_images, p, about)


def _scipy_stats() -> Any:
    try:
        from scipy import stats
    except ImportError:
        raise ZooError(
            "A significance test needs scipy, which is not installed here.", "pip install scipy"
        ) from None
    return stats
