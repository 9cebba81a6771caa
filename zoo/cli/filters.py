"""The filter words, the same for every command that lists jobs or acts on them."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from zoo.cli import completion
from zoo.cli.words import takes

if TYPE_CHECKING:
    from zoo.jobs import Database, Filter

Words = list[str] | None


@dataclass(frozen=True)
class FilterWords:
    """The options as they were typed; the annotations are what Typer reads."""

    status: Annotated[
        Words,
        typer.Option(help="Only these (repeatable).", autocompletion=completion.statuses),
    ] = None
    model: Annotated[
        Words,
        typer.Option(
            help="Only these, or 'dense-*' (repeatable).", autocompletion=completion.models
        ),
    ] = None
    dataset: Annotated[
        Words,
        typer.Option(
            help="Only these, or a pattern (repeatable).", autocompletion=completion.datasets
        ),
    ] = None
    tag: Annotated[
        Words,
        typer.Option(help="Only with all of these, or patterns.", autocompletion=completion.tags),
    ] = None
    group: Annotated[
        Words,
        typer.Option(
            help="Only of these groups: ids, or @last.", autocompletion=completion.references
        ),
    ] = None
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="Submitted since: 2h, 3d, or a date.")
    ] = None
    until: Annotated[
        str | None, typer.Option(metavar="TIME", help="Submitted before: 2h, 3d, or a date.")
    ] = None
    where: Annotated[
        str | None,
        typer.Option(metavar="CONDITION", help="'accuracy > 0.9 and params.epochs <= 5'."),
    ] = None

    def __bool__(self) -> bool:
        return any(getattr(self, each.name) is not None for each in fields(self))

    def filter(self, db: Database) -> Filter:
        """The filter that they mean.

        Raises UsageError for an unknown status or group, a time or condition that is none.
        """
        from zoo import jobs, where
        from zoo.errors import unknown

        for each in self.status or []:
            if each not in jobs.STATUSES:
                raise unknown("status", each, jobs.STATUSES)
        at = jobs.clock(db) if self.since or self.until else 0.0
        return jobs.Filter(
            statuses=tuple(self.status or ()),
            models=tuple(self.model or ()),
            datasets=tuple(self.dataset or ()),
            tags=tuple(self.tag or ()),
            groups=tuple(_group(db, each) for each in self.group or ()),
            since=read_time(self.since, at) if self.since else None,
            until=read_time(self.until, at) if self.until else None,
            where=where.parse(self.where, jobs.NAMES) if self.where is not None else None,
        )


filtered = takes(FilterWords)
"""Gives a command the filter words as options; it takes them together, as `words`."""


def _group(db: Database, ref: str) -> str:
    from zoo import jobs
    from zoo.errors import UsageError

    found = jobs.find(db, ref)
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
    from zoo.errors import UsageError
    from zoo.where import UNITS

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
