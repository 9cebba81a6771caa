"""`zoo gc`: remove what no job needs any more, on this machine and in the artifact store."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zoo.cli.commands.job_actions import SHOWN, AsJson, Yes
from zoo.terminal_text import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from zoo.queue.garbage import Found, Garbage


def add_to(app: typer.Typer) -> None:
    app.command()(gc)


def gc(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List kinds, numbers and sizes; change nothing.")
    ] = False,
    days: Annotated[
        float,
        typer.Option(
            metavar="N",
            min=0,
            help="Age of unused prepared data, and of checkpoints of jobs that have ended.",
        ),
    ] = 30,
    yes: Yes = False,
    force: Annotated[
        bool,
        typer.Option("--force", help="Even if the database knows few of the stored jobs."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Remove files, folders and rows that no job needs.

    These are files of removed jobs and of killed workers, contents of removed datasets, folders of
    work and sockets that nobody uses, prepared data that was not used for long, and checkpoints of
    jobs that ended long ago. What has changed in the last day may be an upload, and stays.
    """
    from zoo.cli.render import console
    from zoo.queue import garbage

    found = _find(days)
    for note in found.notes:
        console.note(note)
    if not as_json:
        _print(found.items)
    removed = found.items
    if found.items and not dry_run:
        if not force:
            garbage.check(found)
        _confirm(found.items, yes)
        removed = _remove(found.items)
    if as_json:
        console.json_out(_summary(removed))
    if len(removed) < len(found.items):
        raise typer.Exit(1)


def _find(days: float) -> Found:
    from zoo import jobs, settings
    from zoo.cli.render import console
    from zoo.queue import garbage

    setup = settings.load()
    db = jobs.connect(setup.database)
    with console.live(console.err.status("Looking at this machine ...")) as status:
        return garbage.find(
            db,
            setup,
            days=days,
            progress=lambda what, number: status.update(f"Looking at {what}: {number:,} ..."),
        )


def _summary(items: Sequence[Garbage]) -> list[dict[str, Any]]:
    """Return the number and size of each kind, in the order of discovery."""
    found: dict[tuple[str, str], list[int]] = {}
    for each in items:
        found.setdefault((each.kind, each.where), []).append(each.size)
    return [
        {"kind": kind, "where": where, "count": len(sizes), "bytes": sum(sizes)}
        for (kind, where), sizes in found.items()
    ]


def _print(items: Sequence[Garbage]) -> None:
    from zoo.cli.render import console
    from zoo.jobs.records import size_text

    kinds = _summary(items)
    rows = [[k["kind"], k["where"], f"{k['count']:,}", size_text(k["bytes"])] for k in kinds]
    if rows:
        console.table(["kind", "where", "number", "size"], rows)
    else:
        console.note("There is nothing to remove.")


def _confirm(items: Sequence[Garbage], yes: bool) -> None:
    """Ask; exits unless the answer is yes. Raises UsageError if stdin is not a terminal."""
    from zoo.errors import UsageError
    from zoo.jobs.records import size_text

    what = f"{counted(len(items), 'item')} with {size_text(sum(i.size for i in items))}"
    if yes:
        return
    if not (sys.stdin and sys.stdin.isatty()):
        raise UsageError(
            f"Refusing to remove {what} without confirmation: stdin is not a terminal.",
            "Pass --yes to proceed, or --dry-run to list them.",
        )
    if not typer.confirm(f"Remove {what}?", err=True):
        raise typer.Exit(1)


def _remove(items: Sequence[Garbage]) -> list[Garbage]:
    """Remove all; return those that were removed."""
    from zoo.cli.render import console
    from zoo.errors import ZooError, reason

    removed: list[Garbage] = []
    failed = 0
    with console.live(console.err.status("Removing ...")) as status:
        for number, each in enumerate(items, 1):
            try:
                each.remove()
            except (ZooError, OSError) as error:
                failed += 1
                if failed <= SHOWN:
                    console.note(f"{each.name}: {reason(error)}")
            else:
                removed.append(each)
            status.update(f"Removing: {number:,} of {len(items):,} ...")
    console.note(f"{len(removed):,} of {len(items):,} removed.")
    return removed
