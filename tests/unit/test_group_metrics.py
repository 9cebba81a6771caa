"""Statistics of a metric over the jobs of a group."""

from __future__ import annotations

import json
import statistics

import pytest

from zoo.jobs.group_metrics import Statistics


def test_mean_and_deviation_are_written_and_read() -> None:
    found = Statistics.of([0.25, 0.75, 1.0])
    assert found.mean == pytest.approx(2 / 3)
    assert found.std == pytest.approx(statistics.stdev(found.values))
    assert Statistics.from_json(json.loads(json.dumps(found.to_json()))) == found
    assert [*found.to_json()] == ["mean", "std", "values"]
    assert found.counted() == "0.6667 ± 0.3819 (n = 3)"


def test_a_single_value_has_no_deviation() -> None:
    found = Statistics.of([0.5])
    assert found.std is None and found.text() == "0.5000"
