"""Convert arguments of notebook functions to those of the commands."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from zoo.errors import UsageError

Strings = str | Sequence[str] | None
Time = str | datetime | None


def as_list(given: Strings) -> list[str]:
    """Return one string or several as a list."""
    return [given] if isinstance(given, str) else list(given or ())


def filter_words(
    status: Strings,
    model: Strings,
    dataset: Strings,
    tag: Strings,
    group: Strings,
    since: Time,
    until: Time,
    where: str | None,
) -> dict[str, Any]:
    """Return the filter arguments as `job_filters.read` takes them."""
    several = {"status": status, "model": model, "dataset": dataset, "tag": tag, "group": group}
    times = {"since": since, "until": until}
    return (
        {name: None if given is None else as_list(given) for name, given in several.items()}
        | {name: at.isoformat() if isinstance(at, datetime) else at for name, at in times.items()}
        | {"where": where}
    )


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
