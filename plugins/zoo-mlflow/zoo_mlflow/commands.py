"""`zoo mlflow sync`: write past jobs into the tracking server."""

from __future__ import annotations

from typing import Annotated

import typer

import zoo
from zoo.cli.filter_options import FilterWords, filtered

mlflow = typer.Typer(help="Finished jobs in an MLflow tracking server.", no_args_is_help=True)


@zoo.hookimpl
def register_commands(app: typer.Typer) -> None:
    """Add `zoo mlflow`."""
    app.add_typer(mlflow, name="mlflow", rich_help_panel="Results")


@mlflow.callback()
def about() -> None:
    """Finished jobs in an MLflow tracking server."""


@mlflow.command()
@filtered
def sync(
    words: FilterWords,
    again: Annotated[
        bool, typer.Option("--again", help="Update jobs already there: tags may have changed.")
    ] = False,
    follow: Annotated[
        bool,
        typer.Option("--follow", help="Go on until interrupted, and write jobs while they run."),
    ] = False,
    every: Annotated[
        float, typer.Option("--every", metavar="SECONDS", min=0.1, help="Interval of --follow.")
    ] = 5.0,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the counts as JSON on stdout.")
    ] = False,
) -> None:
    """Write the finished jobs that are missing on the server."""
    from zoo import jobs, settings
    from zoo.cli.render import console
    from zoo.errors import UsageError
    from zoo_mlflow import client, sync

    chosen = settings.load()
    if not chosen.mlflow:
        raise UsageError("ZOO_MLFLOW is not set: there is no server to write to.", client.HINT)
    if follow and words.status:
        raise UsageError("--follow takes jobs of every status.", "Leave out --status.")
    db = jobs.connect(chosen.database)
    wanted = words.filter(db)
    follower = sync.Follower(db, chosen, wanted) if follow else None
    with console.progress() as report:
        done = sync.sync(db, chosen, wanted, report, again=again)
    for job, why in done.without_files.items():
        console.note(f"{job[:8]} was written without its files: {why}")
    if as_json:
        console.json_out(done.to_json())
    else:
        console.out.print(f"{done.written} written, {done.there} were there, {done.going} go on")
    if follower:
        console.note("Jobs are written while they run; Ctrl-C ends that.")
        follower.follow(every, console.note)
