"""Values of params and options: as typed, as stored in a spec, and in nested params."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from zoo.canonical_json import read_json
from zoo.errors import UsageError

MAX_SEED = 2**32 - 1
"""The largest seed that NumPy accepts."""
CONSTANTS: dict[str, Any] = {"True": True, "False": False, "None": None}
"""Python's spelling of constants that JSON writes in lower case."""


def read(text: str) -> Any:
    """Parse a value: `True`, `False` or `None`, JSON if it is valid JSON, otherwise the text."""
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

    Raises UsageError, which shows `form` and `example`, if the name or the `=` is missing.
    """
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise UsageError(f"'{text}' is not {form}.", f"For example: {example}.")
    return name, value


def read_pairs(texts: Sequence[str]) -> dict[str, Any]:
    """Parse `NAME=VALUE` texts as params.

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
    """Format a value so that `read` returns it: JSON, or the plain text if `read` keeps it."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    is_plain = isinstance(value, str) and value.strip() == value != "" and read(value) == value
    return str(value) if is_plain else json.dumps(value)


def typed_all(values: Mapping[str, Any]) -> str:
    """Format params as NAME=VALUE, separated by spaces."""
    return " ".join(pairs(values))


def pairs(values: Mapping[str, Any]) -> list[str]:
    """Format each param as `NAME=VALUE`, so that `read_pairs` returns the same params."""
    return [f"{name}={typed(value)}" for name, value in values.items()]


def as_options(values: Mapping[str, Any]) -> list[str]:
    """Format params as arguments of a command: `-p NAME=VALUE` for each."""
    return [argument for pair in pairs(values) for argument in ("-p", pair)]


def chosen_options(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that decide rows, weights and metrics, and are not the defaults.

    `spec` is the JSON of a spec or of a job.
    """
    names = ("validation", "class_weight", "positive")
    found = {name: spec[name] for name in names if spec.get(name) is not None}
    steps = spec.get("preprocess", "none")
    return found if steps == "none" else {"preprocess": steps, **found}


def typed_options(spec: Mapping[str, Any]) -> list[str]:
    """Return the options of a training as typed, without those that have their defaults.

    Seed, folds and limits are left out: they depend on what is repeated. `spec` is the JSON of a
    spec or of a job.
    """
    found = []
    chosen = chosen_options(spec) | ({"device": spec["device"]} if spec.get("device") else {})
    for name, value in chosen.items():
        option = f"--{name.replace('_', '-')}"
        # A class may begin with a minus, which would be parsed as an option.
        found += [f"{option}={value}"] if str(value)[:1] == "-" else [option, str(value)]
    return [*found, *(["--exact"] if spec.get("exact") else [])]


def changed(params: Mapping[str, Any], names: Sequence[str] | None) -> dict[str, Any]:
    """Return the params changed from their defaults; all if `names` were not recorded."""
    return dict(params) if names is None else {name: params[name] for name in names}


def lookup(params: Mapping[str, Any], name: str, missing: Any = None) -> Any:
    """Return the value of a param, or of a nested one by its dotted name, such as `optim.lr`."""
    value: Any = params
    for part in name.split("."):
        if not isinstance(value, Mapping) or part not in value:
            return missing
        value = value[part]
    return value


def nest(given: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Merge values with dotted names into the params that contain them.

    The other values of such a param keep their defaults. Raises UsageError for a param that has
    no nested values.
    """
    found = {name: value for name, value in given.items() if not _is_dotted(name, defaults)}
    for name, value in given.items():
        if _is_dotted(name, defaults):
            first, *inner = name.split(".")
            outer = found.get(first, defaults[first])
            found[first] = _replaced(first, outer, inner, value)
    return found


def _is_dotted(name: str, defaults: Mapping[str, Any]) -> bool:
    """Return whether a name is that of a value nested in a param."""
    return "." in name and name not in defaults and name.partition(".")[0] in defaults


def _replaced(path: str, outer: Any, inner: list[str], value: Any) -> Any:
    """Return a copy of `outer` with one nested value replaced."""
    if not inner:
        return value
    if outer is not None and not isinstance(outer, Mapping):
        raise UsageError(
            f"The param {path} has no nested values: {path}={typed(outer)}.",
            f"Set the whole param: -p {path}=VALUE.",
        )
    first, *rest = inner
    plain = dict(outer or {})
    return plain | {first: _replaced(f"{path}.{first}", plain.get(first), rest, value)}


def names(values: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Yield all names, including those of nested values: `optim`, `optim.lr`."""
    for name, value in values.items():
        yield prefix + name
        if isinstance(value, Mapping):
            yield from names(value, f"{prefix}{name}.")


def sides(about: Mapping[str, Any], defs: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the alternatives of a JSON schema (`anyOf`, `oneOf`), references resolved."""
    if "$ref" in about:
        return sides(defs.get(str(about["$ref"]).rpartition("/")[2], {}), defs)
    inner = about.get("anyOf") or about.get("oneOf")
    return [side for each in inner for side in sides(each, defs)] if inner else [about]


def choices(about: Mapping[str, Any]) -> list[Any]:
    """Return the values that one alternative of a param's JSON schema lists; [] if it is open."""
    known = about.get("enum", [about["const"]] if "const" in about else [])
    if about.get("type") == "boolean" and not known:
        return [True, False]
    if about.get("type") == "null":
        return [None]
    return list(known)


def nested(
    schema: Mapping[str, Any], defs: Mapping[str, Any], prefix: str = "", depth: int = 4
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the dotted name and JSON schema of every param, nested ones after their parent."""
    for name, about in schema.get("properties", {}).items():
        yield prefix + name, about
        for side in sides(about, defs) if depth else ():
            yield from nested(side, defs, f"{prefix}{name}.", depth - 1)
