"""Values of params: as people type them, as a spec keeps them, and inside of nested params."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from zoo.canonical_json import read_json
from zoo.errors import UsageError

MAX_SEED = 2**32 - 1
"""The largest seed that NumPy takes."""
CONSTANTS: dict[str, Any] = {"True": True, "False": False, "None": None}
"""Python's words, which JSON writes in lower case."""


def read(text: str) -> Any:
    """Read a value: JSON where it can be read as JSON, `True`, `False` or `None`, else the text."""
    if text in CONSTANTS:
        return CONSTANTS[text]
    try:
        return read_json(text)
    except UsageError:
        return text


def split_pair(
    text: str, form: str = "NAME=VALUE", example: str = "-p epochs=10"
) -> tuple[str, str]:
    """Split `NAME=VALUE` into its name and the text of its value.

    Raises UsageError, which shows the form and an example, if there is no name or no sign.
    """
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise UsageError(f"'{text}' is not {form}.", f"For example: {example}.")
    return name, value


def read_pairs(texts: Sequence[str]) -> dict[str, Any]:
    """Read `NAME=VALUE` texts as params.

    Raises UsageError for a text without a name, or for a name given twice.
    """
    params: dict[str, Any] = {}
    for text in texts:
        name, value = split_pair(text)
        if name in params:
            raise UsageError(f"The param {name} is given twice.")
        params[name] = read(value)
    return params


def typed(value: Any) -> str:
    """Write a value so that `read` gives it back: JSON, but for texts that are read as texts."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    is_plain = isinstance(value, str) and value.strip() == value != "" and read(value) == value
    return str(value) if is_plain else json.dumps(value)


def typed_all(values: Mapping[str, Any]) -> str:
    """Write params as they are typed: NAME=VALUE, separated by spaces."""
    return " ".join(pairs(values))


def pairs(values: Mapping[str, Any]) -> list[str]:
    """Write each param as `NAME=VALUE`, so that `read_pairs` returns the same params."""
    return [f"{name}={typed(value)}" for name, value in values.items()]


def as_options(values: Mapping[str, Any]) -> list[str]:
    """Write params as arguments of a command: `-p NAME=VALUE` for each."""
    return [argument for pair in pairs(values) for argument in ("-p", pair)]


def changed(params: Mapping[str, Any], names: Sequence[str] | None) -> dict[str, Any]:
    """Return the params that are not the model's defaults; all, if `names` were not recorded."""
    return dict(params) if names is None else {name: params[name] for name in names}


def lookup(params: Mapping[str, Any], name: str, missing: Any = None) -> Any:
    """Find the value of a param, or of a nested one by its dotted name, such as `optim.lr`."""
    value: Any = params
    for part in name.split("."):
        if not isinstance(value, Mapping) or part not in value:
            return missing
        value = value[part]
    return value


def nest(given: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Put values that have a dotted name into the param that they are nested in.

    What is not given of that param keeps its default. Raises UsageError where the param is
    nothing that values could be nested in.
    """
    found = {name: value for name, value in given.items() if not _is_dotted(name, defaults)}
    for name, value in given.items():
        if _is_dotted(name, defaults):
            first, *inner = name.split(".")
            outer = found.get(first, defaults[first])
            found[first] = _replaced(first, outer, inner, value)
    return found


def _is_dotted(name: str, defaults: Mapping[str, Any]) -> bool:
    """Whether the first part names a param; else the whole name is one, or is unknown."""
    return "." in name and name not in defaults and name.partition(".")[0] in defaults


def _replaced(path: str, outer: Any, inner: list[str], value: Any) -> Any:
    """The outer value with one value inside of it replaced; nothing given is changed in place."""
    if not inner:
        return value
    if outer is not None and not isinstance(outer, Mapping):
        raise UsageError(
            f"The param {path} has no values of its own: {path}={typed(outer)}.",
            f"Give it whole: -p {path}=VALUE.",
        )
    first, *rest = inner
    plain = dict(outer or {})
    return plain | {first: _replaced(f"{path}.{first}", plain.get(first), rest, value)}


def names(values: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Give every name, of nested values too: `optim`, `optim.lr`."""
    for name, value in values.items():
        yield prefix + name
        if isinstance(value, Mapping):
            yield from names(value, f"{prefix}{name}.")


def sides(about: Mapping[str, Any], defs: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The JSON schemas of which a value fits one: those of `anyOf`, references resolved."""
    if "$ref" in about:
        return sides(defs.get(str(about["$ref"]).rpartition("/")[2], {}), defs)
    inner = about.get("anyOf") or about.get("oneOf")
    return [side for each in inner for side in sides(each, defs)] if inner else [about]


def choices(about: Mapping[str, Any]) -> list[Any]:
    """The values that one side of a param's JSON schema lists; none if it is open."""
    known = about.get("enum", [about["const"]] if "const" in about else [])
    if about.get("type") == "boolean" and not known:
        return [True, False]
    if about.get("type") == "null":
        return [None]
    return list(known)


def nested(
    schema: Mapping[str, Any], defs: Mapping[str, Any], prefix: str = "", depth: int = 4
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Give the dotted name and JSON schema of every param, nested ones after their own."""
    for name, about in schema.get("properties", {}).items():
        yield prefix + name, about
        for side in sides(about, defs) if depth else ():
            yield from nested(side, defs, f"{prefix}{name}.", depth - 1)
