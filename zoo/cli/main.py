"""The Typer app with the built-in commands, the entry point and the printing of errors."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Sequence
from typing import Any

import typer

from zoo import __version__
from zoo.cli import commands, lazy_group, streams
from zoo.errors import UsageError, ZooError
from zoo.plugins import packages

EXTRAS = {
    "numpy": "Install it: pip install 'mnist-zoo[data]'.",
    "PIL": "Install it: pip install 'mnist-zoo[data]'.",
    "scipy": "Install it: pip install 'mnist-zoo[data]'.",
    "sklearn": f"Install it: pip install {packages.LOCAL}.{packages.IN_A_CLONE}",
}
"""How to install packages that submitting and listing jobs do not need."""

MODULES = (
    ("train", "sweep", "rerun", "reproduce"),
    ("jobs", "show", "files", "watch"),
    ("job_actions", "notes", "removal", "queue"),
    ("leaderboard", "compare", "predict", "export"),
    ("models", "plugins", "data"),
    ("local", "carry", "gc", "lookup"),
)
"""The modules with commands, by the panel of `zoo --help` that lists them."""

app = lazy_group.LazyApp(
    commands,
    dict(zip(lazy_group.PANELS, MODULES, strict=True)),
    name="zoo",
    help="Train, evaluate and compare many small models.",
    epilog=(
        "REF names a job or group: the beginning of its id, its name, @last, @last-failed, "
        "@best:DATASET or @best:DATASET/MODEL.\n\n"
        "Exit codes: 0 success; 1 the job or the operation failed; 2 wrong usage; "
        "130 interrupted by Ctrl-C (submitted jobs continue)."
    ),
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(__version__)
        raise typer.Exit()


@app.callback()
def _root(
    version: bool = typer.Option(
        False, "--version", help="Print the version.", is_eager=True, callback=_print_version
    ),
) -> None:
    pass


def _check_encoding(arguments: Sequence[str]) -> None:
    """Raise UsageError for an argument that is not UTF-8: it can be neither stored nor printed."""
    for argument in arguments:
        try:
            argument.encode()
        except UnicodeEncodeError:
            raise UsageError(f"The argument {argument!a} is not UTF-8 text.") from None


def main() -> None:
    """Run the command line. An error prints one sentence and a hint, never a traceback."""
    from zoo.cli.render import console

    streams.prepare()
    console.guard()
    # Warnings of libraries are for authors of plugins: `python -W default -m zoo` shows them.
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> Any:
    """Run one command with these command-line arguments; returns its exit code."""
    code: Any = 0
    try:
        _check_encoding(arguments)
        try:
            root = lazy_group.root(app)
            if "_ZOO_COMPLETE" in os.environ or (arguments and "-completion" in arguments[0]):
                from zoo.cli import shells

                shells.register()  # after Typer's own, which the group's params bring
                if arguments and shells.print_or_install(arguments):
                    streams.finish()
                    return code
            root(arguments, prog_name="zoo")
        except SystemExit as stop:
            code = stop.code
        streams.finish()
    except ZooError as error:
        code = _print_error(error)
    except KeyboardInterrupt:  # before the command starts, or while it ends
        code = 130
    except ModuleNotFoundError as error:
        if error.name not in EXTRAS:
            raise
        missing = f"This command needs {error.name}, which is not installed."
        code = _print_error(UsageError(missing, EXTRAS[error.name]))
    return code


def _print_error(error: ZooError) -> int:
    from zoo.cli.render import console

    console.error(error.message, error.hint)
    return error.exit_code
