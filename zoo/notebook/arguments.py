"""Convert arguments of notebook functions to those of the commands."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, TypedDict

from zoo.errors import UsageError
from zoo.queue.job_filters import FilterWords

Strings = str | Sequence[str] | None
Time = str | datetime | None
SEVERAL = ("status", "model", "dataset", "tag", "group", "user")
"""Filter arguments that take one string or several."""


class FilterKeywords(TypedDict, total=False):
    """The filter arguments of notebook functions: the fields of `FilterWords`."""

    status: Strings
    model: Strings
    dataset: Strings
    tag: Strings
    group: Strings
    user: Strings
    mine: bool | None
    since: Time
    until: Time
    where: str | None


def as_list(given: Strings) -> list[str]:
    """Return one string or several as a list."""
    return [given] if isinstance(given, str) else list(given or ())


def filter_words(given: FilterKeywords) -> FilterWords:
    """Convert the filter arguments: one string to a list, a datetime to its text."""
    options: dict[str, Any] = dict(given)
    for name, value in options.items():
        if isinstance(value, datetime):
            options[name] = value.isoformat()
        elif isinstance(value, str) and name in SEVERAL:
            options[name] = [value]
    return FilterWords(**options)


def merge_params(given: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """Merge params and convert them to JSON: a tuple or array becomes a list, a date its text.

    Raises:
        UsageError: For a param that is given twice, or that has no representation in JSON.
    """
    twice = given.keys() & more.keys()
    if twice:
        raise UsageError(f"The param {min(twice)} is given twice.")
    return {name: _to_json(name, value) for name, value in (dict(given) | dict(more)).items()}


def _to_json(name: str, value: Any) -> Any:
    # The conversion that validation uses too; pydantic is loaded then anyway.
    from pydantic_core import to_jsonable_python

    try:
        plain = to_jsonable_python(value, fallback=_from_numpy)
        json.dumps(plain)
    except (TypeError, ValueError):
        raise UsageError(
            f"The param {name} is a {type(value).__name__}, which a param cannot hold.",
            "Give numbers, strings, booleans, or lists of them.",
        ) from None
    return plain


def _from_numpy(value: Any) -> Any:
    if not hasattr(value, "tolist"):
        raise TypeError
    return value.tolist()
