"""Values of params that need no conversion, or only that of a whole number.

Typer converts each value with an adapter of pydantic: 0.1 s to import and build them, half of a
short command. Most values are defaults or text that stays as it is.
"""

from __future__ import annotations

import re
from typing import Any

WHOLE = re.compile(r"-?[0-9]{1,18}", re.ASCII)


def avoid_pydantic(param: Any) -> None:
    """Let a param of Typer ask pydantic only for values that have to be converted or refused."""
    if not isinstance(param.get_runtime_param, _Convert):
        param.get_runtime_param = _Convert(param)


class _Convert:
    """What Typer asks to convert the values of one param."""

    def __init__(self, param: Any) -> None:
        self.typer_s = param.get_runtime_param
        self.info = param.type_descriptor.parameter_info
        is_special = self.info.parser is not None or self.info.clamp
        self.type: Any = None if is_special else param.type_descriptor.annotation

    def __call__(self) -> _Convert:
        return self

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:
        """Return the value as Typer would; raise its errors."""
        is_many = param.multiple or param.nargs == -1
        if value is None:
            return () if is_many else None
        if self.type == list[str] and _is_texts(value):
            return list(value)
        if not is_many:
            if self.type is str and type(value) is str:
                return value
            if self.type is int and type(value) is str and WHOLE.fullmatch(value):
                value = int(value)
            if self.type in (int, float) and type(value) is self.type and self._is_within(value):
                return value
        return self.typer_s().coerce(value, param=param, ctx=ctx)

    def _is_within(self, value: float) -> bool:
        low, high = self.info.min, self.info.max
        return (low is None or low <= value) and (high is None or value <= high)


def _is_texts(value: Any) -> bool:
    return type(value) in (list, tuple) and all(type(each) is str for each in value)
