"""Format numbers, times and params for the page."""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable, Mapping
from typing import Any

from markupsafe import Markup, escape

from zoo.jobs.group_metrics import Statistics
from zoo.jobs.records import LONGEST, finite, number_text, span_text
from zoo.param_values import typed_all


def _span(seconds: Any) -> str:
    """Format a time span: 4.2 s, 12 min, 3 h."""
    seconds = finite(seconds)
    if seconds is None:
        return ""
    seconds = max(seconds, 0)
    if seconds > LONGEST:
        return span_text(seconds)
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size * 1.5:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"


def _clock(at: float | None) -> str:
    """Format a local time, with its date unless it is today."""
    if at is None:
        return ""
    try:
        then = datetime.datetime.fromtimestamp(at)
    except (OSError, OverflowError, ValueError):  # a clock that was set wrong
        return "unknown"
    is_today = then.date() == datetime.datetime.now().date()
    return then.strftime("%H:%M:%S" if is_today else "%Y-%m-%d %H:%M")


def _spread(found: Statistics) -> str:
    """Format mean and standard deviation, or the mean alone."""
    mean, std = number_text(found.mean), number_text(found.std)
    return f"{mean} ± {std}" if std else mean


def _measured(value: Any) -> str:
    """Format a metric of a comparison: a number, or the mean and deviation of a group."""
    if isinstance(value, Statistics):
        # Equal in all jobs, such as the number of parameters, or a single job.
        return _spread(value) if value.std else number_text(value.mean)
    return number_text(value, missing="–")


def _bytes(size: int) -> str:
    for unit, step in (("MB", 10**6), ("kB", 10**3)):
        if size >= step:
            return f"{size / step:.1f} {unit}"
    return f"{size} B"


def short_dataset(label: str) -> str:
    """Return the name of a dataset; of files their form and the last part of their path."""
    form, colon, path = label.partition(":")
    return f"{form}:{path.rstrip('/').rpartition('/')[2]}" if colon and "/" in path else label


def _commands(text: str) -> Markup:
    """Escape a sentence; text between backticks becomes code."""
    return Markup(re.sub("`([^`\n]+)`", r"<code>\1</code>", str(escape(text))))


def group_part(spec: Mapping[str, Any], kind: str | None) -> str:
    """Return which part of its group a job is; `kind` is the group's, or None without a group.

    The trials of a sweep differ in their params, which are shown beside it, not in their seed.
    """
    fold = spec.get("fold")
    if fold:
        return f"fold {fold['index'] + 1}/{fold['k']}"
    names = {None: "", "seeds": f"seed {spec['seed']}", "sweep": "trial"}
    return names.get(kind, "part of a group")


FILTERS: dict[str, Callable[..., str]] = {
    "number": number_text,
    "span": _span,
    "rest": lambda estimate: estimate.rest(_span),
    "clock": _clock,
    "bytes": _bytes,
    "short_dataset": short_dataset,
    "typed": typed_all,
    "commands": _commands,
    "spread": _spread,
    "measured": _measured,
}
"""Filters of the templates, by name."""
