"""Filter options, the same for every command that lists jobs or acts on them."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Annotated

import typer

from zoo.cli import completion
from zoo.cli.option_groups import takes

if TYPE_CHECKING:
    from zoo.jobs import Database, Filter

Words = list[str] | None


@dataclass(frozen=True)
class FilterWords:
    """The options as they were typed; the annotations are what Typer reads."""

    status: Annotated[
        Words,
        typer.Option(
            metavar="STATUS",
            help="Only jobs with this status (repeatable).",
            autocompletion=completion.statuses,
        ),
    ] = None
    model: Annotated[
        Words,
        typer.Option(
            metavar="PATTERN",
            help="Only these models: a name or 'dense-*' (repeatable).",
            autocompletion=completion.models,
        ),
    ] = None
    dataset: Annotated[
        Words,
        typer.Option(
            metavar="PATTERN",
            help="Only these datasets: a name or pattern (repeatable).",
            autocompletion=completion.datasets,
        ),
    ] = None
    tag: Annotated[
        Words,
        typer.Option(
            metavar="PATTERN",
            help="Only jobs with all of these tags or patterns (repeatable).",
            autocompletion=completion.tags,
        ),
    ] = None
    group: Annotated[
        Words,
        typer.Option(
            metavar="REF",
            help="Only jobs of these groups: ids, or @last (repeatable).",
            autocompletion=completion.references,
        ),
    ] = None
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="Submitted since TIME: 2h, 3d, or a date.")
    ] = None
    until: Annotated[
        str | None, typer.Option(metavar="TIME", help="Submitted before TIME: 2h, 3d, or a date.")
    ] = None
    where: Annotated[
        str | None,
        typer.Option(
            metavar="CONDITION",
            help="Only where this holds: 'accuracy > 0.9 and params.epochs <= 5'.",
        ),
    ] = None

    def __bool__(self) -> bool:
        return any(getattr(self, each.name) is not None for each in fields(self))

    def filter(self, db: Database) -> Filter:
        """The filter that they mean.

        Raises UsageError for an unknown status or group, a time or condition that is none.
        """
        from zoo.queue import job_filters

        return job_filters.read(
            db, **{each.name: getattr(self, each.name) for each in fields(self)}
        )


filtered = takes(FilterWords)
"""Gives a command the filter words as options; it takes them together, as `words`."""
