"""Histograms of the drawn features alone, for boosted trees of a single split."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zoo.model import Array


@contextlib.contextmanager
def only_drawn() -> Iterator[None]:
    """Have trees of one split, grown meanwhile, count only features that the split may use.

    With `max_features` below 1 scikit-learn draws the features after it has made the histograms of
    all of them: on images nine tenths of a round. Other trees derive their children's histograms
    from the root's and are grown as ever. The bits of all trees stay the same, so that it does not
    matter if another thread grows trees meanwhile.
    """
    from sklearn.ensemble._hist_gradient_boosting import gradient_boosting
    from sklearn.ensemble._hist_gradient_boosting.grower import TreeGrower

    gradient_boosting.TreeGrower = _grower()
    try:
        yield
    finally:
        gradient_boosting.TreeGrower = TreeGrower


@functools.cache
def _grower() -> type[Any]:
    from sklearn.ensemble._hist_gradient_boosting.grower import TreeGrower

    class Grower(TreeGrower):  # type: ignore[misc]
        histogram_builder: Any

        def _initialize_root(self) -> None:
            one_split = self.max_leaf_nodes == 2 or self.max_depth == 1
            if not one_split or self.splitter.feature_fraction_per_split >= 1:
                super()._initialize_root()
                return
            builder = self.histogram_builder
            self.histogram_builder = _OfDrawn(builder, self.splitter)
            try:
                super()._initialize_root()
            finally:
                self.histogram_builder = builder

    return Grower


class _OfDrawn:
    """Builds the root's histograms; all else is the builder's."""

    def __init__(self, builder: Any, splitter: Any) -> None:
        self._builder = builder
        self._splitter = splitter

    def __getattr__(self, name: str) -> Any:
        return getattr(self._builder, name)

    def compute_histograms_brute(self, indices: Array, allowed: Array | None) -> Any:
        if allowed is None:
            allowed = _drawn(self._splitter)
        return self._builder.compute_histograms_brute(indices, allowed)


def _drawn(splitter: Any) -> Array:
    """Return the features that the splitter will draw next, and the first one.

    The gradients of all rows are summed over the first feature's histogram.
    """
    import numpy as np

    kept = splitter.rng.bit_generator.state
    mask = np.zeros(splitter.n_features, dtype=bool)
    mask[: max(1, int(np.ceil(splitter.feature_fraction_per_split * len(mask))))] = True
    splitter.rng.shuffle(mask)
    splitter.rng.bit_generator.state = kept
    mask[0] = True
    return np.flatnonzero(mask).astype("uint32")
