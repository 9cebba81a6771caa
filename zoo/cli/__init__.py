"""The command line: one file per noun; a command parses, calls one function, prints."""

from __future__ import annotations

import contextlib
import sys

import pluggy
import typer

from zoo import __version__, entrypoints, hookspecs
from zoo.cli import data, jobs, machine, models, results, train
from zoo.errors import ZooError

app = typer.Typer(
    name="zoo",
    help="Train, judge and compare many small models.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


@app.callback()
def _root(
    version: bool = typer.Option(False, "--version", help="Print the version.", is_eager=True),
) -> None:
    if version:
        typer.echo(__version__)
        raise typer.Exit()


for room in (train, jobs, results, models, data, machine):
    room.add_to(app)


def _add_plugins_commands() -> None:
    """Let entry points of the group `zoo.commands` add theirs.

    A group of its own: `zoo --help` would else wait for every model's params.
    """
    manager = pluggy.PluginManager("zoo")
    manager.add_hookspecs(hookspecs)
    for entry in entrypoints.of("zoo.commands"):
        # A broken one must not take the terminal with it.
        with contextlib.suppress(Exception, SystemExit), contextlib.redirect_stdout(sys.stderr):
            manager.register(entry.load(), entry.name)
    manager.hook.register_commands(app=app)


def main() -> None:
    """Run the command line; an error is one sentence and what to do next, never a traceback."""
    _add_plugins_commands()
    try:
        app()
    except ZooError as error:
        from zoo.cli import output

        output.error(error.message, error.hint)
        sys.exit(error.exit_code)
