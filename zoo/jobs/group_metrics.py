"""Statistics of a metric over the jobs of a group."""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any


@dataclass(frozen=True)
class Statistics:
    """Mean and deviation of one metric over several jobs."""

    mean: float
    """The arithmetic mean."""
    std: float | None
    """Sample standard deviation (n - 1); None of a single value."""
    values: Sequence[float]
    """The metric of each job, in the order of submission."""

    @classmethod
    def of(cls, values: Sequence[float]) -> Statistics:
        """Compute the statistics of at least one value."""
        return cls(_mean(values), sample_std(values), values)

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Statistics:
        """Read what `to_json` of any version returned."""
        return cls(stored["mean"], stored.get("std"), stored.get("values", ()))

    def to_json(self) -> dict[str, Any]:
        """Return the statistics as commands print them."""
        return {"mean": self.mean, "std": self.std, "values": list(self.values)}

    def text(self) -> str:
        """Format as `mean ± std`; as the mean alone where there is no deviation."""
        return f"{self.mean:.4f}" if self.std is None else f"{self.mean:.4f} ± {self.std:.4f}"

    def counted(self) -> str:
        """Format as `mean ± std (n = 5)`."""
        return f"{self.text()} (n = {len(self.values)})"


def sample_std(values: Sequence[float]) -> float | None:
    """Return the sample standard deviation (n - 1, as pandas and `statistics.stdev`).

    None for fewer than two values. Equal values give 0 exactly, although their mean may be rounded.
    """
    if len(values) < 2:
        return None
    if min(values) == max(values):
        return 0.0
    mean = _mean(values)
    # A square by multiplication is infinite where ** would raise OverflowError.
    squares = ((v - mean) * (v - mean) for v in values)
    found = math.sqrt(reduce(operator.add, squares) / (len(values) - 1))
    return found if math.isfinite(found) else None


def _mean(values: Sequence[float]) -> float:
    # Added one after the other as numpy does it, so that a few folds agree to the last bit;
    # since Python 3.12 `sum` is more exact than that.
    return reduce(operator.add, values) / len(values)
