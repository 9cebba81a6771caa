"""The outbox: a hook that is owed is not forgotten, whoever dies, on both databases."""

from __future__ import annotations

from helpers.finished_jobs import a_spec, claim, folds, succeed

from zoo import jobs
from zoo.jobs import Database, Outcome, QueueOptions


def owed(db: Database) -> list[str]:
    with db.read() as rows:
        return [row["job_id"] for row in rows.all("SELECT job_id FROM outbox ORDER BY due_at")]


def let_time_pass(db: Database) -> None:
    with db.write() as rows:
        rows.run("UPDATE outbox SET due_at = 0")


def test_an_end_owes_its_hooks_in_the_same_transaction_or_nothing(db: Database) -> None:
    first = succeed(db, [a_spec()], with_hooks=True)
    succeed(db, [a_spec()])
    assert owed(db) == [first]
    jobs.add(db, [a_spec()])
    held = claim(db)
    lost = jobs.Claim(held.job, held.attempt, "somebody else")
    assert not jobs.finish(db, lost, Outcome("failed", with_hooks=True))
    assert owed(db) == [first]


def test_another_worker_takes_over_only_what_is_overdue_and_counts_the_tries(db: Database) -> None:
    job = succeed(db, [a_spec()], with_hooks=True)
    assert jobs.take_overdue_hooks(db) == []
    for n in (2, 3):
        let_time_pass(db)
        assert jobs.take_overdue_hooks(db) == [(job, n, False)]
        assert jobs.take_overdue_hooks(db) == []
    jobs.complete_hooks(db, [job])
    assert owed(db) == []


def test_a_turn_is_begun_anew_at_jobs_that_nobody_else_has_taken_or_settled(db: Database) -> None:
    own, taken, settled = (succeed(db, [a_spec()], with_hooks=True) for _ in range(3))
    jobs.complete_hooks(db, [settled])
    with db.write() as rows:
        rows.run("UPDATE outbox SET due_at = 0 WHERE job_id = :id", {"id": taken})
    assert jobs.take_overdue_hooks(db) == [(taken, 2, False)]
    let_time_pass(db)
    assert jobs.begin_hooks(db, [settled, own, taken, own]) == [own]
    assert jobs.take_overdue_hooks(db) == [(taken, 3, False)]


def test_what_is_taken_back_or_given_back_owes_its_hooks_only_if_that_is_its_end(
    db: Database,
) -> None:
    ids, _ = jobs.add(db, [a_spec()] * 3, max_attempts=1)
    back, cancelled, lost = (claim(db) for _ in ids)
    jobs.cancel(db, cancelled.job)
    for held in (back, cancelled):
        jobs.release(db, held, code="drained", reason="x", with_hooks=True)
    jobs.expire_leases(db, jobs.get(db, lost.job).worker or "")
    assert jobs.reap(db, backoff=1, with_hooks=True) == [(lost.job, "lost")]
    assert set(owed(db)) == {cancelled.job, lost.job}


def test_of_a_group_one_job_alone_ended_last(db: Database) -> None:
    ids, _ = jobs.add(db, folds(3), group_kind="cv")
    for number, each in enumerate(ids):
        assert not jobs.ended_last(db, each)
        jobs.finish(db, claim(db), Outcome("failed", error_code="exception", error="x"))
        assert [jobs.ended_last(db, one) for one in ids] == [
            number == 2 and one == each for one in ids
        ]


def test_what_is_cancelled_because_a_job_failed_owes_its_hooks_too(db: Database) -> None:
    (first,), _ = jobs.add(db, [a_spec()])
    (second,), _ = jobs.add(db, [a_spec()], QueueOptions(after=[first]))
    (third,), _ = jobs.add(db, [a_spec()], QueueOptions(after=[second]))
    assert jobs.finish(db, claim(db), Outcome("failed", error="x", with_hooks=True))
    assert set(owed(db)) == {first, second, third}
