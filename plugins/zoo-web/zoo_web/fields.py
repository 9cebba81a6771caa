"""A form for the params of a model, made from the JSON schema on its card."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

BOUNDS = {
    "minimum": "at least {}",
    "exclusiveMinimum": "above {}",
    "maximum": "at most {}",
    "exclusiveMaximum": "below {}",
}
PREFIX = "param."
"""What the name of a field begins with."""


@dataclass(frozen=True)
class Field:
    """One param, as a form asks for it."""

    name: str
    help: str
    kind: str
    """As a person reads it: `whole number, at least 1, at most 100`."""
    default: str
    """As it is typed."""
    choices: tuple[str, ...] = ()
    is_number: bool = False

    @property
    def field(self) -> str:
        return PREFIX + self.name


def fields(card: Mapping[str, Any]) -> list[Field]:
    """The params of a card, in the order of their author."""
    schema = card["schema"]
    return [
        _field(name, about, schema.get("$defs", {}))
        for name, about in schema.get("properties", {}).items()
    ]


def _field(name: str, about: Mapping[str, Any], defs: Mapping[str, Any]) -> Field:
    sides = [_resolved(each, defs) for each in about.get("anyOf", [about])]
    choices = tuple(choice for side in sides for choice in _choices(side))
    is_choice = all(_choices(side) for side in sides)
    kinds = [] if is_choice else [_kind(side) for side in sides]
    return Field(
        name,
        about.get("description", ""),
        " or ".join(dict.fromkeys(filter(None, kinds))),
        _typed(about.get("default")),
        choices if is_choice else (),
        all(side.get("type") in ("integer", "number", "null") for side in sides),
    )


def _resolved(about: Mapping[str, Any], defs: Mapping[str, Any]) -> Mapping[str, Any]:
    if "$ref" not in about:
        return about
    found: Mapping[str, Any] = defs.get(str(about["$ref"]).rpartition("/")[2], {})
    return found


def _choices(about: Mapping[str, Any]) -> list[str]:
    known = about.get("enum", [about["const"]] if "const" in about else [])
    if about.get("type") == "boolean" and not known:
        known = [True, False]
    if about.get("type") == "null":
        known = [None]
    return [_typed(each) for each in known]


def _kind(about: Mapping[str, Any]) -> str:
    words = {"integer": "whole number", "array": "list, as JSON", "object": "JSON", "null": "null"}
    kind = str(about.get("type", ""))
    bounds = [text.format(_bound(about[b])) for b, text in BOUNDS.items() if b in about]
    return ", ".join(filter(None, [words.get(kind, kind), *bounds]))


def _bound(value: float) -> str:
    return f"{int(value) if value == int(value) else value:,}"


def _typed(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def given(form: Mapping[str, str], names: list[str]) -> list[str]:
    """The params that a form gives, as NAME=VALUE; what is left empty stays the default."""
    return [
        f"{name}={form[PREFIX + name].strip()}"
        for name in names
        if form.get(PREFIX + name, "").strip()
    ]
