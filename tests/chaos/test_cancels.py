"""Cancels at random moments; `make chaos` does a thousand."""

from __future__ import annotations

from pathlib import Path

import pytest
from chaos import cancels
from helpers.command_line import share


@pytest.mark.slow
def test_each_cancelled_job_ends_once_and_no_other_is_hit(tmp_path: Path, cache: Path) -> None:
    # How long a cancel takes is for `make chaos` to say, on a machine that does nothing else.
    plan = cancels.Plan(cancels=160, innocent=30, endless=3, grace=120)
    result = cancels.run(plan, share(cache, tmp_path / "home"))
    assert result.verdict, result.verdict
    assert result.hit.total() == plan.cancels
    assert min(result.hit[each] for each in ("cancelled", "running", "ended")) >= plan.endless
    assert result.runners <= 3  # two slots', and the one that stores
