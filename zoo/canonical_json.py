"""JSON as the standard has it, and one text for each value.

Apart from the spec, whose models take a terminal that only looks 50 ms to build.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from zoo.errors import UsageError


def canonical(value: Any) -> str:
    """JSON with sorted keys, no spaces, and no NaN or infinity (ValueError)."""
    return _WRITER.encode(value)


def read_json(text: str | bytes) -> Any:
    """Read JSON as the standard has it.

    Raises UsageError for anything else: json alone lets NaN and 1e999 pass.
    """
    try:
        return _READER.decode(text if isinstance(text, str) else text.decode())
    except (ValueError, RecursionError) as error:
        raise UsageError(f"This is not JSON: {error}.") from None


def object_in(value: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return the object at `name`; empty if it is missing or not an object.

    Records of another version, or of another program, may lack it.
    """
    found = value.get(name)
    return found if isinstance(found, dict) else {}


def split_known(
    value: Mapping[str, Any], types: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Split an object into the fields that have these types, and all others.

    The others are the fields of another version: unknown ones, and known ones of another type.
    """
    known: dict[str, Any] = {}
    others: dict[str, Any] = {}
    for name, each in value.items():
        (known if name in types and isinstance(each, types[name]) else others)[name] = each
    return known, others


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is not a number")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is not a finite number")
    return value


# Made once: json's functions make one at each call.
_WRITER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False)
_READER = json.JSONDecoder(parse_constant=_refuse, parse_float=_finite)
