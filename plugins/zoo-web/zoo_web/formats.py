"""Numbers, times and params as people read them on a page."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping
from typing import Any

from zoo.param_values import typed_all


def _number(value: Any, digits: int = 4) -> str:
    """A metric as people read it."""
    if isinstance(value, float):
        return f"{value:.{digits}f}"
    return "" if value is None else f"{value:,}" if isinstance(value, int) else str(value)


def _span(seconds: float | None) -> str:
    """A span of time, short: 4.2 s, 12 min, 3 h."""
    if seconds is None:
        return ""
    seconds = max(seconds, 0)
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size * 1.5:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"


def _clock(at: float | None) -> str:
    """A time of today, else with its date; local."""
    if at is None:
        return ""
    then = datetime.datetime.fromtimestamp(at)
    is_today = then.date() == datetime.datetime.now().date()
    return then.strftime("%H:%M:%S" if is_today else "%Y-%m-%d %H:%M")


def _bytes(size: int) -> str:
    for unit, step in (("MB", 10**6), ("kB", 10**3)):
        if size >= step:
            return f"{size / step:.1f} {unit}"
    return f"{size} B"


def part(spec: Mapping[str, Any], group: str | None) -> str:
    """Which part of its group a job is."""
    fold = spec.get("fold")
    if fold:
        return f"fold {fold['index'] + 1}/{fold['k']}"
    return f"seed {spec['seed']}" if group else ""


FILTERS: dict[str, Callable[..., str]] = {
    "number": _number,
    "span": _span,
    "clock": _clock,
    "bytes": _bytes,
    "typed": typed_all,
}
"""What templates call them."""
