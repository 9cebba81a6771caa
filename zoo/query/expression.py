"""The syntax tree of a condition, and its evaluation in three-valued logic."""

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
    """A comparison of the value of a name with a constant."""

    path: tuple[str, ...]
    """`params.learning_rate` is ("params", "learning_rate")."""
    operator: str
    """< <= > >= == !=, ~ (match a pattern with * and ?), or `has` (a list contains the value)."""
    value: Value

    def __str__(self) -> str:
        name, value = ".".join(self.path), _literal(self.value)
        return f"{value} in {name}" if self.operator == "has" else f"{name} {self.operator} {value}"


@dataclass(frozen=True)
class Not:
    """The negation of a condition; the negation of unknown is unknown."""

    part: Condition

    def __str__(self) -> str:
        return f"not ({self.part})"


@dataclass(frozen=True)
class Joined:
    """Conditions joined by `and` or `or`."""

    operator: str
    """`and` or `or`."""
    parts: tuple[Condition, ...]

    def __str__(self) -> str:
        return f" {self.operator} ".join(f"({part})" for part in self.parts)


Condition = Compare | Not | Joined


def compared_names(condition: Condition) -> list[str]:
    """List the names that a condition compares with a value other than null."""
    if isinstance(condition, Compare):
        return [] if condition.value is None else [".".join(condition.path)]
    if isinstance(condition, Not):
        return compared_names(condition.part)
    return [name for part in condition.parts for name in compared_names(part)]


def _literal(value: Value) -> str:
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'
    return json.dumps(value)


def evaluate(condition: Condition, values: Mapping[str, Any]) -> bool | None:
    """Evaluate a condition over the values of names; None is SQL's unknown."""
    if isinstance(condition, Compare):
        found = _value_at(values, condition.path)
        return _compare(found, condition.operator, condition.value)
    if isinstance(condition, Not):
        result = evaluate(condition.part, values)
        return None if result is None else not result
    deciding = condition.operator == "or"
    results = [evaluate(part, values) for part in condition.parts]
    if deciding in results:
        return deciding
    return None if None in results else not deciding


def _value_at(values: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    found: Any = values
    for name in path:
        found = found.get(name) if isinstance(found, Mapping) else None
    return found


def _compare(found: Any, operator: str, value: Value) -> bool | None:
    if value is None:
        return (found is None) == (operator == "==")
    if operator == "has":
        if not isinstance(found, list | tuple):
            return None
        return any(_kind(each) == _kind(value) and each == value for each in found)
    if _kind(found) != _kind(value):
        return None
    return OPERATORS[operator](found, value)


def _matches(found: str, pattern: str) -> bool:
    some = {"*": ".*", "?": "."}
    regex = "".join(some.get(letter) or re.escape(letter) for letter in pattern)
    return re.fullmatch(regex, found, re.S) is not None


OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
    "~": _matches,
}


def _kind(value: Any) -> str:
    """Return the type for comparisons: a boolean is no number."""
    if isinstance(value, bool):
        return "bool"
    return "number" if isinstance(value, int | float) else type(value).__name__
