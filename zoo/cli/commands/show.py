"""`zoo show`, `logs` and `wait`: inspect single jobs and groups."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Annotated

import typer

from zoo.cli.commands.job_actions import Refs, chosen
from zoo.cli.filter_options import FilterWords, filtered
from zoo.cli.options import Ref

if TYPE_CHECKING:
    from zoo.jobs import Database, Job
    from zoo.queue.waiting import Vigil

AsJson = Annotated[bool, typer.Option("--json", help="JSON on stdout.")]


def add_to(app: typer.Typer) -> None:
    for command in (show, logs, wait):
        app.command()(command)


def show(ref: Ref = "@last", as_json: AsJson = False) -> None:
    """Show everything about a job or group."""
    from zoo import jobs as rows
    from zoo import settings
    from zoo.cli.render import console
    from zoo.cli.render.job_details import show_group, show_job
    from zoo.jobs import Job
    from zoo.queue import pending_reason

    chosen = settings.load()
    db = rows.connect(chosen.database)
    found = rows.find_reference(db, ref)
    first = (
        found
        if isinstance(found, Job)
        else next((j for j in found.jobs if j.status == "queued"), None)
    )
    why = pending_reason.sentence(db, chosen, first) if first else ""
    outlook = rows.estimate_job(db, found) if isinstance(found, Job) else None
    if as_json:
        extra: dict[str, object] = {"waits": why or None}
        if isinstance(found, Job):
            tried, steps = rows.attempts(db, found.id), rows.steps(db, found.id)
            extra |= {"attempts": tried, "steps": steps}
            extra["outlook"] = outlook.to_json() if outlook else None
        console.json_out(found.to_json() | extra)
    elif isinstance(found, Job):
        show_job(db, found, why, outlook)
    else:
        show_group(found, why)


def logs(
    ref: Ref = "@last",
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Print new lines until the job ends.")
    ] = False,
) -> None:
    """Print the output of a job. From any machine, and while it runs."""
    from zoo import jobs as rows
    from zoo import settings
    from zoo.cli.render import console
    from zoo.queue.waiting import Vigil

    chosen = settings.load()
    db = rows.connect(chosen.database)
    found = rows.find_reference(db, ref)
    vigil = Vigil(db, chosen, None, None, console.note) if follow else None
    for job in rows.members(found):
        printed, now = _print_log(db, job, vigil), rows.get(db, job.id)
        if now.status == "queued":
            console.note(f"The job {job.id[:8]} is queued and has no output yet.")
        elif now.is_terminal and not printed:
            console.note(f"The job {job.id[:8]} is {now.status}; it has no output.")


def _print_log(db: Database, job: Job, vigil: Vigil | None) -> bool:
    """Print the log lines and, when following or without lines, the steps; False if none."""
    from zoo import jobs as rows
    from zoo.cli import streams
    from zoo.cli.render.log import LogPrinter

    printer = LogPrinter(is_live=vigil is not None)
    while True:
        with vigil.bearing() if vigil else contextlib.nullcontext():
            # Read the status before the lines, so that no line written before the end is missed.
            now = rows.get(db, job.id)
            ended = vigil is None or now.is_terminal
            if vigil:
                printer.report(rows.steps_after(db, job.id, printer.last_step), now.progress)
            printer.print(rows.log_after(db, job.id, printer.last_chunk))
            if ended or streams.is_unread():
                printer.end()
                steps = [] if vigil or printer.last_chunk[0] else rows.steps_after(db, job.id)
                if steps:
                    printer.report(steps, now.progress)
                return printer.last_chunk[0] > 0 or printer.has_reported
            if vigil:
                vigil.look({job.id: now.status})
        time.sleep(0.2)


@filtered
def wait(
    refs: Refs = None,
    words: FilterWords = FilterWords(),
    timeout: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", min=0, help="Stop waiting after SECONDS."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Wait until jobs have ended. Exit code 1 unless all succeeded."""
    from zoo import jobs as rows
    from zoo import settings
    from zoo.cli.render import console
    from zoo.cli.render.progress import follow, summary

    db = rows.connect()
    if words or not refs:
        ids = refs_or_ids = chosen(db, refs, words, of=("queued", "running"))
    else:
        found = [rows.find_reference(db, ref) for ref in refs]
        refs_or_ids = [each.id for each in found]
        ids = [job.id for each in found for job in rows.members(each)]
    ended = follow(db, settings.load(), ids, timeout=timeout)
    results = [rows.find_reference(db, each) for each in refs_or_ids]
    if as_json:
        console.json_out([result.to_json() for result in results])
    else:
        for result in results:
            summary(result)
    if any(job.status != "succeeded" for job in ended):
        raise typer.Exit(1)
