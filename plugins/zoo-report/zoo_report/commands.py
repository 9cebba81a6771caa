"""`zoo report`: an HTML report in one file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import zoo
from zoo.cli import completion
from zoo.cli.filter_options import FilterWords, filtered
from zoo.cli.options import Metric
from zoo.terminal_text import counted

if TYPE_CHECKING:
    from zoo.jobs import Database, Group, Job
    from zoo_report.contents import Selection

Refs = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="REF",
        help="Jobs or groups: the beginning of an id, @last, @best:mnist. [default: @last]",
        autocompletion=completion.references,
    ),
]
All = Annotated[bool, typer.Option("--all", help="All jobs, or all that match the filter.")]
Output = Annotated[
    Path, typer.Option("--output", "-o", metavar="FILE", help="HTML file; - is stdout.")
]
Limit = Annotated[
    int,
    typer.Option(
        "--limit", "-n", metavar="N", min=1, max=1000, help="Show at most the N newest jobs."
    ),
]


@zoo.hookimpl
def register_commands(app: typer.Typer) -> None:
    """Add `zoo report`."""
    app.command(rich_help_panel="Results")(report)


@filtered
def report(
    words: FilterWords,
    refs: Refs = None,
    every: All = False,
    path: Output = Path("report.html"),
    limit: Limit = 100,
    metric: Annotated[str | None, Metric] = None,
) -> None:
    """Write an HTML report of jobs. Leaderboard, curves, confusion matrices, mistakes."""
    from zoo import jobs, settings
    from zoo.cli.render import console
    from zoo.storage.output_file import is_stdout, write_output
    from zoo_report import contents, page

    chosen = settings.load()
    db = jobs.connect(chosen.database)
    selection = replace(_select(db, refs, words, every, limit), metric=metric)
    text = page.render(contents.gather(db, chosen, selection)).encode(errors="replace")
    write_output(path, text)
    if is_stdout(path):
        return
    shown, size = len(selection.jobs), f"{len(text) / 1e6:.2f} MB"
    left_out = f" of {shown + selection.omitted:,}" if selection.omitted else ""
    what = f"{counted(shown, 'job')}{left_out}" if shown else "no job yet"
    console.note(f"{path}: {what}, {size}. Open it in a browser.")


def _select(
    db: Database, refs: list[str] | None, words: FilterWords, every: bool, limit: int
) -> Selection:
    """Return the jobs that are named or match the filter; by default the newest.

    Raises UsageError if jobs are both named and filtered, and if no job matches.
    """
    from zoo import jobs
    from zoo.errors import UsageError
    from zoo_report.contents import Selection

    if refs and (words or every):
        raise UsageError(
            "Name jobs, or filter them, not both.",
            "For example `zoo report @last`, or `zoo report --dataset digits`.",
        )
    wanted = words.filter(db) if words or every else jobs.ALL_JOBS
    newest = jobs.listing(db, wanted, limit=limit)
    if words and not newest:
        raise UsageError("No job matches.", "`zoo jobs` lists them all.")
    if words or every or not (refs or newest):
        title = "All jobs" if every and not words else "Chosen jobs"
        left = jobs.count(db, wanted) - len(newest)
        return Selection(newest, title if newest else "No job yet", left, wanted)
    named = [jobs.find_reference(db, ref) for ref in refs or ["@last"]]
    found = {job.id: job for each in named for job in jobs.members(each)}
    title = f"{len(named)} results" if len(named) > 1 else _title(named[0])
    return Selection(list(found.values())[:limit], title, max(len(found) - limit, 0))


def _title(found: Job | Group) -> str:
    from zoo.jobs import Group, members

    job = members(found)[0]
    what = f"{found.kind} of {len(found.jobs)}: " if isinstance(found, Group) else ""
    return f"{what}{job.model} on {job.dataset} ({found.id[:8]})"
