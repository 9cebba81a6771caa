"""`zoo up`, `down`, `doctor` and `db upgrade`: the machinery."""

from __future__ import annotations

from typing import Annotated

import typer

database = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="The rows' database.")


def add_to(app: typer.Typer) -> None:
    for command in (up, down, doctor):
        app.command()(command)
    app.add_typer(database, name="db")


def up() -> None:
    """Start this machine's own broker and worker. They stay until `zoo down`."""
    from zoo import embedded, settings
    from zoo.cli import output
    from zoo.cli.local_worker import await_worker
    from zoo.errors import UsageError

    chosen = settings.load()
    if not chosen.is_embedded:
        raise UsageError(
            "ZOO_BROKER_URL is set: the broker is not this machine's own.",
            "Start a worker: `zoo worker start`.",
        )
    started = embedded.ensure(chosen, keep=True)
    await_worker(chosen, started)
    output.note(f"The broker and a worker are up, for {chosen.home}. `zoo down` ends them.")


def down() -> None:
    """End this machine's own worker and broker. Unfinished jobs stay queued."""
    from zoo import embedded, settings
    from zoo.cli import output

    chosen = settings.load()
    with output.err.status("Ending the worker; a running job may finish ..."):
        ended = embedded.down(chosen, chosen.drain_seconds + 10)
    output.note(f"Ended: {', '.join(ended)}." if ended else "Nothing was running.")


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="JSON on stdout.")] = False,
) -> None:
    """Look at every part, and say what to do about each fault. Exit code 1 if there is one."""
    import dataclasses

    from rich.text import Text

    from zoo import doctor, settings
    from zoo.cli import output

    findings = []
    for finding in doctor.examine(settings.load()):
        findings.append(finding)
        if not as_json:
            mark = ("ok  ", "green") if finding.ok else ("bad ", "bold red")
            output.field(Text.assemble(mark, f"{finding.part:<10} "), finding.detail)
            if finding.advice:
                output.field("     -> ", finding.advice)
    if as_json:
        output.json_out([dataclasses.asdict(finding) for finding in findings])
    if not all(finding.ok for finding in findings):
        raise typer.Exit(1)


@database.command()
def upgrade() -> None:
    """Bring the database to this program's schema."""
    from zoo import jobs, settings
    from zoo.cli import output

    db = jobs.Database(settings.load().database)
    before = jobs.schema_version(db)
    jobs.upgrade(db)
    output.note(f"{db.name}: schema {before} -> {jobs.schema_version(db)}.")
