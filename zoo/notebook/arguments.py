"""Convert arguments of notebook functions to those of the commands."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from datetime import datetime
from typing import Any, TypedDict

from zoo.canonical_json import canonical
from zoo.errors import UsageError
from zoo.jobs.queue_options import QueueOptions
from zoo.queue.job_filters import FilterWords
from zoo.queue.options import TrainingOptions
from zoo.sweeps.pruners import PruningOptions
from zoo.sweeps.search_space import Space, parse_search_space

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


class SweepKeywords(TypedDict, total=False):
    """The options of a sweep's trainings, of its pruner and of the queue."""

    dataset: str
    preprocess: str
    validation: float | None
    class_weight: str | None
    positive: str | None
    seed: int
    cv: int | None
    seeds: int | None
    keep_weights: bool | None
    timeout: float | None
    memory_mb: int | None
    device: str | None
    exact: bool
    pruner: str | None
    min_resource: int | None
    max_resource: int | None
    reduction_factor: int | None
    n_startup_trials: int | None
    n_warmup_steps: int | None
    pool: str | None
    priority: int
    tags: Strings
    name: str | None
    max_parallel: int | None


def sweep_options(given: SweepKeywords) -> tuple[TrainingOptions, PruningOptions, QueueOptions]:
    """Return the records that these options belong to.

    Raises UsageError for a bad value, TypeError for an unknown name, as Python does.
    """
    options: dict[str, Any] = dict(given)
    if unknown := options.keys() - SweepKeywords.__annotations__.keys():
        raise TypeError(f"sweep() got an unexpected keyword argument '{min(unknown)}'")
    options["tags"] = as_list(options.get("tags"))
    kinds = (TrainingOptions, PruningOptions, QueueOptions)
    names = [{each.name for each in fields(kind)} for kind in kinds]
    found = [
        kind(**{name: value for name, value in options.items() if name in own})
        for kind, own in zip(kinds, names, strict=True)
    ]
    return found[0], found[1], found[2]


def search_space(given: Mapping[str, Any]) -> Space:
    """Return the search space: of a list its values, of a string what `zoo sweep -p` reads in it.

    Any other value is that of every trial. Raises UsageError for a list without values, or with
    one twice.
    """
    texts = [f"{name}={value}" for name, value in given.items() if isinstance(value, str)]
    others = {
        name: list(value) if isinstance(value, range) else value
        for name, value in given.items()
        if not isinstance(value, str)
    }
    found = parse_search_space(texts)
    for name, value in merge_params(others, {}).items():
        if not isinstance(value, list):
            found.fixed[name] = value
        elif not value or len({canonical(each) for each in value}) < len(value):
            what = "has no values" if not value else "has a value twice"
            raise UsageError(f"{name} {what}.", "For example alpha=[0.1, 0.01], or '1e-4..1:log'.")
        elif len(value) == 1:
            found.fixed[name] = value[0]
        else:
            found.varied[name] = value
    return found


def as_list(given: Strings) -> list[str]:
    """Return one string or several as a list."""
    return [given] if isinstance(given, str) else list(given or ())


def tags(add: Strings, remove: Strings) -> tuple[list[str], list[str]]:
    """Return tags to add and to remove. Raises UsageError if there are none, or an empty one."""
    found = as_list(add), as_list(remove)
    if not (every := [*found[0], *found[1]]) or not all(every):
        raise UsageError("No tag is given.", 'For example tag("good", remove="draft").')
    return found


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
