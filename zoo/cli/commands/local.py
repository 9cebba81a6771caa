"""`zoo up`, `down`, `doctor` and `db upgrade`: services of this machine and the database."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from zoo.terminal_text import counted

if TYPE_CHECKING:
    from zoo.settings import Settings

database = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Manage the database.")


def add_to(app: typer.Typer) -> None:
    for command in (up, down, doctor):
        app.command()(command)
    app.add_typer(database, name="db")


def up() -> None:
    """Start the local broker and worker. They run until `zoo down`."""
    from zoo import settings
    from zoo.cli.local_worker import await_worker
    from zoo.cli.render import console
    from zoo.errors import UsageError
    from zoo.plugins import packages
    from zoo.queue import local_services

    chosen = settings.load()
    if not chosen.is_embedded:
        raise UsageError(
            "ZOO_BROKER_URL is set: this machine runs no broker of its own.",
            "Start a worker: `zoo worker start`.",
        )
    packages.check_worker()
    started = local_services.ensure(chosen, keep=True)
    await_worker(chosen, started)
    console.note(f"The broker and a worker are running for {chosen.home}. `zoo down` stops them.")


def down() -> None:
    """Stop the local worker and broker. Unfinished jobs stay queued."""
    from zoo import settings
    from zoo.cli.render import console
    from zoo.queue import local_services

    chosen = settings.load()
    interrupted = _print_running(chosen)
    with console.err.status("Stopping the worker; a running job may finish ..."):
        ended = local_services.down(chosen, chosen.drain_seconds + 10)
    console.note(f"Stopped: {', '.join(ended)}." if ended else "Nothing was running.")
    _print_requeued(chosen, interrupted)


def _print_running(chosen: Settings) -> list[str]:
    """Print the running jobs of the local worker and their progress; returns their ids."""
    from zoo import jobs
    from zoo.cli.render import console, job_columns
    from zoo.errors import StoreError
    from zoo.queue import local_services

    local = local_services.worker_to_end(chosen)
    if local is None:
        return []
    try:
        db = jobs.connect(chosen.database)
        names = {w.name for w in jobs.workers(db) if w.pid == local.pid}
        running = [job for job in jobs.listing(db, statuses=["running"]) if job.worker in names]
        known = jobs.estimate_running(db, running, jobs.clock(db))
    except StoreError as error:  # the services stop nevertheless
        console.note(error.message)
        return []
    for job in running:
        far = job_columns.far(known[job.id])
        console.note(f"{job.id[:8]}  {job.model} on {job.dataset}: {far}")
    if running:
        these = "This job runs" if len(running) == 1 else f"These {len(running)} jobs run"
        console.note(
            f"{these} now. A job that has not ended after {chosen.drain_seconds:g} s returns to "
            "the queue and starts again later."
        )
    return [job.id for job in running]


def _print_requeued(chosen: Settings, ids: list[str]) -> None:
    from zoo import jobs
    from zoo.cli.render import console

    if not ids:
        return
    db = jobs.connect(chosen.database)
    left = [job for job in ids if jobs.get(db, job).status == "queued"]
    if left:
        names = ", ".join(job[:8] for job in left)
        console.note(f"Requeued: {names}. The next training or `zoo up` runs them.")


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="JSON on stdout.")] = False,
    deep: Annotated[
        bool, typer.Option("--deep", help="Check the files of all jobs, not of a sample.")
    ] = False,
) -> None:
    """Check every part and print how to fix each problem. Exit code 1 if there is one."""
    import dataclasses

    from rich.text import Text

    from zoo import settings
    from zoo.cli.render import console
    from zoo.queue import doctor

    findings = []
    status = console.err.status("")

    def show(done: int, total: int) -> None:
        status.update(f"Checking files: {done:,} of {counted(total, 'job')} ...")
        status.start()

    for finding in doctor.examine(settings.load(), show if deep else None):
        status.stop()
        findings.append(finding)
        if not as_json:
            mark = ("ok  ", "green") if finding.ok else ("bad ", "bold red")
            console.field(Text.assemble(mark, f"{finding.part:<10} "), finding.detail)
            if finding.advice:
                console.field("     -> ", finding.advice)
    if as_json:
        console.json_out([dataclasses.asdict(finding) for finding in findings])
    if not all(finding.ok for finding in findings):
        raise typer.Exit(1)


@database.command()
def upgrade() -> None:
    """Migrate the database to the schema of this version."""
    from zoo import jobs, settings
    from zoo.cli.render import console

    db = jobs.Database(settings.load().database)
    before = jobs.schema_version(db)
    jobs.upgrade(db)
    console.note(f"{db.name}: schema {before} -> {jobs.schema_version(db)}.")
