"""Cancels at random moments; `make chaos` does a thousand."""

from __future__ import annotations

from pathlib import Path

import cancels
import pytest


@pytest.mark.slow
def test_each_cancelled_job_ends_once_and_no_other_is_hit(tmp_path: Path) -> None:
    plan = cancels.Plan(cancels=250, innocent=40, endless=4)
    result = cancels.run(plan, tmp_path / "home")
    assert result.verdict, result.verdict
    assert result.hit.total() == plan.cancels
    assert min(result.hit[each] for each in ("cancelled", "running", "ended")) >= plan.endless
    assert result.runners <= 2
