"""What people type to name a job, on both databases."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from helpers.finished_jobs import a_spec, claim, folds, succeed
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from zoo import jobs
from zoo.errors import UsageError
from zoo.jobs import Database, Outcome, QueueOptions, references
from zoo.queue.job_filters import FilterWords
from zoo.terminal_text import one_line


def fail(db: Database) -> str:
    (job,), _ = jobs.add(db, [a_spec()])
    jobs.finish(db, claim(db), Outcome("failed", error_code="exception", error="a bad day"))
    return job


def test_last_failed_is_the_newest_that_ended_badly_whatever_came_after(db: Database) -> None:
    fail(db)
    job = fail(db)
    succeed(db, [a_spec()])
    assert jobs.find_reference(db, "@last-failed").id == job
    assert jobs.find_reference(db, "@last").id != job


def test_best_is_the_most_accurate_training_on_test_images_and_never_a_fold(db: Database) -> None:
    good = succeed(db, [a_spec()], accuracies=[0.95])
    succeed(db, [a_spec()], accuracies=[0.95])
    succeed(db, [a_spec()], accuracies=[0.90])
    succeed(db, folds(2), kind="cv", accuracies=[0.99, 0.99])
    assert jobs.find_reference(db, "@best:digits").id == good
    assert jobs.find_reference(db, "@best:digits/m").id == good


@pytest.mark.parametrize(
    ("ref", "why"),
    [
        ("@lst", "Did you mean '@last'"),
        ("@last:digits", "reference"),
        ("@best", "reference"),
        ("@best:mnist", "on 'mnist'"),
        ("@best:digits/logistic", "'logistic' on 'digits'"),
        ("@last-failed", "No job has failed"),
        ("xyz", "No job or group"),
        ("", "No job or group"),
    ],
)
def test_a_word_that_names_nothing_is_refused_with_what_to_do(
    db: Database, ref: str, why: str
) -> None:
    succeed(db, [a_spec()])
    with pytest.raises(UsageError) as refused:
        jobs.find_reference(db, ref)
    assert why in str(refused.value)


def test_a_shell_is_offered_newest_jobs_their_groups_and_tags(db: Database) -> None:
    group = succeed(db, folds(2), kind="cv", accuracies=[0.9, 0.9])
    (tagged,), _ = jobs.add(db, [a_spec()], QueueOptions(tags=["mine", "nightly"]))
    offered = dict(references.recent(db, ""))
    assert next(iter(offered)) == tagged[:8] and "queued" in offered[tagged[:8]]
    assert offered[group[:8]] == "group of m on digits"
    assert list(dict(references.recent(db, tagged[:3]))) == [tagged[:8]]
    assert references.recent_tags(db) == ["mine", "nightly"]


@pytest.mark.parametrize(
    "name", ["digits", "npz:{}/mine.npz", "idx:{}/a/b", "npz:{}/logistic", "npz:{}/m"]
)
def test_the_best_on_any_dataset_is_named_alone_and_with_its_model(
    db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    dataset = name.format(tmp_path)
    worse = succeed(db, [a_spec(dataset=dataset)], accuracies=[0.5])
    best = succeed(db, [a_spec(dataset=dataset, seed=2)], accuracies=[0.8])
    succeed(db, [a_spec(dataset="npz:/other.npz")], accuracies=[0.9])
    relative = dataset.replace(f"{tmp_path}/", "")
    for spelt in {dataset, relative, dataset.replace(f"{tmp_path}/", "./x/../")}:
        assert jobs.find_reference(db, f"@best:{spelt}").id == best != worse
        assert jobs.find_reference(db, f"@best:{spelt}/m").id == best
        with pytest.raises(UsageError, match=f"of 'none-such' on '{re.escape(dataset)}'"):
            jobs.find_reference(db, f"@best:{spelt}/none-such")
        found = jobs.listing(db, FilterWords(dataset=[spelt]).filter(db))
        assert {job.id for job in found} == {worse, best}
    if ":" in dataset:
        found = jobs.listing(db, FilterWords(dataset=[f"{dataset[:4]}*"]).filter(db))
        assert {job.id for job in found} >= {worse, best}
        with pytest.raises(UsageError, match=re.escape(f"on '{dataset}x'")):
            jobs.find_reference(db, f"@best:{relative}x")


def named(db: Database, name: str, **given: Any) -> str:
    ids, group = jobs.add(db, [a_spec()], QueueOptions(name=name), **given)
    return group or ids[0]


LETTERS = "abcdef0123456789gxé한-_. "
bare_names = st.text(LETTERS, min_size=1, max_size=12)


@given(
    ids=st.lists(st.text("abc0", min_size=32, max_size=32), min_size=1, max_size=3, unique=True),
    name=bare_names,
    ref=bare_names | st.sampled_from(["@last", "@last-failed", "a", "ab", "abc"]),
)
@examples(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_word_wins_over_an_id_and_an_id_over_a_name(
    db: Database, ids: list[str], name: str, ref: str
) -> None:
    """Rows may have any name, also one that `--name` refuses."""
    with db.write() as rows:
        rows.run("DELETE FROM job")
    made, _ = jobs.add(db, [a_spec()] * (len(ids) + 1))
    *others, mine = made
    with db.write() as rows:
        for old, new in zip(others, ids, strict=True):
            rows.run("UPDATE job SET id = :new WHERE id = :old", {"new": new, "old": old})
        rows.run("UPDATE job SET name = :name WHERE id = :id", {"name": name, "id": mine})
    begin = [each for each in [*ids, mine] if each.startswith(ref)]
    if ref == "@last":
        expected = mine
    elif ref.startswith("@"):
        expected = None
    elif len(begin) == 1:
        expected = begin[0]
    else:
        is_name = not begin and one_line(ref) == name and bool(name.strip())
        expected = mine if is_name else None
    try:
        found = jobs.find_reference(db, ref).id
    except UsageError:
        found = None
    assert found == expected


def test_a_name_stands_for_a_job_or_a_whole_group_and_goes_on_to_the_retry(db: Database) -> None:
    one = named(db, "night run")
    group, _ = jobs.add(db, folds(3), QueueOptions(name="folds"), group_kind="cv")
    found = jobs.find_reference(db, " night  run ")
    assert found.id == one and jobs.find_reference(db, "folds").id == jobs.get(db, group[0]).group
    jobs.cancel(db, one)
    jobs.set_note(db, [one], "out of memory")
    (again,) = jobs.retry(db, [one])
    assert jobs.find_reference(db, "night run").id == again and jobs.get(db, again).note is None
    assert [job.id for job in jobs.find_jobs(db, ["folds"])] == group
    other = named(db, "night run")
    with pytest.raises(UsageError, match=rf"Several have the name .*: {other[:8]}, {again[:8]}\."):
        jobs.find_reference(db, "night run")
    for _ in range(6):
        named(db, "night run")
    with pytest.raises(UsageError, match="and others"):
        jobs.find_reference(db, "night run")
    assert references.recent_names(db) == ["night run", "folds"]
    assert jobs.count(db, FilterWords(where="name ~ 'night*' and note == null").filter(db)) == 8


@pytest.mark.parametrize(
    ("name", "stored"),
    [
        ("  a \n b\t", "a b"),
        ("e\u0301t\u00e9", "\u00e9t\u00e9"),
        ("x" * 64, "x" * 64),
        ("20261130", "20261130"),
        ("모델 1", "모델 1"),
        *((bad, None) for bad in ("", " ", "x" * 65, "@last", "-x", "+x", "cafe", "1")),
        *((f"a{bad}b", None) for bad in ("\x1b[1m", "\u202e", "\u200b", "\0", "\ud800", "\x7f")),
    ],
)
def test_a_name_is_one_line_that_is_no_other_reference(name: str, stored: str | None) -> None:
    if stored is None:
        with pytest.raises(UsageError):
            QueueOptions(name=name)
    else:
        assert QueueOptions(name=name).name == stored
