"""The filter for jobs, shared by commands, notebook, page and report."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from zoo import jobs, settings
from zoo.dataset_names import canonical
from zoo.errors import UsageError, unknown
from zoo.terminal_text import one_line

if TYPE_CHECKING:
    from zoo.jobs import Database, Filter
    from zoo.query import parser

SPAN = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|min|h|d|w)")


@dataclass(frozen=True)
class FilterWords:
    """The options that select jobs, as typed; None: option not set."""

    status: Sequence[str] | None = None
    """Any of these."""
    model: Sequence[str] | None = None
    """Any of these names or patterns."""
    dataset: Sequence[str] | None = None
    """Any of these names or patterns."""
    tag: Sequence[str] | None = None
    """All of these tags or patterns."""
    group: Sequence[str] | None = None
    """Any of these groups: ids, or references such as @last."""
    user: Sequence[str] | None = None
    """Submitted by any of these: names or patterns; without @HOST on any host."""
    mine: bool | None = None
    """Submitted by the user of this process."""
    since: str | None = None
    """Submitted since this time."""
    until: str | None = None
    """Submitted before this time."""
    where: str | None = None
    """A condition in the language of `zoo.query`."""

    def __bool__(self) -> bool:
        return any(getattr(self, each.name) not in (None, False) for each in fields(self))

    def filter(self, db: Database) -> Filter:
        """Return the filter.

        Raises UsageError for an unknown status, group or metric, an invalid time or condition.
        """
        for each in self.status or ():
            if each not in jobs.LISTED:
                raise unknown("status", each, jobs.LISTED)
        at = jobs.clock(db) if self.since or self.until else 0.0
        # A pattern is used unchanged, too: npz:* is any such file, npz:here/* those of a folder.
        datasets = (name for each in self.dataset or () for name in (each, canonical(each)))
        return jobs.Filter(
            statuses=tuple(self.status or ()),
            models=tuple(self.model or ()),
            datasets=tuple(dict.fromkeys(datasets)),
            tags=tuple(self.tag or ()),
            groups=tuple(_group(db, each) for each in self.group or ()),
            users=tuple(self._users()),
            since=read_time(self.since, at) if self.since else None,
            until=read_time(self.until, at) if self.until else None,
            where=_condition(db, self.where) if self.where is not None else None,
        )

    def _users(self) -> Iterator[str]:
        for each in map(one_line, self.user or ()):
            yield each
            if "@" not in each:
                yield f"{each}@*"
        if self.mine:
            yield settings.load().submitter


def _condition(db: Database, text: str) -> parser.Where:
    from zoo.query import parser
    from zoo.query.expression import compared_names

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


def read_time(text: str, at: float) -> float:
    """Return a time as seconds since 1970: `2h` is two hours before `at`; otherwise a local date.

    Raises UsageError for anything else.
    """
    from zoo.query.parser import UNITS

    if span := SPAN.fullmatch(text.strip()):
        return at - float(span[1]) * UNITS[span[2]]
    today = datetime.fromtimestamp(at).replace(hour=0, minute=0, second=0, microsecond=0)
    days = {"today": today, "yesterday": today - timedelta(days=1)}
    try:
        return (days.get(text) or datetime.fromisoformat(text)).timestamp()
    except (ValueError, OverflowError):
        raise UsageError(
            f"'{text}' is no time.",
            "For example 2h, 30min, 3d, today, 2026-11-24 or with 'T14:30'.",
        ) from None
