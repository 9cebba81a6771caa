"""Times as scripts and people read them: ISO 8601 in UTC, beside seconds since 1970."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Any

SUFFIX = "_iso"
"""`created_at` has the seconds, `created_at_iso` the same time as text."""


def iso_time(seconds: object) -> str | None:
    """Format seconds since 1970 as `2026-11-30T17:42:19.123Z`; None for what is no time."""
    if not isinstance(seconds, int | float) or isinstance(seconds, bool):
        return None
    try:
        at = datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):  # also NaN and the year 10000
        return None
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def with_iso_times(found: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
    """Add the ISO form of these times, each after its seconds; a missing name stays missing."""
    shown: dict[str, Any] = {}
    for name, value in found.items():
        shown[name] = value
        if name in names:
            shown[name + SUFFIX] = iso_time(value)
    return shown
