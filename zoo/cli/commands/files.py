"""`zoo files`: list what a job has left, and copy it out."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from zoo.cli.options import Ref

if TYPE_CHECKING:
    from zoo.jobs import Database, Job
    from zoo.settings import Settings
    from zoo.storage.job_files import File, Listing
PLUGIN_SECONDS = 60.0
"""As long as the plugins' files of a job that has just ended are waited for."""


def add_to(app: typer.Typer) -> None:
    app.command()(files)


def files(
    ref: Ref = "@last",
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME", help="Files or folders; else all.")
    ] = None,
    to: Annotated[
        str | None, typer.Option("--output", "-o", help="Copy to a folder, a file; - is stdout.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON on stdout.")] = False,
) -> None:
    """List what a job has left, or copy it out."""
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
            f"Plugins have left no files of the job {short}, as too many jobs ended at once: "
            f"`zoo files {short} extra` has them made, `zoo report {short}` draws its own."
        )
    elif not names and jobs.has_pending_hooks(db, job.id):
        console.note(f"More may come: plugins are still to leave files of the job {job.id[:8]}.")
    elif not (every or problems):
        console.note(f"The job {job.id[:8]} is {job.status}; it has left no files.")
    if problems and not names:
        for each in problems:
            console.note(f"Left out: {each}")
        raise typer.Exit(1)


def _awaited(db: Database, chosen: Settings, job: Job, names: list[str]) -> Listing:
    """Every file of the job, once there are those that a plugin is about to leave."""
    from zoo import jobs
    from zoo.cli.render import console
    from zoo.errors import UsageError
    from zoo.storage import job_files

    deadline, told = time.monotonic() + PLUGIN_SECONDS, False
    while True:
        is_owed = jobs.has_pending_hooks(
            db, job.id
        )  # asked first: what was left before is then seen
        every = job_files.listing(chosen, job)
        try:
            job_files.named(every.files, names)
        except UsageError as error:
            # What was left out is made once it is asked for; what waits, before that of others.
            is_owed = is_owed if told else jobs.request_hooks(db, job.id)
            if not is_owed:
                # It may be in a folder that cannot be read.
                raise next(iter(every.problems), error) from None
            if time.monotonic() > deadline:
                wait = f"Plugins have not left their files of the job {job.id[:8]} yet; try later."
                raise UsageError(error.message, wait) from None
        else:
            return every
        if not told:
            console.note(f"Waiting: plugins are still to leave files of the job {job.id[:8]} ...")
            told = True
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
    # As with `cp`: what is no folder yet is what the only file is to be called.
    if others or in_folder or "/" in first:
        for name, file in wanted.items():
            job_files.copy(settings, file, place / name)
    else:
        job_files.copy(settings, wanted[first], place)
    how_many = "1 file" if len(wanted) == 1 else f"{len(wanted)} files"
    console.note(f"Copied {how_many} to {to}.")
