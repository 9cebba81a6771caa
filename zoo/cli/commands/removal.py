"""`zoo rm`, `pin` and `unpin`: remove jobs and their files, or keep them from being removed."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from zoo.cli import completion
from zoo.cli.commands.job_actions import SHOWN, AsJson, Dry, Refs, Yes, agreed, chosen, of_others
from zoo.cli.filter_options import FilterWords, filtered
from zoo.terminal_text import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from zoo.jobs import Database
    from zoo.settings import Settings

ENDED = ("succeeded", "failed", "timed_out", "cancelled", "lost", "pruned")
Ended = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="REF",
        help="Jobs or groups: the beginning of an id, a name, or @last.",
        autocompletion=completion.references_of(*ENDED),
    ),
]


def add_to(app: typer.Typer) -> None:
    for command in (rm, pin, unpin):
        app.command()(command)


@filtered
def rm(
    refs: Ended = None,
    words: FilterWords = FilterWords(),
    keep_metrics: Annotated[
        bool,
        typer.Option("--keep-metrics", help="Remove the files alone; rows and metrics stay."),
    ] = False,
    yes: Yes = False,
    dry_run: Dry = False,
    as_json: AsJson = False,
) -> None:
    """Remove ended jobs with their files, logs and metrics.

    Pinned jobs stay, and jobs that others need, such as the model of a queued evaluation.
    """
    from zoo import jobs, settings
    from zoo.cli.render import console
    from zoo.errors import UsageError

    setup = settings.load()
    db = jobs.connect(setup.database)
    found = chosen(db, refs, words, of=ENDED)
    refused = jobs.check_removal(db, found, keep_metrics=keep_metrics)
    if refs and refused:
        first, *others = refused.values()
        more = f" ({_staying(len(others))})" if others else ""
        raise UsageError(f"Nothing is removed: {first}{more}")
    left = [each for each in found if each not in refused]
    _note_refused(list(refused.values()))
    if as_json and dry_run:
        console.json_out({"removed": left, "refused": refused})
        return
    if left and _agreed(db, left, keep_metrics, yes, dry_run):
        left = list(jobs.remove_jobs(db, left, keep_metrics=keep_metrics).ids)
        _delete_files(db, setup)
        if not as_json:
            one = "Its files were removed." if keep_metrics else "The job was removed."
            what = f"{'The files of ' if keep_metrics else ''}{counted(len(left), 'job')}"
            console.note(one if len(left) == 1 else f"{what} were removed.")
    elif left and not dry_run:
        raise typer.Exit(1)
    if as_json:
        console.json_out({"removed": left, "refused": refused})


def _note_refused(reasons: Sequence[str]) -> None:
    from zoo.cli.render import console

    for each in reasons[:SHOWN]:
        console.note(each)
    if len(reasons) > SHOWN:
        console.note(_staying(len(reasons) - SHOWN))


def _staying(count: int) -> str:
    return f"{counted(count, 'more job')} {'stays' if count == 1 else 'stay'}."


def _agreed(db: Database, found: list[str], keep_metrics: bool, yes: bool, dry_run: bool) -> bool:
    """List the jobs for a dry run, or ask for confirmation with their number and size.

    Raises UsageError if stdin is not a terminal.
    """
    from zoo import jobs
    from zoo.cli.render import console
    from zoo.errors import UsageError
    from zoo.jobs.records import size_text

    size, unknown = jobs.sum_bytes(db, found)
    whose = of_others(db, found)
    number = counted(len(found), "job") + whose
    about = f"{number}, {'at least ' if unknown else ''}{size_text(size)} of files"
    if dry_run:
        for each in found:
            console.line(each)
        console.note(f"{about}; nothing was changed.")
        return False
    if yes:
        return True
    what = f"the files of {about}" if keep_metrics else about
    if not (sys.stdin and sys.stdin.isatty()):
        raise UsageError(
            f"Refusing to remove {what} without confirmation: stdin is not a terminal.",
            "Pass --yes to proceed, or --dry-run to list them.",
        )
    return typer.confirm(console.safe(f"Remove {what}?"), err=True)


def _delete_files(db: Database, setup: Settings) -> None:
    """Delete the files of removed jobs; what cannot be deleted now, workers delete later."""
    from zoo.cli.render import console
    from zoo.errors import ArtifactError
    from zoo.storage import removals

    if not removals.serves(setup):
        console.note("A worker deletes the files: this machine has another artifact store.")
        return
    try:
        with console.err.status("Deleting files ...") as status:
            removals.complete(
                db,
                setup,
                progress=lambda done, total: status.update(
                    f"Deleting files: {done:,} of {counted(total, 'job')} ..."
                ),
            )
    except ArtifactError as error:
        console.note(f"{error.message} Workers and `zoo gc` try again.")


@filtered
def pin(refs: Refs = None, words: FilterWords = FilterWords(), yes: Yes = False,
        dry_run: Dry = False) -> None:  # fmt: skip
    """Protect jobs from `zoo rm` and from retention."""
    _pin(refs, words, yes, dry_run, pinned=True)


@filtered
def unpin(refs: Refs = None, words: FilterWords = FilterWords(), yes: Yes = False,
          dry_run: Dry = False) -> None:  # fmt: skip
    """Unpin jobs: they may be removed again."""
    _pin(refs, words, yes, dry_run, pinned=False)


def _pin(
    refs: list[str] | None, words: FilterWords, yes: bool, dry_run: bool, *, pinned: bool
) -> None:
    from zoo import jobs
    from zoo.cli.render import console

    db = jobs.connect()
    found = chosen(db, refs, words)
    if found and agreed(db, found, "pin" if pinned else "unpin", yes or not words, dry_run):
        changed = jobs.pin(db, found, pinned=pinned)
        done = "pinned" if pinned else "unpinned"
        console.note(f"{len(changed):,} of {len(found):,} {done}.")
