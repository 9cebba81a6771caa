"""The verbs that steer the queue, as they are typed, through a real worker."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.command_line import Zoo, share, until

from zoo import jobs
from zoo.job_spec import JobSpec
from zoo.jobs import Hint, QueueOptions
from zoo.queue.broker import Broker

DIGITS = ("--dataset", "digits")
TELLER = {
    "ZOO_PLUGINS_DIR": str(Path(__file__).parents[1] / "plugins"),
    "ZOO_PLUGINS": "teller,sklearn",
}
"""A model that takes no time, for all here is about when jobs begin."""


@pytest.fixture(scope="module")
def warm_zoo(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Iterator[Zoo]:
    found = Zoo(share(cache, tmp_path_factory.mktemp("warm") / "home"), **TELLER)
    found.run("up")
    yield found
    found.close()


def add(zoo: Zoo, number: int = 1) -> list[str]:
    """Put jobs into the rows as `zoo train` does; no hint is sent."""
    spec = JobSpec(kind="train", model="teller", params={}, dataset="digits")
    return jobs.add(zoo.database(), [spec] * number)[0]


def status(zoo: Zoo, job_id: str) -> str:
    return jobs.get(zoo.database(), job_id).status


def end(zoo: Zoo, *ids: str) -> None:
    until(lambda: all(jobs.get(zoo.database(), each).is_terminal for each in ids))


@pytest.fixture
def paused(warm_zoo: Zoo) -> Zoo:
    """The warm home with its pool paused: what is submitted stays queued."""
    jobs.pause(warm_zoo.database(), "default")
    return warm_zoo


def test_a_paused_pool_holds_its_jobs_and_then_runs_them_in_the_order_asked_for(
    warm_zoo: Zoo,
) -> None:
    zoo = warm_zoo
    zoo.run("pool", "pause", "default")
    first, second, held = add(zoo, 3)
    after = ("--after", first[:8], "--after-any", held[:8], "--priority", "9", "-d")
    last = zoo.run("train", "teller", *DIGITS, *after).stdout.strip()
    assert "is held" in zoo.run("hold", held[:8]).stderr
    assert "2 jobs have priority -3" in zoo.run("priority", first, second, "-3").stderr
    (pool,) = zoo.json("pool", "list")
    assert (pool["name"], pool["queued"], pool["running"]) == ("default", 4, 0)
    assert pool["paused_at"] and pool["workers"] == 1

    zoo.run("pool", "resume", "default")
    end(zoo, first, second)
    assert (status(zoo, held), status(zoo, last)) == ("queued", "queued")
    zoo.run("release", held)
    end(zoo, last)
    began = [jobs.get(zoo.database(), each).started_at for each in (first, second, held, last)]
    assert began == sorted(began)  # type: ignore[type-var]
    assert "is not held: it is succeeded" in zoo.run("release", first, code=1).stderr
    assert "is not paused" in zoo.run("pool", "resume", "default", code=1).stderr


def test_filter_words_say_which_jobs_to_hold_release_or_prefer(paused: Zoo) -> None:
    db = paused.database()
    ids = add(paused, 3)
    for each, tag in zip(ids, ("night", "night", "day"), strict=True):
        jobs.tag(db, [each], [tag], [])
    nobody = paused.run("hold", "--tag", "night", code=2).stderr
    assert "Refusing to hold 2 jobs" in nobody and "--yes" in nobody
    assert paused.run("hold", "--tag", "night", "--dry-run").stdout.split() == ids[:2]
    assert not any(jobs.get(db, each).held for each in ids)
    assert "2 jobs are held" in paused.run("hold", "--tag", "night", "-y").stderr
    assert [jobs.get(db, each).held for each in ids] == [True, True, False]
    told = paused.run("priority", "--tag", "*", "-7", "--yes").stderr
    assert told == "3 jobs have priority -7 now.\n"
    assert {jobs.get(db, each).priority for each in ids} == {-7}
    assert "2 jobs are released" in paused.run("release", "--model", "teller", "--yes").stderr
    assert "0 jobs released" in paused.run("release", "--model", "teller", "--yes").stderr
    assert "No jobs are given" in paused.run("priority", "3", code=2).stderr
    odd = paused.run("priority", "--tag", "day", "--dry_run", "5", code=2).stderr
    assert "no option --dry_run" in odd
    jobs.cancel_many(db, ids)
    jobs.resume(db, "default")


def test_a_group_has_no_more_jobs_at_once_than_it_may(warm_zoo: Zoo) -> None:
    many = ("--seeds", "4", "--max-parallel", "1")
    group = warm_zoo.json("train", "teller", *DIGITS, *many)
    found = sorted(group["jobs"], key=lambda job: job["started_at"])
    assert [job["status"] for job in found] == ["succeeded"] * 4
    for before, after in itertools.pairwise(found):
        assert before["finished_at"] <= after["started_at"]


def test_what_waits_for_a_job_without_success_ends_cancelled_and_says_why(paused: Zoo) -> None:
    (first,) = add(paused)
    waiting = paused.run("train", "teller", *DIGITS, "-d", "--after", first[:8]).stdout.strip()
    jobs.cancel(paused.database(), first)
    jobs.resume(paused.database(), "default")
    assert status(paused, waiting) == "cancelled"
    told = f"The job {first[:8]}, which had to succeed first, is cancelled."
    assert told in paused.run("show", waiting[:8]).stdout
    refused = paused.run("train", "teller", *DIGITS, "-d", "--after", waiting[:8], code=2)
    assert "--after-any" in refused.stderr


def test_the_worker_that_ends_a_job_sends_hints_for_those_that_waited(
    tmp_path: Path, cache: Path
) -> None:
    # Nobody else looks: the worker's own look at the queue comes in an hour.
    zoo = Zoo(share(cache, tmp_path / "home"), **TELLER, ZOO_REAP_SECONDS="3600")
    try:
        first = jobs.connect(zoo.settings.database)
        jobs.pause(first, "default")  # else it may have ended before another one waits for it
        before = zoo.run("train", "teller", *DIGITS, "-d").stdout.strip()
        spec = JobSpec.parse_object(jobs.get(first, before).spec)
        (after,), _ = jobs.add(first, [spec], QueueOptions(after_any=[before]))
        jobs.resume(first, "default")
        Broker(zoo.settings, patient=True).send([Hint(before, "default", "teller")])
        end(zoo, after)
        with first.read() as rows:
            found = rows.one("SELECT * FROM job WHERE id = :id", {"id": after})
        assert found is not None and found["dispatched_at"] > found["created_at"]
    finally:
        zoo.close()


def test_what_is_held_or_paused_says_so_and_what_it_is_already_is_not_counted(
    warm_zoo: Zoo,
) -> None:
    db = warm_zoo.database()
    spec = JobSpec(kind="train", model="teller", params={}, dataset="digits")
    (queued,) = jobs.add(db, [spec], QueueOptions(pool="nobody"))[0]
    held = jobs.add(db, [spec] * 3, QueueOptions(pool="nobody"))[0]
    (elsewhere,) = jobs.add(db, [spec], QueueOptions(pool="closed"))[0]
    jobs.pause(db, "closed")
    for job in held:
        jobs.tag(db, [job], ["h"])
    pool = ("--where", "pool = 'nobody'")
    try:
        assert "3 jobs are held;" in warm_zoo.run("hold", "--tag", "h", "-y").stderr
        assert (
            warm_zoo.run("hold", "--tag", "h").stderr == "All 3 matching jobs are already held.\n"
        )
        assert warm_zoo.run("hold", "--tag", "h", "--dry-run").stdout == ""
        # Four jobs match and one would change: no confirmation is needed.
        assert warm_zoo.run("hold", *pool, "--dry-run").stdout.split() == [queued]
        again = warm_zoo.run("hold", held[0], queued).stderr.splitlines()
        assert again[1] == f"{held[0][:8]} is already held."
        jobs.unhold(db, [queued])
        assert warm_zoo.run("release", *pool, "--dry-run").stdout.split() == held
        rows = warm_zoo.run("jobs", "--status", "queued").stdout.splitlines()
        said = {row.split()[0]: row.split()[4] for row in rows[1:] if row.strip()}
        assert {said[job[:8]] for job in held} == {"held"}
        assert (said[queued[:8]], said[elsewhere[:8]]) == ("queued", "paused")
        # For scripts, the status is one of the statuses.
        assert {job["status"] for job in warm_zoo.json("jobs", "--status", "queued")} == {"queued"}
        pools = {each["name"]: each for each in warm_zoo.json("pool", "list")}
        assert (pools["nobody"]["queued"], pools["nobody"]["held"]) == (4, 3)
        assert (pools["closed"]["queued"], pools["closed"]["held"]) == (1, 0)
        jobs.unhold(db, held)
        told = warm_zoo.run("release", *pool, "--yes").stderr
        assert told == "0 jobs released: none of the 4 matching jobs is held.\n"
    finally:
        jobs.cancel_many(db, [queued, *held, elsewhere])
        jobs.resume(db, "closed")
