"""Which jobs somebody means, from the filter words as they were typed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime, timedelta

from zoo import jobs
from zoo.dataset_names import canonical
from zoo.errors import UsageError, unknown
from zoo.jobs import Database, Filter
from zoo.query import parser
from zoo.query.expression import compared_names

Words = Sequence[str] | None


def read(
    db: Database,
    *,
    status: Words = None,
    model: Words = None,
    dataset: Words = None,
    tag: Words = None,
    group: Words = None,
    since: str | None = None,
    until: str | None = None,
    where: str | None = None,
) -> Filter:
    """The filter that the words mean.

    Raises UsageError for an unknown status or group, a time or condition that is none, or a metric
    that no job has.
    """
    for each in status or []:
        if each not in jobs.STATUSES:
            raise unknown("status", each, jobs.STATUSES)
    at = jobs.clock(db) if since or until else 0.0
    return Filter(
        statuses=tuple(status or ()),
        models=tuple(model or ()),
        # A pattern stays one: npz:* is any such file, and npz:here/* those of a folder.
        datasets=tuple({name: None for each in dataset or () for name in (each, canonical(each))}),
        tags=tuple(tag or ()),
        groups=tuple(_group(db, each) for each in group or ()),
        since=read_time(since, at) if since else None,
        until=read_time(until, at) if until else None,
        where=_condition(db, where) if where is not None else None,
    )


def _condition(db: Database, text: str) -> parser.Where:
    found = parser.parse(text, jobs.FIELD_NAMES)
    jobs.check_metrics(db, compared_names(found.condition))
    return found


def _group(db: Database, ref: str) -> str:
    found = jobs.find_reference(db, ref)
    if isinstance(found, jobs.Group):
        return found.id
    if found.group:
        return found.group
    raise UsageError(f"The job {found.id[:8]} is in no group.", "`zoo jobs` has groups' ids.")


SPAN = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|min|h|d|w)")


def read_time(text: str, at: float) -> float:
    """A time in seconds since 1970: `2h` is two hours before `at`, else a date, local.

    Raises UsageError for anything else.
    """
    if span := SPAN.fullmatch(text.strip()):
        return at - float(span[1]) * parser.UNITS[span[2]]
    today = datetime.fromtimestamp(at).replace(hour=0, minute=0, second=0, microsecond=0)
    days = {"today": today, "yesterday": today - timedelta(days=1)}
    try:
        return (days.get(text) or datetime.fromisoformat(text)).timestamp()
    except (ValueError, OverflowError):
        raise UsageError(
            f"'{text}' is no time.",
            "For example 2h, 30min, 3d, today, 2026-11-24 or with 'T14:30'.",
        ) from None
