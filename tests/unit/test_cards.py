"""Cards of models: JSON of workers of this version and of others."""

from __future__ import annotations

import json

import pytest

from zoo.jobs.cards import OF_WORKER, Card
from zoo.plugins import registry


def test_a_card_is_written_as_it_was_read() -> None:
    for card in registry.cards():
        text = json.dumps(card.to_json())
        assert json.dumps(Card.from_json(json.loads(text)).to_json()) == text
        assert Card.from_json(json.loads(text)) == card


@pytest.mark.parametrize(
    "stored",
    [
        {"name": "old", "plugin": "p 1"},
        {"name": "new", "plugin": "p 1", "schema": {}, "colours": ["red"]},
        {"name": "odd", "plugin": "p 1", "paper": None, "schema": [], "versions": {}},
    ],
)
def test_a_card_of_another_version_is_read_and_written_unchanged(stored: dict[str, object]) -> None:
    card = Card.from_json(stored)
    assert card.to_json() == stored
    assert (card.family, card.datasets) == (None, None) and card.param_schemas == {}
    assert not {*OF_WORKER} & {*card.to_json(without=OF_WORKER)}
