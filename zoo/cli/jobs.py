"""`zoo jobs`, `show`, `logs`, `wait`, `cancel`, `retry`: look at jobs, and act on them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from zoo.jobs import Database, Job

AsJson = Annotated[bool, typer.Option("--json", help="JSON on stdout.")]
Refs = Annotated[
    list[str], typer.Argument(help="Jobs or groups: the beginning of an id, or @last.")
]
Ref = Annotated[str, typer.Argument(help="A job or group: the beginning of its id, or @last.")]


def add_to(app: typer.Typer) -> None:
    for command in (jobs, show, logs, wait, cancel, retry):
        app.command()(command)


def jobs(
    status: Annotated[list[str] | None, typer.Option(help="Only these (repeatable).")] = None,
    model: Annotated[list[str] | None, typer.Option(help="Only these (repeatable).")] = None,
    dataset: Annotated[list[str] | None, typer.Option(help="Only these (repeatable).")] = None,
    tag: Annotated[list[str] | None, typer.Option(help="Only with these (repeatable).")] = None,
    limit: Annotated[
        int, typer.Option("--limit", "-n", min=1, max=10**6, help="At most so many.")
    ] = 20,
    as_json: AsJson = False,
) -> None:
    """List the newest jobs."""
    from zoo import jobs as rows
    from zoo.cli import output
    from zoo.errors import unknown

    for each in status or []:
        if each not in rows.STATUSES:
            raise unknown("status", each, rows.STATUSES)
    db = rows.connect()
    found = rows.listing(
        db,
        statuses=status or [],
        models=model or [],
        datasets=dataset or [],
        tags=tag or [],
        limit=limit,
    )
    if as_json:
        output.json_out([job.to_json() for job in found])
        return
    at = rows.clock(db)
    columns = ["id", "kind", "model", "dataset", "status", "accuracy", "age", "took", "params"]
    output.table(
        columns,
        [_line(job, at) for job in found],
        right=["accuracy", "age", "took"],
        optional=["params", "took", "kind", "dataset"],
    )
    if not found:
        output.note("No job yet. `zoo train logistic --dataset digits` is a first one.")


def _line(job: Job, at: float) -> list[object]:
    from zoo.cli import output
    from zoo.cli.follow import drawn

    fold = job.spec.get("fold")
    took = (job.finished_at or at) - job.started_at if job.started_at else None
    accuracy = output.number(job.metrics.get("accuracy"))
    if job.status == "running":
        progress = drawn(job)
        accuracy = f"{progress['completed']}/{progress['total']}" if progress["total"] else "..."
    return [
        job.id[:8],
        job.kind + (f" {fold['index'] + 1}/{fold['k']}" if fold else ""),
        job.model,
        job.dataset,
        output.status(job.status),
        accuracy,
        output.ago(at - job.created_at),
        output.ago(took) if took is not None else "",
        output.params(job.changed),
    ]


def show(ref: Ref = "@last", as_json: AsJson = False) -> None:
    """Show everything about a job or group."""
    from zoo import jobs as rows
    from zoo import settings, waits
    from zoo.cli import output
    from zoo.cli.details import show_group, show_job
    from zoo.jobs import Job

    chosen = settings.load()
    db = rows.connect(chosen.database)
    found = rows.find(db, ref)
    first = (
        found
        if isinstance(found, Job)
        else next((j for j in found.jobs if j.status == "queued"), None)
    )
    why = waits.sentence(db, chosen, first) if first else ""
    if as_json:
        extra = {"attempts": rows.attempts(db, found.id)} if isinstance(found, Job) else {}
        output.json_out(found.to_json() | extra | {"waits": why or None})
    elif isinstance(found, Job):
        show_job(db, found, why)
    else:
        show_group(found, why)


def logs(
    ref: Ref = "@last",
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until it ends.")] = False,
) -> None:
    """Print what a job printed, from any machine and while it runs."""
    from zoo import jobs as rows
    from zoo.cli import output
    from zoo.jobs import Group

    db = rows.connect()
    found = rows.find(db, ref)
    for job in found.jobs if isinstance(found, Group) else [found]:
        _print_log(db, job, follow)
        if rows.get(db, job.id).status == "queued":
            output.note(f"The job {job.id[:8]} is still queued; it has printed nothing.")


def _print_log(db: Database, job: Job, follow: bool) -> None:
    from zoo import jobs as rows
    from zoo.cli import output

    seen, ended = (0, -1), False
    while True:
        # Asked before the lines are read: what was written before the end is then read too.
        ended = not follow or rows.get(db, job.id).is_terminal
        for chunk in rows.log_after(db, job.id, seen):
            if chunk.attempt != seen[0] and chunk.attempt > 1:
                output.note(f"--- attempt {chunk.attempt}")
            typer.echo(output.safe(chunk.text.replace("\r\n", "\n")), nl=False)
            seen = (chunk.attempt, chunk.start)
        if ended:
            return
        time.sleep(0.2)


def wait(
    refs: Refs,
    timeout: Annotated[float | None, typer.Option(min=0, help="Give up after seconds.")] = None,
    as_json: AsJson = False,
) -> None:
    """Wait until jobs have ended; exit code 1 if one did not succeed."""
    from zoo import jobs as rows
    from zoo import settings
    from zoo.cli import output
    from zoo.cli.follow import follow, summary
    from zoo.jobs import Group

    db = rows.connect()
    found = [rows.find(db, ref) for ref in refs]
    ids = [job.id for each in found for job in (each.jobs if isinstance(each, Group) else [each])]
    ended = follow(db, settings.load(), ids, timeout=timeout)
    results = [rows.find(db, each.id) for each in found]
    if as_json:
        output.json_out([result.to_json() for result in results])
    else:
        for result in results:
            summary(result)
    if any(job.status != "succeeded" for job in ended):
        raise typer.Exit(1)


def _jobs(db: Database, refs: list[str]) -> list[Job]:
    """The jobs that are named, those of a group among them."""
    from zoo import jobs as rows
    from zoo.jobs import Group

    found = [rows.find(db, ref) for ref in refs]
    return [job for each in found for job in (each.jobs if isinstance(each, Group) else [each])]


def cancel(refs: Refs) -> None:
    """Cancel jobs: a queued one at once, a running one within a second or so."""
    from zoo import jobs as rows
    from zoo.cli import output

    db = rows.connect()
    for job in _jobs(db, refs):
        status = rows.cancel(db, job.id)
        if status is None:
            output.note(f"{job.id[:8]} has ended already: {rows.get(db, job.id).status}.")
        elif status == "running":
            output.note(f"{job.id[:8]} is asked to stop. `zoo wait {job.id[:8]}` sees it end.")
        else:
            output.note(f"{job.id[:8]} is cancelled.")


def retry(
    refs: Annotated[
        list[str] | None, typer.Argument(help="Jobs or groups: the beginning of an id, or @last.")
    ] = None,
    failed: Annotated[bool, typer.Option("--failed", help="All that failed or were lost.")] = False,
    model: Annotated[list[str] | None, typer.Option(help="With --failed: only these.")] = None,
    dataset: Annotated[list[str] | None, typer.Option(help="With --failed: only these.")] = None,
    tag: Annotated[list[str] | None, typer.Option(help="With --failed: only with these.")] = None,
    as_json: AsJson = False,
) -> None:
    """Submit jobs that did not succeed once more, as they were; the old rows stay."""
    from zoo import jobs as rows
    from zoo import settings, submit
    from zoo.cli import output
    from zoo.errors import UsageError

    if bool(refs) == failed:
        raise UsageError("Say which jobs: their ids, or --failed for all.", "For example @last.")
    chosen = settings.load()
    db = rows.connect(chosen.database)
    if failed:
        found = rows.listing(
            db,
            statuses=["failed", "timed_out", "lost"],
            models=model or [],
            datasets=dataset or [],
            tags=tag or [],
            not_retried=True,
            limit=100_000,
        )
    else:
        found = _jobs(db, refs or [])
    done = submit.retry(db, chosen, [job.id for job in reversed(found)])
    if as_json:
        output.json_out([rows.get(db, each).to_json() for each in done.ids])
        return
    for each in done.ids:
        output.out.print(each)
    if done.note:
        output.note(done.note)
    output.note(f"{len(done.ids)} submitted again. `zoo jobs` shows them.")
