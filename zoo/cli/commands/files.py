"""`zoo files`: list the files of a job and copy them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from zoo.cli.options import Ref
from zoo.terminal_text import counted

if TYPE_CHECKING:
    from zoo.jobs import Database, Job
    from zoo.settings import Settings
    from zoo.storage.job_files import File


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
    from zoo.queue import waiting
    from zoo.storage import job_files
    from zoo.storage.output_file import is_stdout

    chosen = settings.load()
    db = jobs.connect(chosen.database)
    job = _one(db, ref)
    every, problems = waiting.wait_for_files(db, chosen, job, names or [], console.note)
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
