"""A condition over facts, as `zoo/query/parser.py` reads it, and the three values it may have."""

from __future__ import annotations

import json
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Value = float | int | str | bool | None


@dataclass(frozen=True)
class Compare:
    """A name's value against one that was written down."""

    path: tuple[str, ...]
    """`params.learning_rate` is ("params", "learning_rate")."""
    sign: str
    """< <= > >= == !=, ~ (a text is as * for any letters and ? for one say), or `has` of a list."""
    value: Value

    def __str__(self) -> str:
        name, value = ".".join(self.path), _written(self.value)
        return f"{value} in {name}" if self.sign == "has" else f"{name} {self.sign} {value}"


@dataclass(frozen=True)
class Not:
    """The opposite; of neither yes nor no, the same."""

    of: Condition

    def __str__(self) -> str:
        return f"not ({self.of})"


@dataclass(frozen=True)
class Both:
    """Every one of them (`and`), or at least one (`or`)."""

    word: str
    of: tuple[Condition, ...]

    def __str__(self) -> str:
        return f" {self.word} ".join(f"({each})" for each in self.of)


Condition = Compare | Not | Both


def names(condition: Condition) -> list[str]:
    """The names whose value a condition needs: not those that are only asked for null."""
    if isinstance(condition, Compare):
        return [] if condition.value is None else [".".join(condition.path)]
    if isinstance(condition, Not):
        return names(condition.of)
    return [name for each in condition.of for name in names(each)]


def _written(value: Value) -> str:
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'
    return json.dumps(value)


def judge(condition: Condition, facts: Mapping[str, Any]) -> bool | None:
    """Yes, no, or None for neither: the three values of SQL."""
    if isinstance(condition, Compare):
        return _compare(_fact(facts, condition.path), condition.sign, condition.value)
    if isinstance(condition, Not):
        found = judge(condition.of, facts)
        return None if found is None else not found
    decides = condition.word == "or"
    found_each = [judge(each, facts) for each in condition.of]
    if decides in found_each:
        return decides
    return None if None in found_each else not decides


def _fact(facts: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    found: Any = facts
    for name in path:
        found = found.get(name) if isinstance(found, Mapping) else None
    return found


def _compare(found: Any, sign: str, value: Value) -> bool | None:
    if value is None:
        return (found is None) == (sign == "==")
    if sign == "has":
        if not isinstance(found, list | tuple):
            return None
        return any(_kind(each) == _kind(value) and each == value for each in found)
    if _kind(found) != _kind(value):
        return None
    return SIGNS[sign](found, value)


def _is_like(found: str, pattern: str) -> bool:
    some = {"*": ".*", "?": "."}
    regex = "".join(some.get(letter) or re.escape(letter) for letter in pattern)
    return re.fullmatch(regex, found, re.S) is not None


SIGNS: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
    "~": _is_like,
}


def _kind(value: Any) -> str:
    """What may be compared with what: true is not the number 1."""
    if isinstance(value, bool):
        return "bool"
    return "number" if isinstance(value, int | float) else type(value).__name__
