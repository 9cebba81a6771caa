"""What is known of a model, and how the list is filtered and sorted by it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from zoo.data.takes import WHICH_WEIGH
from zoo.errors import UsageError
from zoo.jobs.cards import Card
from zoo.jobs.group_metrics import Statistics
from zoo.queue import catalogue
from zoo.results import leaderboard, model_summaries
from zoo.results.leaderboard import LeaderboardRow

OFFERS = catalogue.models([])


def ranked(model: str, dataset: str, accuracy: float, parameters: int | None) -> LeaderboardRow:
    value = Statistics.of([accuracy])
    test = leaderboard.TestResult("0" * 32, value, accuracy, parameters=parameters)
    return LeaderboardRow(
        dataset=dataset,
        contents="d" * 64,
        is_newest=True,
        model=model,
        by={},
        params={},
        changed={},
        classes=10,
        published=None,
        test=test,
        cv=None,
    )


CROSS_VALIDATION = leaderboard.CrossValidation("1" * 32, Statistics.of([0.9]), 0.9, None, [0.9])
SUMMARIES = model_summaries.summarize_models(
    OFFERS,
    [
        ranked("logistic", "mnist", 0.90, 7850),
        ranked("logistic", "digits", 0.95, 7850),
        ranked("dense-softmax", "mnist", 0.92, None),
        ranked("gone", "mnist", 0.99, 1),
        replace(ranked("digit-detector", "mnist", 0, None), test=None, cv=CROSS_VALIDATION),
    ],
)


def test_a_model_has_a_row_for_each_dataset_and_one_without_any() -> None:
    found = {(each.name, each.values()["dataset"]) for each in SUMMARIES}
    assert {("logistic", "mnist"), ("logistic", "digits"), ("digit-detector", None)} <= found
    assert "gone" not in {name for name, _ in found}


@pytest.mark.parametrize(
    ("words", "models"),
    [
        ({"patterns": ["d*"], "exclude": ["*detector"]}, {"dense-softmax"}),
        ({"condition": "parameters < 1e5 and accuracy > 0.92"}, {"logistic"}),
        ({"condition": "family == 'linear'"}, {"logistic"}),
        ({"condition": "not accuracy > 0.91"}, {"logistic"}),
        ({"condition": "params.epochs == 5"}, {"dense-softmax", "digit-detector"}),
        ({"patterns": ["x*"]}, set()),
    ],
)
def test_rows_are_chosen_by_name_and_condition(words: dict[str, Any], models: set[str]) -> None:
    ours = [s for s in SUMMARIES if s.name in ("logistic", "dense-softmax", "digit-detector")]
    assert {each.name for each in model_summaries.filter_summaries(ours, **words)} == models


def test_models_are_found_by_what_their_training_can_use() -> None:
    asking = Card("a", "p 1", fit_arguments=["sample_weight", "checkpoint"], can_stop=True)
    older = Card("b", "p 1")
    offers = {card.name: catalogue.Offer(card, here=False) for card in (asking, older)}
    found = model_summaries.summarize_models(offers, [])
    assert found[0].values()["uses"] == ["row weights", "checkpoints", "stop"]
    assert (found[1].values()["uses"], found[1].values()["device"]) == ([], "cpu")
    condition = '"row weights" in uses and device == "cpu"'
    assert model_summaries.filter_summaries(found, condition=condition) == found[:1]
    assert condition.partition(" and")[0] in WHICH_WEIGH


def test_the_largest_comes_first_and_what_is_missing_last() -> None:
    by_size = model_summaries.sort_summaries(SUMMARIES, "-parameters")
    assert [each.values()["parameters"] for each in by_size][:3] == [7850, 7850, None]
    best = model_summaries.sort_summaries(SUMMARIES, "-accuracy")
    assert [each.values()["accuracy"] for each in best][:4] == [0.95, 0.92, 0.90, None]
    assert model_summaries.models_json(best)[0]["results"][0]["dataset"] == "digits"


def test_a_name_that_no_model_has_is_refused() -> None:
    with pytest.raises(UsageError, match="accuracy"):
        model_summaries.sort_summaries(SUMMARIES, "acuracy")
    with pytest.raises(UsageError, match="acuracy"):
        model_summaries.filter_summaries(SUMMARIES, condition="acuracy > 0.9")
