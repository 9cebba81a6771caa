"""`zoo pack`, `unpack`, `backup` and `restore`: jobs, or a whole home, for another place."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from zoo.cli import completion
from zoo.cli.commands.job_actions import chosen
from zoo.cli.filter_options import FilterWords, filtered
from zoo.terminal_text import counted

if TYPE_CHECKING:
    from zoo.storage.home_backup import Copied
    from zoo.storage.packing import Packed, Unpacked

AsJson = Annotated[bool, typer.Option("--json", help="JSON on stdout.")]
SHOWN = 10
"""Number of jobs left out that are named."""


def add_to(app: typer.Typer) -> None:
    for command in (backup, restore, pack, unpack):
        app.command()(command)


@filtered
def pack(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The new archive (ZIP).")],
    refs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="REF",
            help="Jobs or groups: the beginning of an id, or @last.",
            autocompletion=completion.references,
        ),
    ] = None,
    words: FilterWords = FilterWords(),
    every: Annotated[bool, typer.Option("--all", help="All jobs that have ended.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace FILE if it exists.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be packed; write nothing.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Pack ended jobs with files and datasets into an archive.

    `zoo unpack` adds them to another home or a team's database. Exit code 1 if the files of a job
    are missing or damaged: it is left out.
    """
    from zoo import jobs, settings
    from zoo.cli.render import console
    from zoo.errors import UsageError
    from zoo.jobs import TERMINAL
    from zoo.storage import packing

    if file.exists() and not (force and file.is_file()) and not dry_run:
        raise UsageError(f"{file} exists.", "Choose another name, or replace a file with --force.")
    setup = settings.load()
    db = jobs.connect(setup.database)
    ends = () if refs else tuple(sorted(TERMINAL))
    ids = chosen(db, refs, words, of=ends, all_of_them=every)
    if not ids:
        return
    with console.progress() as tell:
        found = packing.pack(db, setup, None if dry_run else file, ids, tell)
    if as_json:
        console.json_out({"file": str(file)} | vars(found))
    else:
        _print_packed(found, file, dry_run)
    if any(why != "it has not ended" for why in found.left_out.values()):
        raise typer.Exit(1)


def _print_packed(found: Packed, file: Path, dry_run: bool) -> None:
    from zoo.cli.render import console

    for job, why in list(found.left_out.items())[:SHOWN]:
        console.note(f"{job[:8]} is left out: {why}.")
    if len(found.left_out) > SHOWN:
        more = len(found.left_out) - SHOWN
        console.note(f"{counted(more, 'more job')} {'is' if more == 1 else 'are'} left out.")
    for note in found.notes:
        console.note(note)
    size = f"{counted(found.files, 'file')} ({found.bytes / 1e6:,.1f} MB)"
    what = f"{counted(found.jobs, 'job')}, {size}"
    if found.datasets:
        what += f" and the datasets {', '.join(found.datasets)}"
    if dry_run:
        console.note(f"{what} would be packed.")
    else:
        console.note(f"{what} are in {file} ({found.archive_bytes / 1e6:,.1f} MB).")


def unpack(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="An archive of `zoo pack`.")],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check everything; change nothing.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Add the jobs of an archive, with files and datasets.

    Their ids stay the same. Jobs that are here already are left as they are. If it is
    interrupted, run it again.
    """
    from zoo import jobs, settings
    from zoo.cli.render import console
    from zoo.data import added
    from zoo.storage import packing

    setup = settings.load()
    db = jobs.connect(setup.database)
    adopt = partial(added.adopt, db, setup.artifacts)
    with console.progress() as tell:
        found = packing.unpack(db, setup, file, adopt, dry_run=dry_run, tell=tell)
    if as_json:
        console.json_out({"file": str(file)} | vars(found))
    else:
        _print_unpacked(found, dry_run)


def _print_unpacked(found: Unpacked, dry_run: bool) -> None:
    from zoo.cli.render import console

    for there, here in found.datasets.items():
        same = there == here
        console.note(f"With the dataset {here}." if same else f"{there} is {here} here.")
    if found.present:
        console.note(f"{counted(found.present, 'job')} here already: left unchanged.")
    verb = "would be added" if dry_run else "added"
    files = f"{counted(found.files, 'file')} ({found.bytes / 1e6:,.1f} MB)"
    console.note(f"{counted(found.added, 'job')} {verb}, {files}.")


def backup(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A new or earlier backup.")],
    as_json: AsJson = False,
) -> None:
    """Back up the home of this machine, while it is in use.

    That is its database, the files of its jobs and datasets, and its plugins. An earlier backup
    is brought up to date. Exit code 1 if files of a job are missing or damaged.
    """
    from zoo import jobs, settings
    from zoo.cli.render import console
    from zoo.storage import home_backup

    setup = settings.load()
    db = jobs.connect(setup.database)
    with console.progress() as tell:
        found = home_backup.back_up(db, setup, folder, tell)
    _print_copied(found, folder, f"The backup {folder} has {counted(found.jobs, 'job')}", as_json)


def restore(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A backup of `zoo backup`.")],
    as_json: AsJson = False,
) -> None:
    """Restore a backup into a home without jobs (ZOO_HOME).

    All files are verified. Jobs that were running return to the queue when their leases expire.
    """
    from zoo import settings
    from zoo.cli.render import console
    from zoo.storage import home_backup

    setup = settings.load()
    with console.progress() as tell:
        found = home_backup.restore(setup, folder, tell)
    _print_copied(found, folder, f"{setup.home} has {counted(found.jobs, 'job')}", as_json)


def _print_copied(found: Copied, folder: Path, what: str, as_json: bool) -> None:
    from zoo.cli.render import console

    if as_json:
        console.json_out({"folder": str(folder)} | vars(found))
    else:
        for name, why in list(found.damaged.items())[:SHOWN]:
            console.note(f"{name} has no files there: {why}")
        for name in found.kept:
            console.note(f"The plugin {name} differs here and was left as it is.")
        new = f"{found.folders:,} of {found.folders + found.present:,} folders of files are new"
        console.note(f"{what}; {new}.")
    if found.damaged:
        raise typer.Exit(1)
