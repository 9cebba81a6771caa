"""What `zoo compare` finds between results whose predictions are known."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.finished_jobs import a_spec, folds, job_of, succeed

from zoo import jobs, settings
from zoo.errors import UsageError
from zoo.jobs import Database
from zoo.metrics import Objective
from zoo.results import comparison
from zoo.training.evaluation import Predictions, measure

LABELS = [0, 0, 0, 0, 1, 1, 1, 1]


@pytest.fixture
def db(empty_file: Path, home: Path) -> Database:
    home.mkdir()
    shutil.copy(empty_file, home)
    return jobs.connect()


def side(db: Database, *specs: Any, **made: Any) -> comparison.ComparedResult:
    """A job or group that has succeeded, with predictions."""
    made = {"artifacts_url": settings.load().artifacts} | made
    return comparison.load_result(
        db, jobs.find_reference(db, succeed(db, specs or [a_spec()], **made))
    )


def trained(
    db: Database, predicted: list[int], *specs: Any, **made: Any
) -> comparison.ComparedResult:
    return side(db, *specs, labels=LABELS, predicted=predicted, **made)


def meet(a: comparison.ComparedResult, b: comparison.ComparedResult) -> comparison.PairComparison:
    return comparison.compare_pair(settings.load(), a, b)


def test_two_jobs_meet_image_by_image(db: Database) -> None:
    a = trained(db, [0, 0, 0, 1, 1, 1, 1, 0])
    b = trained(db, [0, 0, 1, 1, 1, 1, 1, 1])
    found = meet(a, b)
    d = found.disagreement
    assert d and (d.images, d.both_right, d.only_a, d.only_b, d.both_wrong) == (8, 5, 1, 1, 1)
    assert d.different == 2
    assert [(each.row, each.label, each.predicted) for each in d.first] == [
        (2, "0", ("0", "1")),
        (7, "1", ("0", "1")),
    ]
    assert found.test and (found.test.n, found.test.p, found.test.difference) == (2, 1.0, 0.0)


def test_of_many_images_the_first_ten_are_shown_and_all_are_counted(db: Database) -> None:
    a, b = (side(db, labels=[0] * 30, predicted=[each] * 30) for each in (0, 1))
    found = meet(a, b)
    assert found.disagreement and found.disagreement.different == found.disagreement.only_a == 30
    assert [each.row for each in found.disagreement.first] == list(range(10))
    assert found.test and found.test.p == pytest.approx(2 * 0.5**30)


def test_folds_are_paired_by_their_number_and_seeds_by_theirs(db: Database) -> None:
    accuracies = ([0.90, 0.80, 0.95], [0.91, 0.83, 0.96])
    cv = [side(db, *folds(3), kind="cv", accuracies=values) for values in accuracies]
    found = meet(*cv)
    assert found.test and found.test.name == "corrected resampled t-test" and found.test.n == 3
    assert found.test.difference == pytest.approx(-0.05 / 3)
    assert found.disagreement and found.disagreement.images == 6

    seeds = [
        side(
            db,
            *(a_spec(seed=seed) for seed in order),
            kind="seeds",
            accuracies=[seed / 10 for seed in order],
        )
        for order in ([1, 2, 3], [3, 1, 2])
    ]
    found = meet(*seeds)
    assert found.test and found.test.name == "paired t-test" and found.test.p == 1.0


@pytest.mark.parametrize(
    ("second", "why"),
    [
        ({"specs": [a_spec(split="train")]}, "same images (judged on"),
        ({"environment": {"data": "e" * 64}}, "same images (data"),
        ({"metrics": {"classes": ["odd", "even"]}}, "classes differ"),
    ],
)
def test_results_on_other_images_are_not_tested(
    db: Database, second: dict[str, Any], why: str
) -> None:
    made = dict(second)
    specs = made.pop("specs", [])
    found = meet(trained(db, LABELS), trained(db, LABELS, *specs, **made))
    assert found.test is None and found.disagreement is None and why in found.notes[0]


def test_a_cross_validation_is_not_tested_against_a_job(db: Database) -> None:
    group = side(db, *folds(2), kind="cv", accuracies=[1, 1])
    assert "cannot be compared with a cross-validation" in meet(trained(db, LABELS), group).notes[0]


def test_predictions_that_are_gone_or_damaged_are_told_and_the_rest_stands(db: Database) -> None:
    a = trained(db, LABELS)
    gone = side(db, artifacts_url="")
    found = meet(a, gone)
    assert found.test is None and found.notes
    assert comparison.compared_metrics([a, gone])["accuracy"] == [0.9, 0.9]


def test_only_what_differs_is_listed_and_params_that_one_lacks_too(db: Database) -> None:
    a = trained(db, LABELS)
    b = trained(
        db,
        LABELS,
        a_spec(params={"a": 2, "b": 3}, seed=7),
        environment={"versions": {"python": "3.12.1", "numpy": "2.4.6"}},
    )
    assert comparison.differences([a, b]) == {
        "seed": ["42", "7"],
        "params.a": [1, 2],
        "params.b": [None, 3],
        "python": ["3.11.7", "3.12.1"],
    }


def test_two_commits_with_the_same_code_do_not_differ(db: Database) -> None:
    code = {"sha256": "c" * 64, "commit": "1" * 40, "dirty": False}
    a = trained(db, LABELS, environment={"code": code})
    b = trained(db, LABELS, environment={"code": code | {"commit": "2" * 40}})
    edited = {"sha256": "e" * 64, "commit": "2" * 40, "dirty": True}
    c = trained(db, LABELS, environment={"code": edited})
    assert comparison.differences([a, b]) == {}
    found = comparison.differences([a, c])
    assert found["commit"] == ["1" * 12, "2" * 12 + " and changes"] and "code" in found


def test_a_job_without_a_result_is_refused(db: Database) -> None:
    (waiting,), _ = jobs.add(db, [a_spec()])
    with pytest.raises(UsageError, match="is queued: it has no result"):
        comparison.load_result(db, job_of(db, waiting))


def test_two_jobs_meet_under_another_metric_by_exchanging_their_predictions(db: Database) -> None:
    labels = [0] * 112 + [1] * 16
    finds_none, finds_all = [0] * 128, [0] * 80 + [1] * 48
    a, b = (
        side(db, labels=labels, predicted=each, metrics=measured(labels, each))
        for each in (finds_none, finds_all)
    )
    by = Objective("balanced_accuracy")
    found = comparison.compare_pair(settings.load(), a, b, by)
    recall = (80 / 112 + 1) / 2
    assert found.test and (found.test.metric, found.test.n) == ("balanced_accuracy", 128)
    assert found.test.difference == pytest.approx(0.5 - recall)
    assert found.test.p is not None and 1 / 1001 <= found.test.p < 0.05
    again = comparison.compare_pair(settings.load(), a, b, by)
    assert again.test == found.test
    same = comparison.compare_pair(settings.load(), a, replace(a, id="other"), by)
    assert same.test and (same.test.difference, same.test.p) == (0.0, 1.0)
    missing = comparison.compare_pair(settings.load(), a, b, Objective("loss"))
    assert missing.test is None and missing.notes == ["One of them has no loss."]


def test_folds_meet_under_another_metric_by_its_values(db: Database) -> None:
    sides = []
    for values in ([0.5, 0.25, 0.75], [0.5, 0.5, 1.0]):
        found = side(db, *folds(3), kind="cv", accuracies=[0.9] * 3)
        ended = [
            replace(job, metrics=job.metrics | {"loss": value})
            for job, value in zip(found.jobs, values, strict=True)
        ]
        sides.append(replace(found, jobs=ended))
    pair = comparison.compare_pair(settings.load(), *sides, Objective("loss", False))
    assert pair.test and pair.test.name == "corrected resampled t-test"
    assert (pair.test.metric, pair.test.difference) == ("loss", pytest.approx(-0.5 / 3))


def measured(labels: list[int], predicted: list[int]) -> dict[str, Any]:
    """The metrics of these predictions, as a job has them."""
    return measure(np.array(labels), Predictions(np.array(predicted), None, 0.0), ["0", "1"])


def test_the_best_value_is_marked_only_where_results_can_be_compared(db: Database) -> None:
    costs = {"fit_seconds": 2.0, "predict_us_per_image": 3.0, "parameters": 5, "train_loss": 0.5}
    a = trained(db, LABELS, metrics=measured(LABELS, LABELS) | costs)
    wrong = LABELS[::-1]
    b = trained(db, wrong, metrics=measured(LABELS, wrong) | dict.fromkeys(costs, 1))
    cv = side(db, *folds(2), kind="cv", accuracies=[1, 0.5])

    def marked(*results: comparison.ComparedResult) -> set[str]:
        found = comparison.best_places(
            results, comparison.compared_metrics(results), Objective("accuracy")
        )
        return {name for name, place in found.items() if place is not None}

    assert {"accuracy", "f1_macro"} <= marked(a, b) and not marked(a, b) & {*costs}
    assert marked(a, cv) == marked(a, b, cv) == set()
    assert "A cross-validation" in comparison.refusals([cv, a], "AB", Objective())["B"]
    assert [*comparison.refusals([a, b, cv], "ABC", Objective())] == ["C"]
