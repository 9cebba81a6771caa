"""The contract of the job table, on SQLite and on PostgreSQL."""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from helpers import job_rows
from helpers.command_line import until

from zoo import jobs
from zoo.errors import StoreError, UsageError
from zoo.job_spec import JobSpec
from zoo.jobs import (
    Claim,
    Database,
    Job,
    Outcome,
    ProgressUpdate,
    QueueOptions,
    Requests,
    RowRefused,
    dialects,
    schema,
)
from zoo.jobs.cards import Card
from zoo.jobs.environments import Environment
from zoo.plugins import registry

AROUND = Environment(others={"x": 1})
DONE = Outcome("succeeded", {"accuracy": 0.5}, "where/1", "0" * 64)


def spec(model: str = "logistic", **changes: object) -> JobSpec:
    return JobSpec(kind="train", model=model, params={}, dataset="digits").model_copy(
        update=changes
    )


def add(db: Database, *models: str, **options: Any) -> list[str]:
    return job_rows.add(db, [spec(model) for model in models or ["logistic"]], **options)[0]


def claim(
    db: Database, *models: str, lease: float = 60, pool: str = "default"
) -> tuple[Claim, Job]:
    known = dict.fromkeys(models or ["logistic"], "plugin 1")
    found = jobs.claim(db, pool=pool, models=known, datasets=["digits"], worker="w1", lease=lease)
    assert found is not None
    return found


def nothing_to_claim(db: Database, *models: str) -> bool:
    known = dict.fromkeys(models or ["logistic"], "p")
    return (
        jobs.claim(db, pool="default", models=known, datasets=["digits"], worker="w2", lease=60)
        is None
    )


def test_a_job_that_was_added_is_queued_with_its_whole_spec(db: Database) -> None:
    (job_id,) = jobs.add(db, [spec(seed=7)], QueueOptions(tags=["a b"], priority=3))[0]
    found = jobs.get(db, job_id)
    assert (found.status, found.attempt, found.priority, found.tags) == ("queued", 0, 3, ["a b"])
    assert JobSpec.parse_object(found.spec) == spec(seed=7)


def test_a_running_job_cannot_be_claimed_again(db: Database) -> None:
    add(db)
    claim(db)
    assert nothing_to_claim(db)


def test_a_claim_sets_owner_lease_attempt_and_the_attempts_row_at_once(db: Database) -> None:
    add(db)
    held, job = claim(db, lease=60)
    assert (job.status, job.attempt, job.owner, job.worker) == ("running", 1, held.owner, "w1")
    assert [a.plugin for a in jobs.attempts(db, job.id)] == ["plugin 1"]


def test_the_most_urgent_job_comes_first_and_of_equals_the_oldest(db: Database) -> None:
    first, second = add(db, "logistic", "logistic")
    (urgent,) = add(db, priority=1)
    assert [claim(db)[1].id for _ in range(3)] == [urgent, first, second]


def test_a_worker_claims_only_models_and_pools_of_its_own(db: Database) -> None:
    add(db, "dense-softmax")
    add(db, pool="gpu")
    assert nothing_to_claim(db, "logistic")
    assert claim(db, "logistic", pool="gpu")[1].pool == "gpu"


def test_a_worker_claims_no_job_on_a_dataset_that_it_lacks(db: Database) -> None:
    jobs.add(db, [spec(dataset="mine"), spec(dataset="npz:/some/file.npz")])
    assert claim(db)[1].dataset == "npz:/some/file.npz"
    assert nothing_to_claim(db)


def test_a_path_of_a_plugin_is_claimed_only_by_workers_that_read_its_scheme(db: Database) -> None:
    names = ["my_bucket:a/b", "my-bucket:a", "idx:/a", "csv:/a.csv?target=x"]
    jobs.add(db, [spec(dataset=name) for name in names])
    assert [claim(db)[1].dataset for _ in range(2)] == names[2:]
    assert nothing_to_claim(db)
    words: Any = {"pool": "default", "models": {"logistic": "p"}, "worker": "w", "lease": 60}
    found = jobs.claim(db, datasets=["digits", "my_bucket:"], **words)
    assert found is not None and found[1].dataset == names[0]
    assert jobs.claim(db, datasets=["digits", "my_bucket:"], **words) is None


