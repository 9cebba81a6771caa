"""`zoo files`: list the files of a job and copy them."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from zoo.cli.options import Ref
from zoo.terminal_text import counted

if TYPE_CHECKING:
    from zoo.jobs import Database, Job
    from zoo.settings import Settings
    from zoo.storage.job_files import File, Listing

PLUGIN_SECONDS = 60.0
"""Longest wait for the files that plugins make of a job that has just ended."""


def add_to(app: typer.Typer) -> None:
    app.command()(files)


def files(
    ref: Ref = "@last",
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME", help="Files or folders. [default: all]"),
    ] = None,
    to: Annotated[
        str | None,
        typer.Option(
            "--output", "-o", metavar="PATH", help="Copy to a folder or file; - is stdout."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON on stdout.")] = False,
) -> None:
    """List the files of a job, or copy them."""
    from zoo import jobs, settings
    from zoo.cli.render import console
    from zoo.storage import job_files
    from zoo.storage.output_file import is_stdout

    chosen = settings.load()
    db = jobs.connect(chosen.database)
    job = _one(db, ref)
    every, problems = _awaited(db, chosen, job, names or [])
    wanted = job_files.named(every, names or [])
    if to is not None and wanted:
        _copy(chosen, wanted, to)
    if as_json and not (to is not None and is_stdout(to)):
        console.json_out(
            [{"name": f.name, "bytes": f.size, "sha256": f.sha256} for f in wanted.values()]
        )
    elif to is None:
        rows = [[f"{f.size:,}", f.name] for f in wanted.values()]
        console.table(["bytes", "name"], rows, right=["bytes"])
    short = job.id[:8]
    if jobs.has_skipped_hooks(db, job.id):
        console.note(
            f"Plugins made no files of the job {short} because too many jobs ended at once: "
            f"`zoo files {short} extra` makes them, `zoo report {short}` draws a report."
        )
    elif not names and jobs.has_pending_hooks(db, job.id):
        console.note(f"Incomplete: plugins are still making files of the job {job.id[:8]}.")
    elif not (every or problems):
        console.note(f"The job {job.id[:8]} is {job.status}; it has no files.")
    if problems and not names:
        for each in problems:
            console.note(f"Not listed: {each}")
        raise typer.Exit(1)


def _awaited(db: Database, chosen: Settings, job: Job, names: list[str]) -> Listing:
    """Return all files of the job, waiting for named ones that a plugin is still making."""
    from zoo import jobs
    from zoo.cli.render import console
    from zoo.errors import UsageError
    from zoo.storage import job_files

    deadline, is_waiting = time.monotonic() + PLUGIN_SECONDS, False
    while True:
        is_owed = jobs.has_pending_hooks(
            db, job.id
        )  # first, so that files stored before it are listed
        every = job_files.listing(chosen, job)
        try:
            job_files.named(every.files, names)
        except UsageError as error:
            # Request skipped files; move pending ones ahead of those of other jobs.
            is_owed = is_owed if is_waiting else jobs.request_hooks(db, job.id)
            if not is_owed:
                # It may be in a folder that cannot be read, or its plugin may have failed.
                problem = next(iter(every.problems), error)
                failed = [f"{e.plugin}: {e.error}" for e in jobs.hook_errors(db, job.id)]
                if problem is error and failed:
                    why = f"A plugin has failed to make its files: {'; '.join(failed)}."
                    raise UsageError(error.message, why) from None
                raise problem from None
            if time.monotonic() > deadline:
                wait = f"Plugins have not made their files of the job {job.id[:8]} yet; try later."
                raise UsageError(error.message, wait) from None
        else:
            return every
        if not is_waiting:
            console.note(f"Waiting: plugins are making files of the job {job.id[:8]} ...")
            is_waiting = True
        time.sleep(0.2)


def _one(db: Database, ref: str) -> Job:
    from zoo import jobs
    from zoo.errors import UsageError

    found = jobs.find_reference(db, ref)
    if isinstance(found, jobs.Group):
        raise UsageError(
            "A group has no files of its own.", f"`zoo show {found.id[:8]}` lists its jobs."
        )
    return found


def _copy(settings: Settings, wanted: dict[str, File], to: str) -> None:
    from zoo.cli.render import console
    from zoo.errors import UsageError
    from zoo.storage import job_files
    from zoo.storage.output_file import is_stdout

    if is_stdout(to):
        if len(wanted) != 1:
            raise UsageError("Only one file can go to stdout.", "Name it: `zoo files JOB NAME`.")
        (file,) = wanted.values()
        console.data_out(job_files.read(settings, file), file.name)
        return
    place = Path(to)
    (first, *others), in_folder = wanted, place.is_dir() or to.endswith("/")
    # As with `cp`: a path that is not a folder yet is the new name of a single file.
    if others or in_folder or "/" in first:
        for name, file in wanted.items():
            job_files.copy(settings, file, place / name)
    else:
        job_files.copy(settings, wanted[first], place)
    console.note(f"Copied {counted(len(wanted), 'file')} to {to}.")
