"""Filter options, the same for every command that lists jobs or acts on them."""

from __future__ import annotations

from zoo.cli import completion
from zoo.cli.option_groups import option, takes
from zoo.queue.job_filters import FilterWords as FilterWords

OPTIONS = {
    "status": option(
        metavar="STATUS",
        help="Only jobs with this status (repeatable).",
        autocompletion=completion.statuses,
    ),
    "model": option(
        metavar="PATTERN",
        help="Only these models: a name or 'dense-*' (repeatable).",
        autocompletion=completion.models,
    ),
    "dataset": option(
        metavar="PATTERN",
        help="Only these datasets: a name or pattern (repeatable).",
        autocompletion=completion.datasets,
    ),
    "tag": option(
        metavar="PATTERN",
        help="Only jobs with all of these tags or patterns (repeatable).",
        autocompletion=completion.tags,
    ),
    "group": option(
        metavar="REF",
        help="Only jobs of these groups: ids, or @last (repeatable).",
        autocompletion=completion.references,
    ),
    "user": option(
        metavar="USER",
        help="Only jobs that USER has submitted: a name or pattern (repeatable).",
        autocompletion=completion.users,
    ),
    "mine": option("--mine", help="Only jobs that you have submitted."),
    "since": option(metavar="TIME", help="Submitted since TIME: 2h, 3d, or a date."),
    "until": option(metavar="TIME", help="Submitted before TIME: 2h, 3d, or a date."),
    "where": option(
        metavar="CONDITION",
        help="Only where this holds: 'accuracy > 0.9 and params.epochs <= 5'.",
    ),
}
"""How the fields of `FilterWords` are typed."""

filtered = takes(FilterWords, OPTIONS)
"""Decorator: add the filter options to a command, which takes them as `words`."""