def test_a_worker_serves_files_and_the_schemes_that_it_publishes(db: Database) -> None:
    card = replace(registry.card("logistic"), datasets={"digits": "", "bucket:": ""})
    jobs.register_worker(db, jobs.NewWorker("w", "w", "h", 1, "default", 1, "1", [card]))
    (worker,) = jobs.workers(db)
    asked = ["digits", "mine", "npz:/a", "csv:/a?target=x", "bucket:a", "other:a"]
    served = [worker.serves("default", "logistic", name) for name in asked]
    assert served == [True, False, True, True, True, False]


def test_interrupted_uploads_are_removed_once_they_are_old(db: Database) -> None:
    for name in ("a", "a", "b"):
        jobs.begin_upload(db, name, "0" * 64, f"datasets/{name}")
    removed: list[str] = []
    assert jobs.remove_interrupted_uploads(db, 60, removed.append) == 0
    assert jobs.list_datasets(db) == []
    assert jobs.remove_interrupted_uploads(db, -1, removed.append) == 2
    assert sorted(removed) == ["datasets/a", "datasets/b"]
    assert jobs.remove_interrupted_uploads(db, -1, removed.append) == 0


def test_twenty_workers_at_once_claim_each_job_once(db: Database) -> None:
    ids = add(db, *["logistic"] * 20)
    with ThreadPoolExecutor(8) as threads:
        claimed = list(threads.map(lambda _: claim(db)[1].id, range(20)))
    assert sorted(claimed) == sorted(ids)


def test_a_finished_job_keeps_metrics_and_artifact_and_never_changes_again(db: Database) -> None:
    (job_id,) = add(db)
    held, _ = claim(db)
    assert jobs.finish(db, held, DONE)
    assert not jobs.finish(db, held, Outcome("failed", error="late"))
    assert jobs.beat(db, held, lease=60) is None
    assert not jobs.release(db, held, code="drained", reason="late")
    assert jobs.cancel(db, job_id) is None
    found = jobs.get(db, job_id)
    assert (found.status, found.metrics, found.artifact) == (
        "succeeded",
        {"accuracy": 0.5},
        "where/1",
    )
    assert found.finished_at is not None and found.owner is None


def test_ends_of_several_jobs_are_committed_together_each_by_its_own_fence(db: Database) -> None:
    first, second, third = add(db, *["logistic"] * 3)
    (waits,) = jobs.add(db, [spec()], QueueOptions(after=[first], after_any=[third]))[0]
    a, b, c = (claim(db)[0] for _ in range(3))
    lost = Claim(b.job, b.attempt, "somebody")
    news = ProgressUpdate({"phase": "fit"}, 12.5, [(1, {"loss": 0.5})], [(0, "hello\n")], AROUND)
    ends = [
        jobs.AttemptEnd(c, Outcome("failed", error_code="exception", error="a bad day")),
        jobs.AttemptEnd(lost, DONE),
        jobs.AttemptEnd(a, DONE, news),
    ]
    assert jobs.finish_all(db, ends) == [True, False, True]
    found = [jobs.get(db, each) for each in (first, second, third)]
    assert [job.status for job in found] == ["succeeded", "running", "failed"]
    assert (found[0].metrics, found[0].stored_progress) == ({"accuracy": 0.5}, {"phase": "fit"})
    assert (found[2].metrics, found[2].error, found[2].fit_started_at) == ({}, "a bad day", None)
    ended = [jobs.attempts(db, each)[0] for each in (first, second, third)]
    assert [each.outcome for each in ended] == ["succeeded", None, "failed"]
    assert [each.environment for each in ended] == [AROUND, None, None]
    assert [jobs.log_after(db, each) != [] for each in (first, third)] == [True, False]
    assert claim(db)[1].id == waits  # both that it waited for have ended in one transaction
    assert jobs.finish_all(db, ends) == [False] * 3


