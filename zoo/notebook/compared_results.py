"""Results side by side in a notebook."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import zoo.notebook.frames as frames
from zoo.results.comparison import Comparison

if TYPE_CHECKING:
    from pandas import DataFrame


class ComparedResults:
    """Results side by side, as `zoo.compare` returns them."""

    def __init__(self, found: Comparison) -> None:
        self._found = found

    @property
    def metric(self) -> str:
        """The metric that is tested."""
        return self._found.objective.metric

    @property
    def differences(self) -> DataFrame:
        """The settings that differ: a row for each, a column for each result."""
        return frames.differences_frame(self._found)

    @property
    def metrics(self) -> DataFrame:
        """A row for each result, a column for each metric; of groups also `NAME_std`."""
        return frames.metrics_frame(self._found)

    @property
    def tests(self) -> DataFrame:
        """A row for each further result: the paired test against the first.

        `difference` is that of the metric, first minus other. The counts are of inputs on which
        both were right, only the first (`only_a`), only the other (`only_b`), or none.
        """
        return frames.tests_frame(self._found)

    def to_dict(self) -> dict[str, Any]:
        """Return what `zoo compare --json` prints."""
        return self._found.to_json()

    def __repr__(self) -> str:
        names = " and ".join(each.id[:8] for each in self._found.results)
        return f"<comparison of {names} by {self.metric}>"

    def _repr_html_(self) -> str:
        parts = (self.metrics.T, self.differences, self.tests)
        return "".join(each._repr_html_() for each in parts if len(each))
