"""The command line: one file per noun; a command parses, calls one function, prints."""

from __future__ import annotations

import os
import sys

import typer
from click.exceptions import Abort, ClickException

from zoo import __version__, plugins
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


def main() -> None:
    """Run the command line; an error is one sentence and what to do next, never a traceback."""
    plugins.add_commands(app)
    try:
        code = app(standalone_mode=False)
    except ZooError as error:
        from zoo.cli import output

        output.error(error.message, error.hint)
        code = error.exit_code
    except ClickException as error:
        error.show()
        code = error.exit_code
    except (Abort, KeyboardInterrupt):
        code = 130
    except BrokenPipeError:
        # `zoo jobs | head`: nobody reads on, and flushing at exit must not complain either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    sys.exit(code if isinstance(code, int) else 0)