def test_an_end_without_news_keeps_what_the_last_beat_told(db: Database) -> None:
    add(db)
    held, job = claim(db)
    jobs.beat(db, held, lease=60, update=ProgressUpdate({"phase": "judge"}, 12.5))
    assert jobs.finish(db, held, DONE)
    found = jobs.get(db, job.id)
    assert (found.stored_progress, found.fit_started_at) == ({"phase": "judge"}, 12.5)


def test_one_end_that_the_rows_refuse_leaves_none_of_those_committed_with_it(db: Database) -> None:
    add(db, *["logistic"] * 2)
    ends = [
        jobs.AttemptEnd(claim(db)[0], DONE),
        jobs.AttemptEnd(claim(db)[0], Outcome("lost in thought", error="no such status")),
    ]
    with pytest.raises(RowRefused):
        jobs.finish_all(db, ends)
    assert jobs.counts(db) == {"running": 2}


@pytest.mark.parametrize("wrong", [{"attempt": 2}, {"owner": "somebody"}, {"job": "0" * 32}])
def test_a_word_with_another_fence_is_not_heard(db: Database, wrong: dict[str, object]) -> None:
    add(db)
    held, job = claim(db)
    stranger = Claim(**({"job": held.job, "attempt": 1, "owner": held.owner} | wrong))  # type: ignore[arg-type]
    assert jobs.beat(db, stranger, lease=60) is None
    assert not jobs.finish(db, stranger, DONE)
    assert jobs.get(db, job.id).status == "running"


def test_a_beat_keeps_progress_steps_and_log_once(db: Database) -> None:
    add(db)
    held, job = claim(db)
    news = ProgressUpdate({"phase": "fit"}, 12.5, [(1, {"loss": 0.5})], [(0, "hello\n")])
    assert jobs.beat(db, held, lease=60, update=news) == Requests(cancel=False, stop=False)
    assert jobs.beat(db, held, lease=60, update=news) == Requests(cancel=False, stop=False)
    found = jobs.get(db, job.id)
    assert (found.stored_progress, found.fit_started_at) == ({"phase": "fit"}, 12.5)
    assert jobs.steps(db, job.id) == [{"step": 1, "loss": 0.5}]
    assert [chunk.text for chunk in jobs.log_after(db, job.id)] == ["hello\n"]


def test_an_expired_lease_puts_the_job_back_and_a_second_reaper_finds_nothing(db: Database) -> None:
    (job_id,) = add(db)
    held, _ = claim(db, lease=-1)
    assert jobs.reap(db, backoff=0) == [(job_id, "queued")]
    assert jobs.reap(db, backoff=0) == []
    assert jobs.beat(db, held, lease=60) is None
    assert claim(db)[1].attempt == 2
    assert [a.outcome for a in jobs.attempts(db, job_id)] == ["lost", None]


def test_the_leases_of_a_worker_that_is_known_to_be_dead_end_at_once(db: Database) -> None:
    mine, other = add(db, "logistic", "logistic")
    claim(db)
    shared = {"models": {"logistic": "p"}, "pool": "default", "datasets": ["digits"]}
    assert jobs.claim(db, worker="w2", lease=60, **shared)  # type: ignore[arg-type]
    assert jobs.expire_leases(db, "w1") == 1
    assert jobs.reap(db, backoff=0) == [(mine, "queued")]
    assert jobs.get(db, other).status == "running"


def test_a_live_lease_is_not_reaped(db: Database) -> None:
    add(db)
    claim(db, lease=60)
    assert jobs.reap(db, backoff=0) == []


def test_a_job_that_keeps_losing_its_worker_ends_as_lost(db: Database) -> None:
    (job_id,) = add(db, max_attempts=2)
    claim(db, lease=-1)
    jobs.reap(db, backoff=0)
    claim(db, lease=-1)
    assert jobs.reap(db, backoff=0) == [(job_id, "lost")]
    assert jobs.get(db, job_id).error_code == "lost"
    assert nothing_to_claim(db)


def test_a_job_taken_back_waits_before_its_next_attempt(db: Database) -> None:
    add(db)
    claim(db, lease=-1)
    jobs.reap(db, backoff=60)
    assert nothing_to_claim(db)
    assert jobs.take_stale_hints(db, after=0) == []


