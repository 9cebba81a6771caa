"""What is known of a model, and how the list is filtered and sorted by it."""

from __future__ import annotations

from typing import Any

import pytest

from zoo.errors import UsageError
from zoo.queue import catalogue
from zoo.results import model_summaries

OFFERS = catalogue.models([])
NEWEST = {"contents": "d" * 64, "is_newest": True}


def rank(model: str, dataset: str, accuracy: float, parameters: int | None) -> dict[str, Any]:
    measured = {"accuracy": accuracy, "parameters": parameters, "job": "0" * 32}
    return {"model": model, "dataset": dataset, **NEWEST, "test": measured, "cv": None}


ROWS = model_summaries.rows(
    OFFERS,
    [
        rank("logistic", "mnist", 0.90, 7850),
        rank("logistic", "digits", 0.95, 7850),
        rank("dense-softmax", "mnist", 0.92, None),
        rank("gone", "mnist", 0.99, 1),
        {"model": "digit-detector", "dataset": "mnist", "test": None, "cv": {"mean": 0.9}},
    ],
)


def named(rows: list[model_summaries.Row]) -> list[tuple[str, str | None]]:
    return [(r.facts()["model"], r.facts()["dataset"]) for r in rows if r.result] + [
        (r.facts()["model"], None) for r in rows if not r.result
    ]


def test_a_model_has_a_row_for_each_dataset_and_one_without_any() -> None:
    found = set(named(ROWS))
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
    ours = [row for row in ROWS if row.offer.card["name"] in ("logistic", "dense-softmax")]
    ours += [row for row in ROWS if row.offer.card["name"] == "digit-detector"]
    assert {row.offer.card["name"] for row in model_summaries.choose(ours, **words)} == models


def test_the_largest_comes_first_and_what_is_missing_last() -> None:
    by_size = model_summaries.ordered(ROWS, "-parameters")
    assert [row.facts()["parameters"] for row in by_size][:3] == [7850, 7850, None]
    best = model_summaries.ordered(ROWS, "-accuracy")
    assert [row.facts()["accuracy"] for row in best][:4] == [0.95, 0.92, 0.90, None]
    assert model_summaries.to_json(best)[0]["results"][0]["dataset"] == "digits"


def test_a_name_that_no_model_has_is_refused() -> None:
    with pytest.raises(UsageError, match="accuracy"):
        model_summaries.ordered(ROWS, "acuracy")
    with pytest.raises(UsageError, match="acuracy"):
        model_summaries.choose(ROWS, condition="acuracy > 0.9")
