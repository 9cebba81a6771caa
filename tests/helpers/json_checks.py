"""Whether JSON of a command is as its schema says, and its times agree with their ISO forms."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import takewhile
from typing import Any

from jsonschema import Draft202012Validator

from zoo.cli.json_schemas import SCHEMAS, json_schema
from zoo.jobs.iso_times import SUFFIX, iso_time

EPOCH = 1e9
"""Numbers above that, with such a name, are times: since 2001."""


NO_OBJECT = ({"--columns"}, {"predict"}, {"retry", "--dry-run"})
"""Words with which a command prints what its user has chosen: columns, rows of a table, or ids."""


@functools.cache
def _validator(name: str, is_strict: bool) -> Draft202012Validator:
    """Return a validator; a strict one also refuses keys that the schema does not name."""
    found = json_schema(name)
    Draft202012Validator.check_schema(found)
    for each in [found, *found.get("$defs", {}).values()]:
        if is_strict and "properties" in each:
            each["additionalProperties"] = False
    return Draft202012Validator(found)


def check_output(words: Sequence[str], printed: Any) -> None:
    """See that what a command has printed with --json has one of the schemas of the command."""
    path = " ".join(takewhile(lambda word: word.isalpha(), words[:2]))
    with_options = [f"{words[0]} {each}" for each in words if each.startswith("--")]
    for known in (*with_options, path, words[0]):
        names = [name for name, each in SCHEMAS.items() if known in each.commands]
        if names:
            break
    if not names or any(each <= {*words} for each in NO_OBJECT):
        return
    for each in printed if isinstance(printed, list) else [printed]:
        check(names[-1] if "jobs" in each else names[0], each, is_strict=False)


def check(name: str, *printed: Any, is_strict: bool = True) -> None:
    """See that each of these objects has the schema of that name."""
    for each in printed:
        errors = _validator(name, is_strict).iter_errors(each)
        assert not (said := [f"{error.json_path}: {error.message}"[:300] for error in errors]), said
        assert all(_agree(*pair) for pair in _times(each)), each


def _times(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield every time with its ISO form, wherever they are; a form that is missing is None."""
    if isinstance(value, list):
        for each in value:
            yield from _times(each)
    elif isinstance(value, dict):
        for key, each in value.items():
            is_time = isinstance(each, float) and each > EPOCH
            if f"{key}{SUFFIX}" in value or (is_time and key.endswith(("_at", "at", "since"))):
                yield each, value.get(f"{key}{SUFFIX}")
            yield from _times(each)


def _agree(seconds: Any, text: Any) -> bool:
    if text is None:
        return iso_time(seconds) is None
    late = seconds - datetime.fromisoformat(text).timestamp()
    return text.endswith("Z") and -1e-5 < late < 0.001 + 1e-5