def test_a_drained_attempt_is_given_back_and_attempt_never_falls(db: Database) -> None:
    (job_id,) = add(db, max_attempts=1)
    held, _ = claim(db)
    assert jobs.release(db, held, code="drained", reason="drain")
    found = claim(db)[1]
    assert (found.id, found.attempt, found.max_attempts) == (job_id, 2, 2)


def test_a_job_that_is_given_back_after_its_cancel_was_requested_is_cancelled(db: Database) -> None:
    (job_id,) = add(db)
    held, _ = claim(db)
    jobs.cancel(db, job_id)
    assert jobs.release(db, held, code="drained", reason="drain")
    assert jobs.get(db, job_id).status == "cancelled"
    assert [each.outcome for each in jobs.attempts(db, job_id)] == ["cancelled"]


def test_a_retry_is_a_new_job_with_the_same_spec_made_once(db: Database) -> None:
    good, bad, queued = add(db, *["logistic"] * 3, tags=["t"])
    jobs.finish(db, claim(db)[0], DONE)
    jobs.finish(db, claim(db)[0], Outcome("failed", error_code="exception", error="no"))
    (again,) = jobs.retry(db, [good, bad, queued])
    found = jobs.get(db, again)
    assert (found.retry_of, found.status, found.tags) == (bad, "queued", ["t"])
    assert found.spec == jobs.get(db, bad).spec and jobs.get(db, bad).status == "failed"
    assert jobs.retry(db, [bad]) == []
    assert jobs.listing(db, statuses=["failed"], not_retried=True) == []


def test_a_retry_takes_the_place_of_a_groups_failed_job(db: Database) -> None:
    ids, group = jobs.add(db, [spec(), spec()], group_kind="cv")
    jobs.finish(db, claim(db)[0], DONE)
    jobs.finish(db, claim(db)[0], Outcome("failed"))
    (again,) = jobs.retry(db, ids)
    assert [job.id for job in jobs.get_group(db, group or "").jobs] == [ids[0], again]


def test_a_thousand_jobs_are_retried_in_one_go(db: Database) -> None:
    ids, _ = jobs.add(db, [spec()] * 1000)
    with db.write() as rows:
        rows.run("UPDATE job SET status = 'lost', finished_at = 1")
    assert len(jobs.retry(db, ids)) == 1000


def test_cancel_ends_a_queued_job_and_asks_for_a_running_one(db: Database) -> None:
    running, queued = add(db, "logistic", "logistic")
    held, _ = claim(db)
    assert jobs.cancel(db, queued) == "cancelled"
    assert jobs.cancel(db, running) == "running"
    assert jobs.beat(db, held, lease=60) == Requests(cancel=True, stop=False)
    assert jobs.finish(db, held, Outcome("cancelled"))
    assert jobs.get(db, running).status == "cancelled"


def test_a_stop_is_requested_of_running_jobs_only(db: Database) -> None:
    running, queued = add(db, "logistic", "logistic")
    held, _ = claim(db)
    assert [jobs.request_stop(db, each) for each in (running, queued)] == [True, False]
    assert jobs.beat(db, held, lease=60) == Requests(cancel=False, stop=True)
    assert jobs.release(db, held, code="drained", reason="drained")
    assert jobs.get(db, running).stop_requested  # also of the next attempt


def test_a_result_that_was_stopped_is_not_used_again(db: Database) -> None:
    update = ProgressUpdate(environment=Environment(fingerprint="f" * 64))
    ids = add(db, "logistic", "logistic")
    for stops in (True, False):
        held, job = claim(db)
        assert not stops or jobs.request_stop(db, job.id)
        jobs.finish(db, held, Outcome("succeeded", {}, job.id, "0" * 64), update)
    assert [job.id for job in jobs.list_by_fingerprint(db, "f" * 64)] == [ids[1]]


def test_a_cancelled_job_whose_worker_dies_is_cancelled_not_run_again(db: Database) -> None:
    (job_id,) = add(db)
    claim(db, lease=-1)
    jobs.cancel(db, job_id)
    assert jobs.reap(db, backoff=0) == [(job_id, "cancelled")]


