"""`zoo show`, `logs` and `wait`: inspect single jobs and groups."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from zoo.cli.commands.job_actions import Refs, chosen
from zoo.cli.filter_options import FilterWords, filtered
from zoo.cli.options import BestBy, Ref

if TYPE_CHECKING:
    from collections.abc import Sequence

    from zoo.jobs import AttemptRecord, Database, Group, Job, RungEntry
    from zoo.queue.waiting import JobWait
    from zoo.sweeps.importance import Importance

LOG_SECONDS = 0.2
"""Interval at which a log that is followed is read."""

AsJson = Annotated[bool, typer.Option("--json", help="JSON on stdout.")]


def add_to(app: typer.Typer) -> None:
    for command in (show, logs, wait):
        app.command()(command)


def show(ref: Ref = "@last", metric: BestBy = None, as_json: AsJson = False) -> None:
    """Show everything about a job or group."""
    from zoo import jobs as rows
    from zoo import settings
    from zoo.cli.render import console
    from zoo.cli.render.job_details import show_group, show_job
    from zoo.jobs import Job
    from zoo.queue import pending_reason

    chosen = settings.load()
    db = rows.connect(chosen.database)
    found = rows.find_by_metric(db, ref, metric)
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
            extra |= {"attempts": [_attempt_json(db, each) for each in tried], "steps": steps}
            extra["outlook"] = outlook.to_json() if outlook else None
            extra["hook_errors"] = [each.to_json() for each in rows.hook_errors(db, found.id)]
        elif found.kind == "sweep":
            extra |= _sweep_facts(db, found)
        console.json_out(found.to_json() | extra)
    elif isinstance(found, Job):
        show_job(db, found, why, outlook)
    elif found.kind == "sweep":
        rungs = rows.list_rungs(db, found.id)
        show_group(found, why, rungs)
        if known := _importance(found, rungs):
            shares = ", ".join(f"{name} {share:.2f}" for name, share in known.shares.items())
            at = f" at epoch {known.epoch}" if known.epoch else ""
            console.out.print(console.safe(f"importance for {known.metric}{at}: {shares}"))
    else:
        show_group(found, why)


def _attempt_json(db: Database, attempt: AttemptRecord) -> dict[str, object]:
    """Return an attempt with the id of its worker, as several may have had its name."""
    from zoo import jobs as rows

    worker = rows.find_worker(db, attempt.worker, attempt.started_at)
    return attempt.to_json() | {"worker_id": worker and worker.id}


def _sweep_facts(db: Database, group: Group) -> dict[str, object]:
    """Return the rungs of a sweep and the importance of its params, as JSON."""
    from dataclasses import asdict

    from zoo import jobs as rows
    from zoo.jobs.iso_times import with_iso_times

    rungs = rows.list_rungs(db, group.id)
    known = _importance(group, rungs)
    entries = [with_iso_times(asdict(each), each.TIMES) for each in rungs]
    return {"rungs": entries, "importance": known and known.to_json()}


def _importance(group: Group, rungs: Sequence[RungEntry]) -> Importance | None:
    from zoo.sweeps import importance, trials

    return importance.param_importance(group, trials.list_trials(group), rungs)


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
    from zoo.queue.waiting import JobWait

    chosen = settings.load()
    db = rows.connect(chosen.database)
    found = rows.find_reference(db, ref)
    waiting = JobWait(db, chosen, console.note) if follow else None
    for job in rows.members(found):
        printed, now = _print_log(db, job, waiting), rows.get(db, job.id)
        if now.status == "queued":
            console.note(f"The job {job.id[:8]} is queued and has no output yet.")
        elif now.is_terminal and not printed:
            console.note(f"The job {job.id[:8]} is {now.status}; it has no output.")


def _print_log(db: Database, job: Job, waiting: JobWait | None) -> bool:
    """Print the lines of a job and, if it is followed or has none, its steps.

    Returns whether there were any.
    """
    from zoo.cli import streams
    from zoo.cli.render.log import JobLog

    log = JobLog(db, job.id, is_live=waiting is not None)
    if waiting is None:
        log.read()
        log.show()
    else:
        for _ in waiting.poll([job.id], log.read, seconds=LOG_SECONDS, share=0):
            log.show()
            if streams.is_unread():
                break
    return log.end()


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
    """Wait until jobs have ended. Exit code 1 if any failed."""
    from zoo import jobs as rows
    from zoo import settings
    from zoo.cli.render import console
    from zoo.cli.render.progress import follow, summary

    db = rows.connect()
    if words or not refs:
        ids = refs_or_ids = chosen(db, refs, words, of=("queued", "paused", "running"))
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
    if any(job.status not in rows.NO_FAILURE for job in ended):
        raise typer.Exit(1)
