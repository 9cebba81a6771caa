"""Model cards: the metadata that workers publish, and params rebuilt from their schema."""

from __future__ import annotations

import datetime
import inspect
import json
import re
from collections.abc import Mapping
from functools import reduce
from operator import or_
from pathlib import Path
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import ConfigDict, Field, TypeAdapter, create_model

from zoo.errors import PluginError
from zoo.jobs.cards import Card
from zoo.model import Model, Params, fit_arguments, to_json

Schema = Mapping[str, Any]

PLAIN = {"integer": int, "number": float, "string": str, "boolean": bool, "null": type(None)}
FORMATS: dict[str, Any] = {
    "date": datetime.date,
    "date-time": datetime.datetime,
    "time": datetime.time,
    "duration": datetime.timedelta,
    "path": Path,
    "regex": re.Pattern[str],
    "uuid": UUID,
}
"""Python types of strings, by their `format` in a JSON schema."""
BOUNDS = {
    "minimum": "ge",
    "exclusiveMinimum": "gt",
    "maximum": "le",
    "exclusiveMaximum": "lt",
    "multipleOf": "multiple_of",
    "minLength": "min_length",
    "maxLength": "max_length",
    "minItems": "min_length",
    "maxItems": "max_length",
    "pattern": "pattern",
}
"""Keywords of JSON schema and the corresponding ones of pydantic."""


def of(model: type[Model], plugin: str) -> Card:
    """Return the card of a model; `plugin` is the label of its plugin."""
    text = inspect.cleandoc(model.__doc__ or "")
    return Card(
        name=model.name,
        plugin=plugin,
        family=model.family,
        paper=model.paper,
        summary=text.split("\n")[0],
        about=text,
        takes=list(model.takes),
        takes_missing=model.takes_missing,
        min_side=model.min_side,
        fit_arguments=list(fit_arguments(model)),
        can_stop=model.can_stop,
        device=model.device,
        layout=model.layout,
        dtype=model.dtype,
        schema=_schema(model.Params),
    )


def _schema(params: type[Params]) -> dict[str, Any]:
    """The JSON schema with the default of each param, also of those with a factory."""
    schema = params.model_json_schema()
    defaults = to_json(params.resolve({}))
    for name, about in schema.get("properties", {}).items():
        about.setdefault("default", defaults.get(name))
        if about.get("uniqueItems"):
            about["default"] = defaults.get(name)  # the default of a set, in a fixed order
    return schema


def params(card: Card) -> type[Params]:
    """Rebuild a model's params from its card: strict types, bounds, choices, defaults, help.

    They reject the same values with the same messages as the model's own params, except for
    validators and rules that the schema does not contain: a worker checks those.

    Raises PluginError for an invalid schema.
    """
    try:
        schema: Schema = card.schema  # type: ignore[assignment]
        return _object(schema, schema.get("$defs", {}), Params)
    # The schema is from another machine, with any version of Zoo and pydantic.
    except Exception as error:
        raise PluginError(
            f"The params published by workers for the model '{card.name}' cannot be read.",
            f"Install its plugin on this machine: {card.plugin}.",
        ) from error


class _Loose(Params):
    """A model within the params, which may ignore unknown names."""

    model_config = ConfigDict(extra="ignore")


def _object(schema: Schema, defs: Schema, base: type[Params]) -> type[Params]:
    needed = schema.get("required", ())
    fields: dict[str, Any] = {}
    for name, about in schema.get("properties", {}).items():
        kind = _annotation(about, defs)
        default = ... if name in needed else _default(kind, about.get("default"))
        fields[name] = (kind, Field(default, description=about.get("description")))
    return create_model(str(schema.get("title", "Params")), __base__=base, **fields)


def _default(kind: Any, value: Any) -> Any:
    """The default in its own type, as JSON has no dates or tuples."""
    if not isinstance(value, str | list | dict):
        return value
    return TypeAdapter(kind).validate_json(json.dumps(value), strict=True)


def _annotation(about: Schema, defs: Schema) -> Any:
    if "$ref" in about:
        return _annotation(defs[str(about["$ref"]).rpartition("/")[2]], defs)
    if inner := about.get("anyOf") or about.get("oneOf"):
        return reduce(or_, (_annotation(each, defs) for each in inner))
    if "enum" in about or "const" in about:
        choices: Any = Literal
        return choices[tuple(about["enum"] if "enum" in about else [about["const"]])]
    kind = _kind(about, defs)
    bounds = {theirs: about[ours] for ours, theirs in BOUNDS.items() if ours in about}
    return kind if kind is Any or not bounds else Annotated[kind, Field(**bounds)]


def _kind(about: Schema, defs: Schema) -> Any:
    name = about.get("type")
    if name == "array":
        return _array(about, defs)
    if name == "object" and "properties" in about:
        closed = about.get("additionalProperties") is False
        return _object(about, defs, Params if closed else _Loose)
    if name == "object":
        values = about.get("additionalProperties")
        keys = _annotation(about["propertyNames"], defs) if "propertyNames" in about else str
        return dict[keys, _annotation(values, defs) if isinstance(values, Mapping) else Any]  # type: ignore[misc,valid-type]
    if name == "string" and about.get("format") in FORMATS:
        return FORMATS[about["format"]]
    return PLAIN.get(str(name), Any)


def _array(about: Schema, defs: Schema) -> Any:
    if "prefixItems" in about:
        each = tuple(_annotation(item, defs) for item in about["prefixItems"])
        # A named tuple with defaults accepts fewer items; the schema does not say which.
        return tuple[each] if about.get("minItems") == len(each) else Any  # type: ignore[valid-type]
    kind: Any = set if about.get("uniqueItems") else list
    return kind[_annotation(about.get("items", {}), defs)]
