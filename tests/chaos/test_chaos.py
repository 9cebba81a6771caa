"""Everything breaks at once, for half a minute; `make chaos` does it for longer."""

from __future__ import annotations

from pathlib import Path

import pytest
from chaos import chaos, outage
from helpers.command_line import share


@pytest.mark.slow
@pytest.mark.parametrize("store", ["sqlite", "postgresql"])
def test_no_job_is_lost_or_doubled_in_chaos(store: str, tmp_path: Path, cache: Path) -> None:
    share(cache, tmp_path / "home")
    few = {"jobs": 40, "workers": 3, "sklearn": False, "rounds": 1}
    plan = chaos.Plan(seconds=600, locked=3, pause=(0.3, 1.0), **few)  # type: ignore[arg-type]
    result = chaos.run(plan, store, tmp_path)
    chaos.show(result)
    assert result.verdict, result.verdict
    assert len(result.faults) == 15
    assert result.ended.total() == 40


@pytest.mark.slow
@pytest.mark.parametrize("how", ["dead", "mute"])
def test_submissions_while_the_broker_is_away_are_answered_and_run_later(
    how: str, tmp_path: Path, cache: Path
) -> None:
    found = outage.run(share(cache, tmp_path / "home"), 0, how)
    # With a worker's patience it would be 30 s; `make chaos` holds it to ANSWER_SECONDS.
    assert found.slowest < 30
