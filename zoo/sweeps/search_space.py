"""The search space of a sweep: the values that each param may take."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from zoo import param_values
from zoo.canonical_json import canonical, read_json
from zoo.dataset_names import expanded
from zoo.errors import UsageError
from zoo.param_values import lookup

RANGE = re.compile(r"(-?[\d.][^,:]*?)\.\.(-?[^,:]*)(?::(.*))?")


@dataclass(frozen=True)
class Span:
    """A range of numbers, both ends included: of integers if both ends are integers."""

    low: float
    high: float
    log: bool = False
    """Whether to sample on a logarithmic scale."""

    @property
    def is_whole(self) -> bool:
        return isinstance(self.low, int) and isinstance(self.high, int)

    def __str__(self) -> str:
        return f"{json.dumps(self.low)}..{json.dumps(self.high)}{':log' if self.log else ''}"


@dataclass(frozen=True)
class Space:
    """The search space of a sweep."""

    fixed: dict[str, Any] = field(default_factory=dict)
    """Params with the same value in every trial."""
    varied: dict[str, list[Any] | Span] = field(default_factory=dict)
    """Params with several values, or a range."""
    file: Path | None = None
    """CSV file that lists the trials, if there is one."""
    table: str | None = None
    """The text of such a file, where it has no path."""

    def for_model(self, defaults: Mapping[str, Any]) -> Space:
        """Return the space with float ranges for float params, even if typed as 0..1."""
        varied = {
            name: Span(float(values.low), float(values.high), values.log)
            if isinstance(values, Span) and isinstance(lookup(defaults, name), float)
            else values
            for name, values in self.varied.items()
        }
        return replace(self, varied=varied)

    def to_json(self) -> dict[str, Any]:
        """Return the varied params as a group stores them."""
        return {
            name: {"low": values.low, "high": values.high, "log": values.log}
            if isinstance(values, Span)
            else {"values": values}
            for name, values in self.varied.items()
        }

    @classmethod
    def from_json(cls, fixed: dict[str, Any], space: Mapping[str, Any]) -> Space:
        """Read the output of `to_json`."""
        varied = {
            name: found["values"] if "values" in found else Span(**found)
            for name, found in space.items()
        }
        return cls(dict(fixed), varied)


def parse_search_space(texts: Sequence[str]) -> Space:
    """Parse NAME=VALUES: one value, several separated by commas, or a range; or @FILE (CSV).

    A value has the syntax of `param_values.read`.

    Raises:
        UsageError: For anything else, or a param or file that is given twice.
    """
    space = Space()
    for text in texts:
        if text.startswith("@"):
            if space.file:
                raise UsageError("Only one file of trials is allowed.")
            space = replace(space, file=Path(expanded(text[1:])))
            continue
        name, value = param_values.split_pair(text, "NAME=VALUES", "-p epochs=5,10")
        if name in space.fixed or name in space.varied:
            raise UsageError(f"The param {name} is given twice.", "Write it once: NAME=V1,V2.")
        found = _read_values(name, value)
        if isinstance(found, Span) or len(found) > 1:
            space.varied[name] = found
        else:
            space.fixed[name] = found[0]
    return space


def _read_values(name: str, text: str) -> list[Any] | Span:
    span = RANGE.fullmatch(text)
    if span:
        return _read_span(name, text, *span.groups())
    values = [_read_one(name, piece) for piece in _pieces(text)]
    seen: set[str] = set()
    for value in values:
        if canonical(value) in seen:
            raise UsageError(f"{name} has the value {json.dumps(value)} twice.")
        seen.add(canonical(value))
    return values


def _read_span(name: str, text: str, first: str, last: str, suffix: str | None) -> Span:
    example = f"For example: -p {name}=1..10, or -p {name}=1e-4..1e-1:log."
    try:
        low, high = read_json(first), read_json(last)
    except UsageError:
        raise UsageError(f"{name}={text} is not a range of numbers.", example) from None
    if any(isinstance(end, bool) or not isinstance(end, int | float) for end in (low, high)):
        raise UsageError(f"{name}={text} is not a range of numbers.", example)
    if suffix not in (None, "log"):
        raise UsageError(f"{name}={text}: the only suffix of a range is :log.", example)
    if low >= high:
        raise UsageError(
            f"{name}={text}: a range goes from the smaller number to the larger.", example
        )
    if suffix and low <= 0:
        raise UsageError(f"{name}={text}: a range with :log starts above 0.", example)
    if not (isinstance(low, int) and isinstance(high, int)):
        low, high = float(low), float(high)
    return Span(low, high, suffix == "log")


def _read_one(name: str, piece: str) -> Any:
    if not piece:
        raise UsageError(f"{name} has an empty value.", 'Write an empty string as "".')
    if RANGE.fullmatch(piece):
        raise UsageError(
            f"{name} mixes single values with the range {piece}.", "Give values, or one range."
        )
    return param_values.read(piece)


def _pieces(text: str) -> list[str]:
    """Split at commas, except those inside JSON lists, objects and strings."""
    pieces, start = [], 0
    decoder = json.JSONDecoder()
    while True:
        try:
            end = decoder.raw_decode(text, start)[1]
        except (ValueError, RecursionError):
            end = start
        if text[end : end + 1] not in (",", "") or end == start:
            comma = text.find(",", end)
            end = len(text) if comma < 0 else comma
        pieces.append(text[start:end])
        if end >= len(text):
            return pieces
        start = end + 1