def test_a_queued_job_without_a_hint_is_found_once(db: Database) -> None:
    (job_id,) = add(db)
    assert jobs.take_stale_hints(db, after=60) == []
    assert [hint.job for hint in jobs.take_stale_hints(db, after=-1)] == [job_id]
    assert jobs.take_stale_hints(db, after=60) == []


def test_what_waits_is_told_by_pool_and_model_with_the_time_of_the_first(db: Database) -> None:
    assert jobs.waiting(db) == []
    add(db, "logistic", "logistic", "dense-softmax")
    with db.write() as rows:
        rows.run("UPDATE job SET created_at = created_at - 50 WHERE seq = 1")
        late = "UPDATE job SET not_before = created_at + 9000 WHERE model = 'dense-softmax'"
        rows.run(late)
        first = rows.value("SELECT created_at FROM job WHERE seq = 1")
    before = jobs.clock(db) - first
    (found,) = jobs.waiting(db)
    assert (found.pool, found.model, found.jobs) == ("default", "logistic", 2)
    assert 50 <= before <= found.seconds <= jobs.clock(db) - first


def test_one_bad_job_keeps_all_of_a_submission_out(db: Database) -> None:
    good, bad = spec(), spec(kind="dance")
    with pytest.raises(RowRefused):
        jobs.add(db, [good, bad])
    assert jobs.listing(db) == []


def test_a_submission_with_a_key_that_was_used_gives_the_earlier_job(db: Database) -> None:
    first = add(db, idem_key="k")
    assert add(db, idem_key="k") == first
    assert len(jobs.listing(db)) == 1


@pytest.mark.parametrize(
    "lie",
    [
        "status = 'running'",
        "status = 'dancing'",
        "status = 'succeeded', finished_at = 1",
        "owner = 'me'",
        "lease_until = 1",
        "attempt = 9",
        "finished_at = 1",
    ],
)
def test_the_tables_refuse_a_row_that_cannot_be(db: Database, lie: str) -> None:
    add(db)
    with pytest.raises(RowRefused), db.write() as rows:
        rows.run(f"UPDATE job SET {lie}")


def test_a_unique_prefix_names_a_job_or_group(db: Database) -> None:
    ids, group = jobs.add(db, [spec(), spec()], group_kind="cv")
    assert jobs.find_reference(db, ids[0][:12]).id == ids[0]
    assert group is not None and [j.id for j in jobs.find_reference(db, group[:12]).jobs] == ids  # type: ignore[union-attr]
    assert jobs.find_reference(db, "@last").id == group
    (alone,) = add(db)
    assert jobs.find_reference(db, "@last").id == alone


@pytest.mark.parametrize("ref", ["", "zzz", "%", "0" * 40, "'; DROP TABLE job"])
def test_a_ref_that_names_nothing_is_refused_in_a_sentence(db: Database, ref: str) -> None:
    with pytest.raises(UsageError, match="No job"):
        jobs.find_reference(db, ref)


def test_a_prefix_of_several_jobs_is_refused(db: Database) -> None:
    add(db, *["logistic"] * 17)  # two of 17 begin with the same of 16 letters
    with pytest.raises(UsageError, match="several"):
        for letter in "0123456789abcdef":
            try:
                jobs.find_reference(db, letter)
            except UsageError as error:
                if "several" in str(error):
                    raise


def test_the_listing_filters_and_gives_the_newest_first(db: Database) -> None:
    (old,) = add(db)
    (new,) = add(db, "dense-softmax", tags=["x"])
    assert [job.id for job in jobs.listing(db)] == [new, old]
    assert [job.id for job in jobs.listing(db, models=["logistic"])] == [old]
    assert [job.id for job in jobs.listing(db, tags=["x"], statuses=["queued"])] == [new]
    assert jobs.listing(db, datasets=["mnist"]) == []
    assert jobs.counts(db) == {"queued": 2}


def test_a_group_gives_mean_and_deviation_of_what_all_its_jobs_measured(db: Database) -> None:
    group = jobs.add(db, [spec(), spec()], group_kind="cv")[1]
    for accuracy in (0.25, 0.75):
        held, _ = claim(db)
        metrics = {"accuracy": accuracy, "note": "text"} | ({"rare": 1.0} if accuracy > 0.5 else {})
        jobs.finish(db, held, Outcome("succeeded", metrics, "w", "0" * 64))
    found = jobs.find_reference(db, group or "").to_json()
    std = statistics.stdev([0.25, 0.75])
    assert found["metrics"] == {"accuracy": {"mean": 0.5, "std": std, "values": [0.25, 0.75]}}
    assert found["status"] == "succeeded"


