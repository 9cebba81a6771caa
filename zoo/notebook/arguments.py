"""What is given to the functions of a notebook, brought to what commands are given."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from zoo.errors import UsageError

Words = str | Sequence[str] | None
Time = str | datetime | None


def words(given: Words) -> list[str]:
    """One word or several."""
    return [given] if isinstance(given, str) else list(given or ())


def filter_words(
    status: Words,
    model: Words,
    dataset: Words,
    tag: Words,
    group: Words,
    since: Time,
    until: Time,
    where: str | None,
) -> dict[str, Any]:
    """The filter words, as `wanted.read` takes them."""
    several = {"status": status, "model": model, "dataset": dataset, "tag": tag, "group": group}
    times = {"since": since, "until": until}
    return (
        {name: None if given is None else words(given) for name, given in several.items()}
        | {name: at.isoformat() if isinstance(at, datetime) else at for name, at in times.items()}
        | {"where": where}
    )


def params(given: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """The params, plain as JSON has them: a tuple or an array becomes a list, a date its text.

    Raises UsageError for one that is given twice, or that JSON has no word for.
    """
    twice = given.keys() & more.keys()
    if twice:
        raise UsageError(f"The param {min(twice)} is given twice.")
    return {name: _plain(name, value) for name, value in (dict(given) | dict(more)).items()}


def _plain(name: str, value: Any) -> Any:
    # As validation reads them, which loads pydantic too.
    from pydantic_core import to_jsonable_python

    try:
        plain = to_jsonable_python(value, fallback=_of_numpy)
        json.dumps(plain)
    except (TypeError, ValueError):
        raise UsageError(
            f"The param {name} is a {type(value).__name__}, which no params hold.",
            "Give numbers, texts, true or false, and lists of them.",
        ) from None
    return plain


def _of_numpy(value: Any) -> Any:
    if not hasattr(value, "tolist"):
        raise TypeError
    return value.tolist()
