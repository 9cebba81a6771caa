"""What people type to name a job, on both databases."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from helpers.finished_jobs import a_spec, claim, folds, succeed

from zoo import jobs
from zoo.errors import UsageError
from zoo.jobs import Database, Outcome, QueueOptions, references
from zoo.queue.job_filters import FilterWords


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