def test_a_worker_is_listed_until_it_stops_or_falls_silent(db: Database) -> None:
    card = Card("logistic", "p 1")
    shared = {"host": "h", "pid": 1, "pool": "default", "slots": 2, "version": "1"}
    jobs.register_worker(db, jobs.NewWorker(id="a", name="a", models=[card], **shared))  # type: ignore[arg-type]
    (found,) = jobs.workers(db)
    assert (found.state, found.models) == ("online", [card])
    with db.write() as rows:
        rows.run("UPDATE worker SET beat_at = beat_at - 40")
    assert jobs.workers(db) == []
    assert [w.state for w in jobs.workers(db, gone=True)] == ["silent"]
    assert not jobs.record_heartbeat(db, "a", busy=1)
    jobs.drain(db, "a")
    assert jobs.record_heartbeat(db, "a", busy=1)
    jobs.record_heartbeat(db, "a", busy=0, state="stopped")
    assert jobs.workers(db) == []


def test_a_worker_that_left_long_ago_is_forgotten_once_one_like_it_has_come(db: Database) -> None:
    def announce(name: str, model: str, pool: str = "default") -> None:
        facts = {"host": "h", "pid": 1, "slots": 1, "version": "1", "models": [Card(model, "p 1")]}
        jobs.register_worker(db, jobs.NewWorker(id=name, name=name, pool=pool, **facts))  # type: ignore[arg-type]

    def known() -> list[str]:
        return sorted(worker.name for worker in jobs.workers(db, gone=True))

    announce("old", "a")
    announce("other model", "b")
    announce("other pool", "a", pool="gpu")
    with db.write() as rows:
        rows.run("UPDATE worker SET beat_at = beat_at - 8 * 86400, state = 'stopped'")
    announce("last week", "a")
    # What nobody else publishes can still be submitted.
    assert known() == ["last week", "other model", "other pool"]
    with db.write() as rows:
        rows.run("UPDATE worker SET beat_at = beat_at - 6 * 86400 WHERE name = 'last week'")
    announce("new", "a")
    assert "last week" in known()


def test_a_newer_schema_is_refused_in_a_line(db: Database) -> None:
    with db.write() as rows:
        rows.run("UPDATE alembic_version SET version_num = '99'")
    with pytest.raises(StoreError, match="schema 99"):
        jobs.connect(db.url)


def test_the_migrations_lead_to_the_schema_that_this_program_knows(db: Database) -> None:
    assert jobs.schema_version(db) == jobs.SCHEMA


def test_a_database_of_the_first_migration_is_upgraded_with_its_rows(db: Database) -> None:
    from alembic import command

    (job_id,) = add(db)
    held, _ = claim(db)
    with schema.locked(db) as config:
        command.downgrade(config, "1")
    assert jobs.schema_version(db) == 1
    jobs.upgrade(db)
    assert jobs.schema_version(db) == jobs.SCHEMA
    assert jobs.finish(db, held, DONE)
    assert [a.outcome for a in jobs.attempts(db, job_id)] == ["succeeded"]


def test_a_migration_that_fails_changes_nothing(db: Database) -> None:
    from alembic import command

    add(db)
    with pytest.raises(ZeroDivisionError), schema.locked(db) as config:
        command.downgrade(config, "1")
        _ = 1 / 0
    assert jobs.schema_version(db) == jobs.SCHEMA
    assert jobs.attempts(db, "no job") == []


def test_a_teams_database_without_tables_asks_for_the_upgrade(postgresql: str) -> None:
    db = jobs.Database(postgresql)
    with db.write() as rows:
        rows.run("DROP SCHEMA public CASCADE")
        rows.run("CREATE SCHEMA public")
    with pytest.raises(StoreError, match="zoo db upgrade"):
        jobs.connect(postgresql)
    db.close()


