"""Whose a job is: stored with it, filtered by, and asked before another one's is acted on."""

from __future__ import annotations

import json

import pytest
from helpers.command_line import Zoo
from helpers.finished_jobs import a_spec, claim
from helpers.job_rows import spec

from zoo import jobs, settings
from zoo.errors import UsageError
from zoo.jobs import Database, Filter, Outcome, QueueOptions
from zoo.queue import submit
from zoo.queue.job_filters import FilterWords

ANNA, BO = "anna@gpu1", "bo@laptop"


def add(db: Database, user: str | None, **given: str) -> str:
    (job,), _ = jobs.add(db, [a_spec()], QueueOptions(submitted_by=user, **given))
    return job


def be(monkeypatch: pytest.MonkeyPatch, user: str) -> None:
    monkeypatch.setenv("ZOO_USER", user)


def test_last_is_ones_own_and_without_one_the_newest_of_nobody(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    be(monkeypatch, ANNA)
    with pytest.raises(UsageError, match="There is no job yet"):
        jobs.find_reference(db, "@last")
    nobodys = add(db, None)
    assert jobs.find_reference(db, "@last").id == nobodys
    mine = add(db, ANNA)
    jobs.cancel(db, nobodys)
    add(db, BO)
    newer = add(db, None)
    assert jobs.find_reference(db, "@last").id == mine
    be(monkeypatch, "carl")
    assert jobs.find_reference(db, "@last").id == newer
    with db.write() as rows:
        rows.run("DELETE FROM job WHERE submitted_by IS NULL")
    with pytest.raises(UsageError, match="No job was submitted by carl"):
        jobs.find_reference(db, "@last")


def test_last_failed_is_ones_own(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    for user in (ANNA, BO):
        failed = add(db, user)
        jobs.finish(db, claim(db), Outcome("failed", error_code="exception", error="no"))
        be(monkeypatch, user)
        assert jobs.find_reference(db, "@last-failed").id == failed
    be(monkeypatch, ANNA)
    assert jobs.find_reference(db, "@last-failed").id != failed
    be(monkeypatch, "carl")
    with pytest.raises(UsageError, match="No job of yours has failed"):
        jobs.find_reference(db, "@last-failed")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (FilterWords(user=["anna@gpu1"]), "A"),
        (FilterWords(user=["anna"]), "Aa"),
        (FilterWords(user=["ann"]), ""),
        (FilterWords(user=["*@laptop", "anna@gpu?"]), "AB"),
        (FilterWords(user=["anna%"]), ""),
        (FilterWords(mine=True), "B"),
        (FilterWords(mine=True, user=["anna"]), "AaB"),
        (FilterWords(mine=False), "AaB0"),
        (FilterWords(where="user ~ 'anna*' and submitted_by != 'anna'"), "A"),
        (FilterWords(where="user == null"), "0"),
    ],
)
def test_jobs_are_filtered_by_owner(
    db: Database, monkeypatch: pytest.MonkeyPatch, words: FilterWords, expected: str
) -> None:
    be(monkeypatch, BO)
    known = {
        add(db, user): name for name, user in zip("AaB0", (ANNA, "anna", BO, None), strict=True)
    }
    found = jobs.list_ids(db, words.filter(db), sort="user")
    assert "".join(sorted(known[each] for each in found)) == "".join(sorted(expected))


def test_a_retry_belongs_to_whoever_retries(db: Database) -> None:
    old = add(db, ANNA)
    jobs.cancel(db, old)
    (again,) = jobs.retry(db, [old], submitted_by=BO)
    jobs.cancel(db, again)
    (third,) = jobs.retry(db, [again])
    assert [jobs.get(db, each).submitted_by for each in (old, again, third)] == [ANNA, BO, BO]
    assert jobs.other_owners(db, [old, again, third], "carl") == {ANNA: 1, BO: 2}
    assert jobs.other_owners(db, [old, add(db, None)], ANNA) == {}


def test_every_submission_stores_its_user(db: Database) -> None:
    nowhere = {"ZOO_BROKER_URL": "redis://127.0.0.1:1"}
    done = submit.submit(
        db, settings.load(nowhere | {"ZOO_USER": ANNA}), [a_spec(contents="c" * 64)]
    )
    (job,) = done.ids
    assert jobs.get(db, job).submitted_by == ANNA
    jobs.cancel(db, job)
    chosen = settings.load(nowhere)
    again = submit.retry(db, chosen, [job])
    assert jobs.get(db, again.ids[0]).submitted_by == chosen.submitter


def test_a_job_is_named_noted_and_listed_by_that(zoo: Zoo) -> None:
    db = zoo.database()
    (job,), _ = jobs.add(db, [spec()], QueueOptions(name="first light"))
    (plain,), _ = jobs.add(db, [spec()])
    zoo.run("note", "first light", "good", " enough \u2713")
    assert zoo.run("note", job[:8]).stdout == "good enough \u2713\n"
    assert "name  first light" in (shown := zoo.run("show", "first light").stdout)
    assert "note  good enough" in shown
    found = zoo.json("jobs", "--where", "name == 'first light'")
    assert [(each["id"], each["note"]) for each in found] == [(job, "good enough \u2713")]
    assert zoo.run("jobs").stdout.split()[:2] == ["id", "name"]
    assert "name" not in zoo.run("jobs", "--where", "name == null").stdout.split()
    assert "control" in zoo.run("note", plain, "a\x1bb", code=2).stderr
    assert "1,001 characters" in zoo.run("note", plain, "x" * 1001, code=2).stderr
    zoo.run("note", job, "")
    assert jobs.get(db, job).note is None and "No note" in zoo.run("note", job).stderr
    refused = zoo.run("train", "logistic", "--dataset", "digits", "--name", "cafe", code=2)
    assert "beginning of an id" in refused.stderr
    assert "begins with 'second', or that name" in zoo.run("show", "second", code=2).stderr


def test_to_act_on_the_job_of_another_needs_a_yes(zoo: Zoo) -> None:
    db = zoo.database()
    theirs, other = (
        jobs.add(db, [spec()], QueueOptions(submitted_by=user))[0][0] for user in (ANNA, BO)
    )
    (mine,), _ = jobs.add(db, [spec()], QueueOptions(submitted_by=zoo.settings.submitter))
    for act in ("cancel", "hold", "stop"):
        refused = zoo.run(act, theirs[:8], code=2).stderr
        assert f"Refusing to {act} the job {theirs[:8]} of {ANNA}" in refused
    many = zoo.run("cancel", mine, theirs, other, code=2).stderr
    assert f"3 jobs, 2 of them of {ANNA} and {BO} without confirmation" in " ".join(many.split())
    assert zoo.run("cancel", theirs, "--dry-run").stdout.strip() == theirs
    shown = zoo.run("jobs").stdout
    assert ANNA in shown and BO in shown
    assert [job["id"] for job in zoo.json("jobs", "--mine")] == [mine]
    assert ANNA not in zoo.run("jobs", "--mine").stdout
    assert json.loads(zoo.run("show", theirs, "--json").stdout)["submitted_by"] == ANNA
    assert f"user  {ANNA}" in zoo.run("show", theirs).stdout
    zoo.run("cancel", "@last")
    zoo.run("hold", other, "--yes")
    zoo.run("cancel", theirs, "--yes")
    found = {job.id: job for job in jobs.listing(db, Filter())}
    assert [found[each].status for each in (mine, theirs, other)] == ["cancelled"] * 2 + ["queued"]
    assert found[other].held
