"""The space of a sweep: which values each param may take, as they are typed."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
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
    """Every number from `low` to `high`, both included: whole ones if both ends are whole."""

    low: float
    high: float
    log: bool = False
    """Each order of magnitude is as likely as any other."""

    @property
    def is_whole(self) -> bool:
        return isinstance(self.low, int) and isinstance(self.high, int)

    def __str__(self) -> str:
        return f"{json.dumps(self.low)}..{json.dumps(self.high)}{':log' if self.log else ''}"


@dataclass(frozen=True)
class Space:
    """What a sweep was asked to try."""

    fixed: dict[str, Any] = field(default_factory=dict)
    """Params of every trial."""
    varied: dict[str, list[Any] | Span] = field(default_factory=dict)
    """Params with several values, or with a range of them."""
    file: Path | None = None
    """Where the trials stand, if they do."""

    def for_model(self, defaults: Mapping[str, Any]) -> Space:
        """The space with real numbers where the params are such, though typed as 0..1."""
        varied = {
            name: Span(float(values.low), float(values.high), values.log)
            if isinstance(values, Span) and isinstance(lookup(defaults, name), float)
            else values
            for name, values in self.varied.items()
        }
        return Space(self.fixed, varied, self.file)

    def to_json(self) -> dict[str, Any]:
        """The varied params, as a group keeps them."""
        return {
            name: {"low": values.low, "high": values.high, "log": values.log}
            if isinstance(values, Span)
            else {"values": values}
            for name, values in self.varied.items()
        }

    @classmethod
    def from_json(cls, fixed: dict[str, Any], space: Mapping[str, Any]) -> Space:
        """Read back what `to_json` gave."""
        varied = {
            name: found["values"] if "values" in found else Span(**found)
            for name, found in space.items()
        }
        return cls(dict(fixed), varied)


def read(texts: Sequence[str]) -> Space:
    """Read NAME=VALUES texts: one value, several with commas, or a range; and @FILE for a CSV file.

    `param_values.read` says what a value is. Raises UsageError.
    """
    space = Space()
    for text in texts:
        if text.startswith("@"):
            if space.file:
                raise UsageError("Two files of trials are one too many.")
            space = Space(space.fixed, space.varied, Path(expanded(text[1:])))
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
        raise UsageError(f"{name}={text}: a range ends in :log or in nothing.", example)
    if low >= high:
        raise UsageError(f"{name}={text}: a range goes from a smaller number to a larger.", example)
    if suffix and low <= 0:
        raise UsageError(f"{name}={text}: a range with :log begins above 0.", example)
    if not (isinstance(low, int) and isinstance(high, int)):
        low, high = float(low), float(high)
    return Span(low, high, suffix == "log")


def _read_one(name: str, piece: str) -> Any:
    if not piece:
        raise UsageError(f"{name} has an empty value.", 'An empty text is written as "".')
    if RANGE.fullmatch(piece):
        raise UsageError(
            f"{name} mixes single values with the range {piece}.", "Give values, or one range."
        )
    return param_values.read(piece)


def _pieces(text: str) -> list[str]:
    """The text cut at its commas, but for those inside of JSON lists, objects and strings."""
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
