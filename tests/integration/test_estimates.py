"""The time that many jobs have left, by the rate at which they end."""

from __future__ import annotations

import pytest
from helpers.job_rows import spec

from zoo import jobs
from zoo.jobs import Database


def ended(db: Database, *seconds: float) -> tuple[list[str], float]:
    """Four jobs, of which some ended this many seconds after the returned time."""
    ids, _ = jobs.add(db, [spec(seed=n) for n in range(4)])
    since = jobs.clock(db) - 60
    with db.write() as rows:
        for job, after in zip(ids, seconds, strict=False):
            change = "UPDATE job SET status = 'cancelled', finished_at = :at WHERE id = :id"
            rows.run(change, {"id": job, "at": since + after})
    return list(ids), since


def test_other_jobs_end_at_the_rate_of_those_that_have(db: Database) -> None:
    ids, since = ended(db, 45, 60)
    # 30 s for each of six more; those of them that are not submitted yet count as well.
    found = jobs.estimate_many(db, ids, 8, since)
    assert found.left == pytest.approx(180, abs=5) and found.part == 0.25


def test_the_estimate_falls_while_no_job_ends(db: Database) -> None:
    ids, since = ended(db, 20)
    assert jobs.estimate_many(db, ids, 4, since).left == pytest.approx(60 - 40, abs=5)
    assert jobs.estimate_many(db, ids, 2, since).remaining is None


@pytest.mark.parametrize("seconds", [(), (-5,), (-5, -4, 10, 20)])
def test_nothing_is_estimated_before_a_job_has_ended_or_after_all_have(
    db: Database, seconds: tuple[float, ...]
) -> None:
    ids, since = ended(db, *seconds)
    assert jobs.estimate_many(db, ids, 4, since).rest() == ""
