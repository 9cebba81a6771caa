"""Everything breaks at once, for half a minute; `make chaos` does it for longer."""

from __future__ import annotations

from pathlib import Path

import chaos
import outage
import pytest


@pytest.mark.slow
@pytest.mark.parametrize("store", ["sqlite", "postgresql"])
def test_no_job_is_lost_or_doubled_in_chaos(store: str, tmp_path: Path) -> None:
    plan = chaos.Plan(jobs=40, seconds=150, locked=3, pause=(0.3, 1.0), rounds=1)
    result = chaos.run(plan, store, tmp_path)
    chaos.show(result)
    assert result.verdict, result.verdict
    assert len(result.faults) == 9
    assert result.ended.total() == 40


@pytest.mark.slow
@pytest.mark.parametrize("how", ["dead", "mute"])
def test_submissions_while_the_broker_is_away_are_answered_and_run_later(
    how: str, tmp_path: Path
) -> None:
    found = outage.run(tmp_path, 5, how)
    # Other tests keep the machine busy meanwhile: `make chaos` holds it to ANSWER_SECONDS alone.
    assert found.slowest < 3 * outage.ANSWER_SECONDS + 5 * found.usual