def test_a_file_that_is_no_database_is_refused_in_a_sentence(tmp_path) -> None:  # type: ignore[no-untyped-def]
    file = tmp_path / "zoo.db"
    file.write_text("this is not a database, but it is long enough to be looked at" * 20)
    with pytest.raises(StoreError, match="not a database"):
        jobs.connect(f"sqlite:///{file}")


def test_a_transaction_that_fails_leaves_nothing_and_its_connection_serves_on(db: Database) -> None:
    (job_id,) = add(db)
    with pytest.raises(StoreError, match="nonsense"), db.write() as rows:
        rows.run("UPDATE job SET priority = 7")
        rows.run("SELECT nonsense FROM job")
    with pytest.raises(ZeroDivisionError), db.write() as rows:
        rows.run("UPDATE job SET priority = 8")
        _ = 1 / 0
    assert jobs.get(db, job_id).priority == 0
    assert db.idle_connections == 1


def test_a_full_disk_is_told_as_such(tmp_path: Path) -> None:
    db = jobs.connect(f"sqlite:///{tmp_path / 'zoo.db'}")
    with db.read() as rows:  # the file may not grow: a full disk, as far as SQLite can tell
        pages = rows.value("PRAGMA page_count")
        rows.run(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(StoreError, match="database or disk is full"):
        for _ in range(100):
            jobs.add(db, [spec()] * 100)
    assert jobs.counts(db) == {} or set(jobs.counts(db)) == {"queued"}


def test_connections_that_the_server_has_closed_are_replaced(
    postgresql: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    db, other = (jobs.Database(postgresql) for _ in range(2))
    with db.read() as rows:
        pid = rows.value("SELECT pg_backend_pid()")
    with other.write() as rows:
        gone = "SELECT pg_terminate_backend(:pid, 60000)"  # it waits for the end
        assert rows.value(gone, {"pid": pid})
    monkeypatch.setattr(dialects, "TRUSTED_SECONDS", 0.0)  # as if unused for a while
    assert db.idle_connections == 1
    assert jobs.clock(db) > 0
    for each in (db, other):
        each.close()


def test_a_job_behind_many_that_nobody_serves_gets_its_hint_too(db: Database) -> None:
    jobs.add(db, [spec()] * 30, QueueOptions(pool="nobody's", priority=9))
    (mine,) = add(db)
    seen: set[str] = set()
    for _ in range(4):
        at = jobs.clock(db)  # SQLite's goes by milliseconds, and a round takes no longer
        until(lambda at=at: jobs.clock(db) > at + 0.001)
        seen |= {hint.job for hint in jobs.take_stale_hints(db, after=-1, limit=10)}
    assert mine in seen


@pytest.mark.parametrize(
    "said",
    ["a file \udcff", "nothing\0here", "x" * 20_000],
    ids=["half a character", "a nought", "much"],
)
def test_the_end_of_a_job_is_written_whatever_its_model_said(db: Database, said: str) -> None:
    first, second = add(db, "logistic", "logistic")
    assert jobs.finish(db, claim(db)[0], Outcome("failed", error_code="exception", error=said))
    assert jobs.get(db, first).status == "failed" and jobs.get(db, first).error
    assert jobs.release(db, claim(db)[0], code="killed", reason=said, counts=True)
    assert jobs.get(db, second).status == "queued"


def test_a_file_that_was_replaced_is_opened_anew(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'home' / 'zoo.db'}"
    db = jobs.connect(url)
    jobs.register_worker(db, jobs.NewWorker(**WORKER))  # type: ignore[arg-type]
    assert jobs.record_heartbeat(db, "a", busy=0) is False
    shutil.rmtree(tmp_path / "home")
    add(jobs.connect(url))
    assert jobs.counts(db) == {"queued": 1}
    assert jobs.record_heartbeat(db, "a", busy=0) is None


def test_a_worker_that_is_asked_to_drain_does_not_unask_itself(db: Database) -> None:
    jobs.register_worker(db, jobs.NewWorker(**WORKER))  # type: ignore[arg-type]
    jobs.drain(db, "a")
    assert [jobs.record_heartbeat(db, "a", busy=1) for _ in range(2)] == [True, True]
    assert jobs.record_heartbeat(db, "a", busy=0, state="stopped") is False


WORKER = {"id": "a", "name": "a", "host": "h", "pid": 1, "pool": "default", "slots": 1} | {
    "version": "1",
    "models": [],
}


def test_two_who_retry_the_same_jobs_at_once_add_them_once(db: Database) -> None:
    ids, _ = jobs.add(db, [spec()] * 20)
    with db.write() as rows:
        rows.run("UPDATE job SET status = 'failed', finished_at = 1")
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: jobs.retry(db, ids), range(8)))
    assert sorted(len(each) for each in found) == [0] * 7 + [20]


