"""`zoo files`: list what a job has left, and copy it out."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from zoo.cli.options import Ref

if TYPE_CHECKING:
    from zoo.files import File
    from zoo.jobs import Database, Job
    from zoo.settings import Settings


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
    from zoo import files, jobs, settings
    from zoo.cli import output

    chosen = settings.load()
    job = _one(jobs.connect(chosen.database), ref)
    every = files.of(chosen, job)
    wanted = files.named(every, names or [])
    if to is not None and wanted:
        _copy(chosen, wanted, to)
    if as_json and to != "-":
        output.json_out(
            [{"name": f.name, "bytes": f.size, "sha256": f.sha256} for f in wanted.values()]
        )
    elif to is None:
        rows = [[f"{f.size:,}", f.name] for f in wanted.values()]
        output.table(["bytes", "name"], rows, right=["bytes"])
    if not every:
        output.note(f"The job {job.id[:8]} is {job.status}; it has left no files.")


def _one(db: Database, ref: str) -> Job:
    from zoo import jobs
    from zoo.errors import UsageError

    found = jobs.find(db, ref)
    if isinstance(found, jobs.Group):
        raise UsageError(
            "A group has no files of its own.", f"`zoo show {found.id[:8]}` lists its jobs."
        )
    return found


def _copy(settings: Settings, wanted: dict[str, File], to: str) -> None:
    from zoo import files
    from zoo.cli import output
    from zoo.errors import UsageError

    if to == "-":
        if len(wanted) != 1:
            raise UsageError("Only one file can go to stdout.", "Name it: `zoo files JOB NAME`.")
        (file,) = wanted.values()
        sys.stdout.buffer.write(files.read(settings, file))
        return
    place = Path(to)
    (first, *others), in_folder = wanted, place.is_dir() or to.endswith("/")
    # As with `cp`: what is no folder yet is what the only file is to be called.
    if others or in_folder or "/" in first:
        for name, file in wanted.items():
            files.copy(settings, file, place / name)
    else:
        files.copy(settings, wanted[first], place)
    how_many = "1 file" if len(wanted) == 1 else f"{len(wanted)} files"
    output.note(f"Copied {how_many} to {to}.")
