"""What people type to name a job, on both databases."""

from __future__ import annotations

import pytest
from results import a_spec, claim, folds, succeed

from zoo import jobs
from zoo.errors import UsageError
from zoo.jobs import Database, Outcome, references


def fail(db: Database) -> str:
    (job,), _ = jobs.add(db, [a_spec()])
    jobs.finish(db, claim(db), Outcome("failed", error_code="exception", error="a bad day"))
    return job


def test_last_failed_is_the_newest_that_ended_badly_whatever_came_after(db: Database) -> None:
    fail(db)
    job = fail(db)
    succeed(db, [a_spec()])
    assert jobs.find(db, "@last-failed").id == job
    assert jobs.find(db, "@last").id != job


def test_best_is_the_most_accurate_training_on_test_images_and_never_a_fold(db: Database) -> None:
    good = succeed(db, [a_spec()], accuracies=[0.95])
    succeed(db, [a_spec()], accuracies=[0.95])
    succeed(db, [a_spec()], accuracies=[0.90])
    succeed(db, folds(2), kind="cv", accuracies=[0.99, 0.99])
    assert jobs.find(db, "@best:digits").id == good
    assert jobs.find(db, "@best:digits/m").id == good


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
        jobs.find(db, ref)
    assert why in str(refused.value)


def test_a_shell_is_offered_newest_jobs_their_groups_and_tags(db: Database) -> None:
    group = succeed(db, folds(2), kind="cv", accuracies=[0.9, 0.9])
    (tagged,), _ = jobs.add(db, [a_spec()], tags=["mine", "nightly"])
    offered = dict(references.recent(db, ""))
    assert next(iter(offered)) == tagged[:8] and "queued" in offered[tagged[:8]]
    assert offered[group[:8]] == "group of m on digits"
    assert list(dict(references.recent(db, tagged[:3]))) == [tagged[:8]]
    assert references.recent_tags(db) == ["mine", "nightly"]
