"""Retention: exactly the jobs that no rule keeps go, a part in each pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from helpers.finished_jobs import a_spec
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from zoo import jobs
from zoo.errors import UsageError
from zoo.jobs import Database, QueueOptions, Retention
from zoo.jobs.retention import SWEEP_SECONDS

STATUSES = ("failed", "cancelled", "succeeded")
TAGS = ("tmp", "paper")
numbers = st.sampled_from(["0", "1", "2", "3.5", "forever"])
rules = st.dictionaries(st.sampled_from(["", *STATUSES, "tag:tmp", "tag:p*"]), numbers, max_size=4)
shapes = st.tuples(
    st.sampled_from(STATUSES),
    st.lists(st.sampled_from(TAGS), unique=True),
    st.integers(0, 5),
    st.sampled_from([False, False, True]),
)
"""Status, tags, days since its end, and whether it is pinned."""


def typed(kept: dict[str, str]) -> str:
    return " ".join(f"{what}={number}" if what else number for what, number in kept.items())


def kept_by(kept: dict[str, str], status: str, tags: Sequence[str]) -> tuple[str, str] | None:
    """The rule for a job: that of a tag, of the status, or of all others."""
    for what, number in kept.items():
        if what.startswith("tag:") and any(tag[0] == what[4] for tag in tags):
            return what, number
    return next(((what, kept[what]) for what in (status, "") if what in kept), None)


def must_go(days: dict[str, str], most: dict[str, str], shape: tuple, newer: Sequence) -> bool:
    """Whether no setting keeps a job; `newer` are the jobs that were submitted after it."""
    status, tags, age, is_pinned = shape
    by_days, by_number = kept_by(days, status, tags), kept_by(most, status, tags)
    if is_pinned or not (by_days or by_number):
        return False
    if by_days and (by_days[1] == "forever" or age + 0.5 < float(by_days[1])):
        return False
    if by_number is None:
        return True
    what, number = by_number
    like = [
        other
        for other in newer
        if not what
        or what == other[0]
        or (what.startswith("tag:") and any(tag[0] == what[4] for tag in other[1]))
    ]
    return number != "forever" and len(like) >= int(float(number))


def fill(db: Database, chosen: Sequence[tuple]) -> list[str]:
    """Put jobs of these shapes into an empty database, the oldest first."""
    ids = []
    for status, tags, age, is_pinned in chosen:
        (job,), _ = jobs.add(db, [a_spec()], QueueOptions(tags=tags))
        ids.append(job)
        with db.write() as rows:
            rows.run(
                f"""UPDATE job SET status = :status, finished_at = {rows.sql.now} - :age,
                    pinned = :pinned, artifact = CASE WHEN :status = 'succeeded' THEN 'x' END
                WHERE id = :id""",
                {
                    "id": job,
                    "status": status,
                    "age": (age + 0.5) * 86400.0,
                    "pinned": int(is_pinned),
                },
            )
    return ids


@hypothesis_settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(days=rules, most=rules, chosen=st.lists(shapes, max_size=8))
def test_what_no_rule_keeps_goes_and_nothing_else(
    db: Database, days: dict[str, str], most: dict[str, str], chosen: list[tuple]
) -> None:
    ids = fill(db, chosen)
    keep = Retention(days=typed(days), jobs=typed(most))
    gone = keep.run_pass(db, 1000)
    expected = {
        job
        for number, (job, shape) in enumerate(zip(ids, chosen, strict=True))
        if must_go(days, most, shape, chosen[number + 1 :])
    }
    assert set(gone) == expected
    assert {job.id for job in jobs.listing(db)} == set(ids) - expected
    jobs.pin(db, ids, pinned=False)
    jobs.remove_jobs(db, ids)


def test_a_pass_is_bounded_and_the_next_one_goes_on_past_what_must_stay(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zoo.jobs.retention.AT_ONCE", 3)
    ids = fill(db, [("failed", [], 5, False)] * 10)
    (later,), _ = jobs.add(db, [a_spec()], QueueOptions(after_any=ids[:3]))
    keep = Retention(days="1", keep_metrics=False)
    assert keep.run_pass(db, 0) == []  # all three are needed
    assert keep.run_pass(db, 0) == ids[3:6]
    assert keep.run_pass(db, 1000) == ids[6:]
    assert keep.run_pass(db, 1000) == []  # this sweep is over
    jobs.cancel(db, later)
    assert set(Retention(days="1").run_pass(db, 1000)) == set(ids[:3])


def test_removing_many_does_not_put_off_the_next_sweep(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0

    def slow(act: Callable[..., Any]) -> Callable[..., Any]:
        def slowed(*given: Any) -> Any:
            nonlocal now
            now += 1.0
            return act(*given)

        return slowed

    monkeypatch.setattr("zoo.jobs.retention.AT_ONCE", 3)
    keep, ids = Retention(days="1"), fill(db, [("failed", [], 5, False)] * 9)
    for name in ("alone", "write"):
        monkeypatch.setattr(db, name, slow(getattr(db, name)))
    assert keep.run_pass(db, 1000, lambda: now) == ids
    last = fill(db, [("failed", [], 5, False)])
    now += SWEEP_SECONDS  # however long it took to find them
    assert keep.run_pass(db, 1000, lambda: now) == last
    fill(db, [("failed", [], 5, False)])
    now += SWEEP_SECONDS
    assert keep.run_pass(db, 1000, lambda: now) == []  # looking for one took a second


def test_with_metrics_rows_stay_and_are_not_found_again(db: Database) -> None:
    ids = fill(db, [("succeeded", [], 5, False)] * 2)
    assert Retention(jobs="1", keep_metrics=True).run_pass(db, 10) == ids[:1]
    assert Retention(jobs="1", keep_metrics=True).run_pass(db, 10) == []
    assert [bool(job.removal_note) for job in jobs.get_many(db, ids)] == [True, False]


@pytest.mark.parametrize("text", ["x", "-1", "nan", "running=3", "tag:=1", "failed=", "1e9", "=2"])
def test_a_rule_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="ZOO_KEEP_DAYS has"):
        Retention(days=text)