def test_a_row_that_somebody_holds_does_not_stop_the_reaper(postgresql: str, db: Database) -> None:
    if db.is_sqlite:
        pytest.skip("SQLite locks the whole file, and gives it back when its holder ends")
    held, free = add(db, "logistic", "logistic")
    for _ in range(2):
        claim(db, lease=-1)
    with db.write() as other:
        assert other.one("UPDATE job SET priority = 1 WHERE id = :id RETURNING id", {"id": held})
        assert jobs.reap(db, backoff=0) == [(free, "queued")]
    assert jobs.reap(db, backoff=0) == [(held, "queued")]


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://zoo:s3cret@h:5433/db?sslmode=require", "postgresql://zoo:***@h:5433/db"),
        ("postgresql://h/zoo?user=zoo&password=s3cret", "postgresql://zoo:***@h/zoo"),
        ("postgres+psycopg://h/zoo", "postgresql://h/zoo"),
    ],
    ids=["before the host", "among the options", "none"],
)
def test_the_name_of_a_database_has_no_password(url: str, shown: str) -> None:
    assert jobs.Database(url).name == shown


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://zoo:p@s3cret@h/zoo",
        "postgresql://zoo:50%s3cret@h/zoo",
        "host=db user=zoo password=s3cret dbname=zoo",
        "mysql://zoo:s3cret@h/zoo",
    ],
)
def test_a_url_that_is_no_databases_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(StoreError) as refused:
        jobs.Database(url)
    assert "cret" not in str(refused.value)


@pytest.mark.parametrize("name", ["what?is=this", "100%20", "a b"])
def test_a_home_with_an_odd_name_has_its_rows_where_its_schema_is(
    tmp_path: Path, name: str
) -> None:
    db = jobs.connect(f"sqlite:///{tmp_path / name / 'zoo.db'}")
    add(db)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_two_who_make_a_new_database_at_once_both_can(tmp_path: Path) -> None:
    for number in range(8):
        url = f"sqlite:///{tmp_path / str(number) / 'zoo.db'}"
        with ThreadPoolExecutor(2) as pool:
            found = list(pool.map(lambda _, url=url: jobs.connect(url), range(2)))
        assert [jobs.schema_version(db) for db in found] == [jobs.SCHEMA] * 2


def test_an_upgrade_refuses_a_newer_schema_in_a_line(db: Database) -> None:
    with db.write() as rows:
        rows.run("UPDATE alembic_version SET version_num = '99'")
    with pytest.raises(StoreError, match="schema 99"):
        jobs.upgrade(db)


def test_tags_are_whole_words_and_know_their_case(db: Database) -> None:
    jobs.add(db, [spec()], QueueOptions(tags=["Nightly", "b"]))
    for tag, n in (("Nightly", 1), ("nightly", 0), (",", 0), ("%", 0), ("b", 1)):
        assert len(jobs.listing(db, tags=[tag])) == n


LOST = """
import sys
from zoo import jobs
from zoo.errors import StoreError
db = jobs.Database(sys.argv[1])
try:
    with db.write() as rows:
        pid = rows.value("SELECT pg_backend_pid()")
        with jobs.Database(sys.argv[1]).write() as other:
            other.one("SELECT pg_terminate_backend(:pid, 60000)", {"pid": pid})
        rows.value("SELECT 1")
except StoreError:
    print("told")
"""


def test_a_connection_that_is_lost_in_a_transaction_is_told_once(postgresql: str) -> None:
    command = [sys.executable, "-c", LOST, postgresql]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (done.stdout, done.stderr) == ("told\n", "")
