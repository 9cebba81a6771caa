"""A form for the params of a model, from the JSON schema on its card."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from zoo import param_values
from zoo.jobs.cards import Card
from zoo.param_values import typed

BOUNDS = {
    "minimum": "at least {}",
    "exclusiveMinimum": "above {}",
    "maximum": "at most {}",
    "exclusiveMaximum": "below {}",
}
PREFIX = "param."
"""Prefix of the names of fields."""


@dataclass(frozen=True)
class Field:
    """The field for one param."""

    name: str
    help: str
    kind: str
    """Description of valid values: `whole number, at least 1, at most 100`."""
    default: str
    """Default as text."""
    choices: tuple[str, ...] = ()
    is_number: bool = False

    @property
    def field(self) -> str:
        return PREFIX + self.name


def fields(card: Card) -> list[Field]:
    """Return the fields for the params of a card, in their declared order."""
    return [_field(name, about, card.definitions) for name, about in card.param_schemas.items()]


def _field(name: str, about: Mapping[str, Any], defs: Mapping[str, Any]) -> Field:
    sides = param_values.sides(about, defs)
    choices = tuple(typed(choice) for side in sides for choice in param_values.choices(side))
    is_choice = all(param_values.choices(side) for side in sides)
    kinds = [] if is_choice else [_kind(side) for side in sides]
    return Field(
        name,
        about.get("description", ""),
        " or ".join(dict.fromkeys(filter(None, kinds))),
        typed(about.get("default")),
        choices if is_choice else (),
        all(side.get("type") in ("integer", "number", "null") for side in sides),
    )


def _kind(about: Mapping[str, Any]) -> str:
    words = {"integer": "whole number", "array": "list, as JSON", "object": "JSON", "null": "null"}
    kind = str(about.get("type", ""))
    bounds = [text.format(_bound(about[b])) for b, text in BOUNDS.items() if b in about]
    return ", ".join(filter(None, [words.get(kind, kind), *bounds]))


def _bound(value: float) -> str:
    return f"{int(value) if value == int(value) else value:,}"


def filled_params(form: Mapping[str, str], names: list[str]) -> list[str]:
    """Return the params of a form as NAME=VALUE, without those left empty."""
    return [
        f"{name}={form[PREFIX + name].strip()}"
        for name in names
        if form.get(PREFIX + name, "").strip()
    ]
