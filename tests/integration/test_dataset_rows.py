"""Rows of added datasets and jobs that are pinned to a version, on SQLite and on PostgreSQL."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from helpers import job_rows
from helpers.job_rows import spec

from zoo import jobs
from zoo.canonical_json import canonical
from zoo.errors import UsageError
from zoo.job_spec import JobSpec
from zoo.jobs import Database, Job, NewDataset, Outcome, schema
from zoo.results.leaderboard import leaderboard_rows

ONE, TWO = "1" * 64, "2" * 64


def wine(fingerprint: str = ONE, name: str = "wine") -> NewDataset:
    meta = {"name": name, "fingerprint": fingerprint}
    recipe = {"source": "csv:/x/wine.csv", "options": {"target": "class"}}
    return NewDataset(name, fingerprint, meta, recipe, f"datasets/{fingerprint}", "0" * 64, 5 << 32)


def claim(db: Database, datasets: tuple[str, ...] = ()) -> Job | None:
    found = jobs.claim(
        db, pool="default", models={"logistic": "p"}, datasets=datasets, worker="w", lease=60
    )
    return found[1] if found else None


def test_other_contents_are_a_new_version_and_the_same_are_none(db: Database) -> None:
    first, is_new = jobs.add_dataset(db, wine())
    assert (first.version, first.label, is_new) == (1, "wine@1", True)
    assert vars(wine()).items() <= vars(first).items()
    assert jobs.add_dataset(db, wine()) == (first, False)
    second, is_new = jobs.add_dataset(db, wine(TWO))
    assert (second.version, is_new) == (2, True)
    assert jobs.find_dataset(db, "wine") == second
    assert jobs.find_dataset(db, "wine", 1) == first
    assert jobs.find_contents(db, ONE) == first
    # Contents of before are a version of their own: the newest one is what the name means.
    again, _ = jobs.add_dataset(db, wine())
    assert again.version == 3
    assert [each.version for each in jobs.list_datasets(db, "wine")] == [3, 2, 1]


def test_names_are_listed_by_their_beginning_once_each(db: Database) -> None:
    names = ["wine", "wine-2", "wine.old", "win_95", "tables", "win%", "wi"]
    for name in names:
        jobs.add_dataset(db, wine(name=name))
    jobs.add_dataset(db, wine(TWO))
    jobs.remove_datasets(db, "wine.old", [1], lambda _: None)
    kept = set(names) - {"wine.old"}
    for beginning in ("", "w", "win", "wine", "win_", "win%", "wine-2", "wine-2x", "%"):
        found = jobs.list_dataset_names(db, beginning, 10)
        assert len(found) == len(set(found))
        assert set(found) == {each for each in kept if each.startswith(beginning)}
        assert jobs.list_dataset_names(db, beginning, 2) == found[:2]


def test_concurrent_adds_give_each_contents_one_version(db: Database) -> None:
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda _: jobs.add_dataset(db, wine()), range(8)))
    assert {version.version for version, _ in found} == {1}
    assert [is_new for _, is_new in found].count(True) == 1
    several = [wine(f"{n}" * 64) for n in range(2, 8)]
    with ThreadPoolExecutor(6) as threads:
        found = list(threads.map(lambda each: jobs.add_dataset(db, each), several))
    assert sorted(version.version for version, _ in found) == [2, 3, 4, 5, 6, 7]


def test_a_removed_version_is_gone_and_its_number_stays_used(db: Database) -> None:
    removed: list[str] = []
    jobs.add_dataset(db, wine())
    jobs.add_dataset(db, wine(name="same"))
    jobs.remove_datasets(db, "wine", [1], removed.append)
    assert removed == []  # the dataset 'same' has these contents, too
    assert jobs.find_dataset(db, "wine") is None and jobs.find_dataset(db, "wine", 1) is None
    assert jobs.add_dataset(db, wine(TWO))[0].version == 2
    jobs.remove_datasets(db, "same", [1], removed.append)
    assert removed == [f"datasets/{ONE}"] and jobs.find_contents(db, ONE) is None


def test_a_dataset_stays_while_an_unfinished_job_refers_to_it(db: Database) -> None:
    jobs.add_dataset(db, wine())
    job_rows.add(db, [spec(dataset="wine", version=1, contents=ONE)])
    with pytest.raises(UsageError, match="1 unfinished job refers to it"):
        jobs.remove_datasets(db, "wine", [1], pytest.fail)
    assert jobs.find_dataset(db, "wine", 1)
    taken = claim(db)
    assert taken is not None
    users = jobs.count_users(db, "wine", [1])
    assert (users.unfinished, users.finished) == (1, 0)


def test_every_worker_may_claim_a_job_on_a_version_of_an_added_dataset(db: Database) -> None:
    ids, _ = job_rows.add(db, [spec(dataset="wine"), spec(dataset="wine", version=2, contents=TWO)])
    taken = claim(db)
    assert taken is not None
    assert (taken.id, taken.dataset_version, taken.needed_dataset) == (ids[1], 2, None)
    assert claim(db) is None
    plain = claim(db, ("wine",))
    assert plain is not None and plain.needed_dataset == "wine"


def test_jobs_that_wait_say_whether_any_worker_can_get_their_dataset(db: Database) -> None:
    job_rows.add(db, [spec(dataset="wine", version=1), spec(dataset="digits")])
    assert {each.dataset: each.needed_dataset for each in jobs.waiting(db)} == {
        "wine": None,
        "digits": "digits",
    }


def test_a_retry_runs_on_the_same_version(db: Database) -> None:
    job_rows.add(db, [spec(dataset="wine", version=1, contents=ONE)])
    taken = jobs.claim(
        db, pool="default", models={"logistic": "p"}, datasets=[], worker="w", lease=60
    )
    assert taken is not None
    assert jobs.finish(db, taken[0], Outcome("failed", error_code="exception", error="no"))
    (again,) = jobs.retry(db, [taken[1].id])
    found = jobs.get(db, again)
    assert (found.dataset_version, found.spec["contents"]) == (1, ONE)


def test_a_database_of_before_is_upgraded_and_its_queued_jobs_run(db: Database) -> None:
    from alembic import command

    job_rows.done(db, [spec(), spec(seed=1)], [0.9, 0.8])
    job_rows.done(db, [spec(seed=2), spec(seed=3)], [0.7, 0.75], group_kind="seeds")
    board = [row.to_json() for row in leaderboard_rows(db)]
    with schema.locked(db) as config:
        command.downgrade(config, "7")
    old = {"v": 1, "kind": "train", "model": "logistic", "params": {}, "dataset": "npz:/x/a.npz"}
    insert = """
        INSERT INTO job (id, kind, model, dataset, pool, priority, tags, spec_version, spec, status,
            max_attempts, created_at, dispatched_at, blockers, parked, ranked)
        VALUES ('a', 'train', 'logistic', 'npz:/x/a.npz', 'default', 0, '[]', 1, :spec, 'queued',
            3, 1, 1, 0, 0, 1)"""
    with db.write() as rows:
        rows.run(insert, {"spec": canonical(old)})
    jobs.upgrade(db)
    assert [row.to_json() for row in leaderboard_rows(db)] == board
    taken = claim(db)
    assert taken is not None
    parsed = JobSpec.parse_object(taken.spec)
    assert (parsed.v, parsed.version, parsed.contents) == (1, None, None)
    assert replace(taken, dataset_version=1).needed_dataset is None
