"""Conditions under which a queued job may be claimed, on both databases."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest
from helpers import job_rows
from helpers.command_line import until

from zoo import jobs
from zoo.errors import UsageError
from zoo.job_spec import JobSpec
from zoo.jobs import Claim, Database, Job, Outcome
from zoo.jobs.database import Deadlock

SPEC = JobSpec(kind="train", model="logistic", params={}, dataset="digits")
DONE = Outcome("succeeded", {"accuracy": 0.5}, "where/1", "0" * 64)
FAILED = Outcome("failed", error_code="exception", error="no")


def add(db: Database, n: int = 1, **options: Any) -> list[str]:
    return job_rows.add(db, [SPEC] * n, **options)[0]


def claim(db: Database, lease: float = 60) -> tuple[Claim, Job] | None:
    models = {"logistic": "p"}
    return jobs.claim(
        db, pool="default", models=models, datasets=["digits"], worker="w", lease=lease
    )


def take(db: Database, lease: float = 60) -> Claim:
    found = claim(db, lease)
    assert found is not None
    return found[0]


def status(db: Database, job_id: str) -> str:
    return jobs.get(db, job_id).status


def group(db: Database, n: int, most: int, **options: object) -> list[str]:
    return add(db, n, group_kind="sweep", max_parallel=most, **options)


# --- jobs that wait for others ---


def test_a_job_waits_until_the_one_before_it_has_succeeded(db: Database) -> None:
    (first,) = add(db)
    (second,) = add(db, after={first: False}, priority=9)
    held = take(db)
    assert held.job == first and claim(db) is None
    jobs.finish(db, held, DONE)
    assert take(db).job == second


def test_a_job_whose_turn_has_come_gets_its_hint_at_once_and_no_job_that_waits(
    db: Database,
) -> None:
    (first,) = add(db)
    (second,) = add(db, after={first: False})
    assert [hint.job for hint in jobs.take_stale_hints(db, after=-1)] == [first]
    assert jobs.take_due_hints(db) == []
    jobs.finish(db, take(db), DONE)
    assert [hint.job for hint in jobs.take_due_hints(db)] == [second]
    assert jobs.take_due_hints(db) == []


@pytest.mark.parametrize("end", [FAILED, Outcome("timed_out"), Outcome("cancelled")])
def test_without_that_success_all_that_wait_are_cancelled_and_say_why(
    db: Database, end: Outcome
) -> None:
    (first,) = add(db)
    (second,) = add(db, after={first: False})
    (third,) = add(db, after={second: False})
    (whatever,) = add(db, after={second: True})
    jobs.finish(db, take(db), end)
    found = jobs.get(db, second)
    assert (found.status, found.error_code) == ("cancelled", "dependency")
    assert found.error == f"The job {first[:8]}, which had to succeed first, is {end.status}."
    assert status(db, third) == "cancelled"
    assert take(db).job == whatever


def test_any_end_will_do_for_a_job_that_says_so(db: Database) -> None:
    (first,) = add(db)
    (second,) = add(db, after={first: True})
    jobs.finish(db, take(db), FAILED)
    assert take(db).job == second


def test_a_job_that_waits_for_several_runs_after_the_last(db: Database) -> None:
    both = add(db, 2)
    (last,) = add(db, after=dict.fromkeys(both, False))
    held = [take(db), take(db)]
    jobs.finish(db, held[1], DONE)
    assert claim(db) is None
    jobs.finish(db, held[0], DONE)
    assert take(db).job == last


@pytest.mark.parametrize("how", ["cancel", "lost", "drained after a cancel"])
def test_every_end_of_a_job_is_an_end_for_those_that_wait(db: Database, how: str) -> None:
    (first,) = add(db, max_attempts=1)
    (second,) = add(db, after={first: False})
    if how == "cancel":
        jobs.cancel(db, first)
    elif how == "lost":
        take(db, lease=-1)
        jobs.reap(db, backoff=0)
    else:
        held = take(db)
        jobs.cancel(db, first)
        jobs.release(db, held, code="drained", reason="drain")
    assert status(db, second) == "cancelled"


def test_a_job_put_back_is_no_end_for_those_that_wait(db: Database) -> None:
    (first,) = add(db)
    (second,) = add(db, after={first: False})
    jobs.release(db, take(db), code="drained", reason="drain")
    assert (status(db, second), take(db).job) == ("queued", first)
    assert claim(db) is None


def test_what_has_ended_is_not_waited_for(db: Database) -> None:
    good, bad = add(db, 2)
    jobs.finish(db, take(db), DONE)
    jobs.finish(db, take(db), FAILED)
    (second,) = add(db, after={good: False})
    assert take(db).job == second
    with pytest.raises(UsageError, match=f"{bad[:8]} is failed"):
        add(db, after={bad: False})
    (third,) = add(db, after={bad: True})
    assert take(db).job == third


def test_a_retry_waits_for_what_is_still_to_come(db: Database) -> None:
    (first,) = add(db)
    (second,) = add(db, after={first: False})
    jobs.cancel(db, first)
    again = jobs.retry(db, [first, second])
    assert take(db).job == again[0]
    assert claim(db) is None
    jobs.finish(db, Claim(again[0], 1, str(jobs.get(db, again[0]).owner)), FAILED)
    assert status(db, again[1]) == "cancelled"
    with pytest.raises(UsageError, match=f"after the success of {again[0][:8]}, which is failed"):
        jobs.retry(db, [again[1]])
    assert claim(db) is None  # nothing was added
    both = jobs.retry(db, list(reversed(again)))
    assert take(db).job == both[0] and claim(db) is None


ENDS = ["queued", "failed", "cancelled", "succeeded", "retried"]


@pytest.mark.parametrize("any_end", [False, True])
@pytest.mark.parametrize("end", ENDS)
def test_a_retry_runs_only_if_the_first_try_might_have(
    db: Database, end: str, any_end: bool
) -> None:
    (needed,) = add(db)
    (waiting,) = add(db, after={needed: any_end})
    jobs.cancel(db, waiting)
    if end in ("failed", "succeeded", "retried"):
        jobs.finish(db, take(db), DONE if end == "succeeded" else FAILED)
    if end == "cancelled":
        jobs.cancel(db, needed)
    if end == "retried":
        jobs.retry(db, [needed])
        jobs.finish(db, take(db), DONE)
    may_run = end != "queued" and (any_end or end in ("succeeded", "retried"))
    if end == "queued" or may_run:
        (again,) = jobs.retry(db, [waiting])
        first = take(db).job
        assert first == (again if may_run else needed)
        assert may_run or claim(db) is None
    else:
        with pytest.raises(UsageError, match="after the success of"):
            jobs.retry(db, [waiting])
        assert claim(db) is None


def test_an_end_and_a_submission_that_waits_for_it_at_once_leave_nobody_waiting(
    db: Database,
) -> None:
    for _ in range(10):
        (first,) = add(db)
        held = take(db)
        with ThreadPoolExecutor(2) as pool:
            ended = pool.submit(jobs.finish, db, held, DONE)
            (second,) = pool.submit(add, db, after={first: False}).result()
            assert ended.result()
        assert take(db).job == second


# --- holds, priorities, pauses ---


def test_a_held_job_is_neither_claimed_nor_hinted_at_until_it_is_released(db: Database) -> None:
    first, second = add(db, 2)
    assert jobs.hold(db, [first]) == [first]
    assert jobs.hold(db, [first]) == []
    assert [hint.job for hint in jobs.take_stale_hints(db, after=-1)] == [second]
    assert take(db).job == second and claim(db) is None
    assert jobs.hold(db, [second]) == [], "a running job cannot be held"
    assert jobs.unhold(db, [first, second]) == [first]
    assert [hint.job for hint in jobs.take_due_hints(db)] == [first]
    assert take(db).job == first


def test_a_priority_is_changed_while_a_job_is_queued(db: Database) -> None:
    first, second, third = add(db, 3)
    assert jobs.set_priority(db, [third], 5) == [third]
    held = take(db)
    assert held.job == third
    assert jobs.set_priority(db, [third, second], -7) == [second]
    assert [take(db).job, take(db).job] == [first, second]


def test_a_paused_pools_jobs_wait_and_its_running_ones_go_on(db: Database) -> None:
    first, second = add(db, 2)
    held = take(db)
    jobs.pause(db, "default")
    jobs.pause(db, "default")
    assert (
        claim(db) is None and jobs.take_stale_hints(db, after=-1) == [] and jobs.waiting(db) == []
    )
    assert jobs.finish(db, held, DONE)
    assert jobs.resume(db, "default") and not jobs.resume(db, "default")
    assert [hint.job for hint in jobs.take_due_hints(db)] == [second]
    assert take(db).job == second and first == held.job


def test_pools_are_told_with_what_waits_runs_and_serves(db: Database) -> None:
    add(db, 3)
    add(db, 1, pool="gpu")
    take(db)
    jobs.hold(db, add(db))
    jobs.pause(db, "gpu")
    jobs.pause(db, "empty")
    found = {pool.name: pool for pool in jobs.pools(db)}
    assert (found["default"].queued, found["default"].running) == (3, 1)
    assert found["default"].paused_at is None
    assert found["gpu"].paused_at and found["empty"].queued == 0


# --- turns in a group ---


def test_no_more_jobs_of_a_group_run_at_once_than_may(db: Database) -> None:
    ids = group(db, 5, 2)
    (other,) = add(db, priority=-1)
    held = [take(db), take(db)]
    assert take(db).job == other and claim(db) is None
    jobs.finish(db, held[0], FAILED)
    assert [hint.job for hint in jobs.take_due_hints(db)] == [ids[2]]
    assert take(db).job == ids[2] and claim(db) is None


@pytest.mark.parametrize("by", ["cancel", "hold"])
def test_a_turn_that_is_not_used_goes_to_the_next(db: Database, by: str) -> None:
    first, second, _ = group(db, 3, 1)
    jobs.cancel(db, first) if by == "cancel" else jobs.hold(db, [first])
    assert take(db).job == second and claim(db) is None


def test_a_job_put_back_keeps_its_groups_bound(db: Database) -> None:
    first, _ = group(db, 2, 1)
    jobs.release(db, take(db), code="killed", reason="x", counts=True, backoff=60)
    assert claim(db) is None, "its back-off runs, and the turn is still its own"
    assert status(db, first) == "queued"


def test_the_most_urgent_of_a_group_comes_first_also_when_that_changes(db: Database) -> None:
    first, second, third = group(db, 3, 1)
    jobs.set_priority(db, [third], 1)
    held = take(db)
    assert held.job == third
    jobs.hold(db, [first])
    jobs.finish(db, held, DONE)
    jobs.unhold(db, [first])
    assert take(db).job == first and second


def test_retries_and_added_jobs_take_their_turns_too(db: Database) -> None:
    first, _ = group(db, 2, 1)
    (name,) = {str(jobs.get(db, first).group)}
    jobs.finish(db, take(db), FAILED)
    held = take(db)
    jobs.retry(db, [first])
    assert jobs.extend(db, name, [SPEC], known=2) is None, "there are three by now"
    assert jobs.extend(db, name, [SPEC], known=3)
    assert claim(db) is None
    jobs.finish(db, held, DONE)
    assert claim(db) and claim(db) is None


def test_a_group_that_waits_for_a_job_takes_its_turns_afterwards(db: Database) -> None:
    (first,) = add(db)
    ids = group(db, 3, 2, after={first: False})
    jobs.finish(db, take(db), DONE)
    assert [take(db).job, take(db).job] == ids[:2] and claim(db) is None


def test_many_claims_and_ends_at_once_never_run_more_of_a_group_than_may(db: Database) -> None:
    ids = group(db, 24, 3)

    def work(_: int) -> int:
        most = 0
        while True:
            found = claim(db)
            running = jobs.counts(db).get("running", 0)
            most = max(most, running)
            if found is None:
                if all(jobs.get(db, each).is_terminal for each in ids):
                    return most
                continue
            jobs.finish(db, found[0], DONE)

    with ThreadPoolExecutor(6) as pool:
        assert max(pool.map(work, range(6))) <= 3
    assert all(jobs.get(db, each).attempt == 1 for each in ids)


def test_turns_holds_and_priorities_changed_by_many_at_once_agree_in_the_end(
    db: Database,
) -> None:
    ids = group(db, 12, 2)

    def disturb(number: int) -> None:
        for each in ids[number::4]:
            jobs.hold(db, [each])
            jobs.set_priority(db, ids[number:], number)
            jobs.unhold(db, [each])
            found = claim(db)
            if found:
                jobs.finish(db, found[0], FAILED)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(disturb, range(4)))
    while found := claim(db):
        jobs.finish(db, found[0], DONE)
    assert {status(db, each) for each in ids} <= {"failed", "succeeded"}


def test_many_who_retry_jobs_of_one_group_at_once_do_not_wait_in_a_circle(db: Database) -> None:
    ids = group(db, 12, 2)
    jobs.cancel_many(db, ids)
    together = Barrier(4)

    def again(number: int) -> int:
        together.wait()
        return len(jobs.retry(db, ids[number::4]))

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(again, range(4))) == len(ids)


def test_a_retry_waits_for_the_last_retry_of_what_it_needs(db: Database) -> None:
    (needed,) = add(db)
    (waiting,) = add(db, after={needed: False})
    for _ in range(2):
        jobs.finish(db, take(db), FAILED)
        (needed,) = jobs.retry(db, [needed])
    (again,) = jobs.retry(db, [waiting])
    assert [each.id for each in jobs.open_dependencies(db, again)] == [needed]
    assert take(db).job == needed and claim(db) is None


def test_what_a_deadlock_has_rolled_back_is_done_again(db: Database) -> None:
    if db.is_sqlite:
        pytest.skip("one writes at a time")
    first, second = add(db, 2)
    lock = f"SELECT id FROM job WHERE id = :id {db.sql.for_update}"
    waits = "SELECT count(*) AS n FROM pg_stat_activity WHERE wait_event_type = 'Lock'"

    def count(query: str) -> int:
        with db.read() as look:  # a transaction sees the same all the time
            return int(look.value(query))

    def is_rolled_back() -> bool:
        """Whether the other transaction is the one that notices, after a second of waiting."""
        try:
            with db.write() as rows:
                rows.all(lock, {"id": second})
                # It has the first and waits for the second.
                found.append(pool.submit(jobs.tag, db, [first, second], [f"a{len(found)}"]))
                until(lambda: count(waits) == 1)
                rows.all(lock, {"id": first})
        except Deadlock:  # the machine stood still for a second: this one came too late
            return False
        return True

    found: list[Future[list[str]]] = []
    with ThreadPoolExecutor(1) as pool:
        assert any(is_rolled_back() for _ in range(10))
        assert found[-1].result() == [first, second]
