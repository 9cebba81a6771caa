"""The Typer app: every noun adds its commands, then every plugin; and what an error prints."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Sequence
from typing import Any

import typer

from zoo import __version__
from zoo.cli import lazy_group, streams
from zoo.cli.commands import (
    compare,
    data,
    export,
    files,
    job_actions,
    jobs,
    leaderboard,
    local,
    models,
    plugins,
    predict,
    queue,
    reproduce,
    rerun,
    show,
    sweep,
    train,
    watch,
)
from zoo.errors import UsageError, ZooError

EXTRAS = {
    "numpy": "Install it: pip install 'mnist-zoo[data]'.",
    "PIL": "Install it: pip install 'mnist-zoo[data]'.",
    "scipy": "Install it: pip install 'mnist-zoo[data]'.",
    "sklearn": "Install it: pip install mnist-zoo-workers.",
}
"""What a terminal does without as long as it only submits and looks."""

app = typer.Typer(
    name="zoo",
    help="Train, judge and compare many small models.",
    epilog=(
        "A job or group is named by the beginning of its id, @last, @last-failed, @best:DATASET "
        "or @best:DATASET/MODEL.\n\n"
        "Exit codes: 0 well; 1 the job or the operation failed; 2 the command was wrong; "
        "130 left by Ctrl-C, the job goes on."
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


LOOKING = (jobs, show, files, watch)
ZOO = (models, plugins, data)
for room in (
    *(
        train,
        sweep,
        rerun,
        reproduce,
        *LOOKING,
        job_actions,
        queue,
        leaderboard,
        compare,
        predict,
        export,
    ),
    *(*ZOO, local),
):
    room.add_to(app)


def _refuse_half_letters(words: Sequence[str]) -> None:
    """Bytes of the command line that are no text can neither be stored nor shown."""
    for word in words:
        try:
            word.encode()
        except UnicodeEncodeError:
            raise UsageError(f"The word {word!a} is not text in UTF-8.") from None


def main() -> None:
    """Run the command line; an error is one sentence and what to do next, never a traceback."""
    from zoo.cli.render import console

    streams.prepare()
    console.guard()
    # What libraries warn of is for those who write plugins: `-W default` shows it.
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
    sys.exit(run(sys.argv[1:]))


def run(words: Sequence[str]) -> Any:
    """Run one command with these words of the command line, and give its exit code."""
    code: Any = 0
    try:
        _refuse_half_letters(words)
        try:
            group = lazy_group.root(app)
            if "_ZOO_COMPLETE" in os.environ or (words and "-completion" in words[0]):
                from zoo.cli import shells

                shells.register()  # after Typer's own, which the group's params bring
                if words and shells.tell(words):
                    streams.finish()
                    return code
            group(words, prog_name="zoo")
        except SystemExit as leaving:
            code = leaving.code
        streams.finish()
    except ZooError as error:
        code = _told(error)
    except KeyboardInterrupt:  # before the command has begun, or while it leaves
        code = 130
    except ModuleNotFoundError as error:
        if error.name not in EXTRAS:
            raise
        missing = f"This command needs {error.name}, which is not here."
        code = _told(ZooError(missing, EXTRAS[error.name]))
    return code


def _told(error: ZooError) -> int:
    from zoo.cli.render import console

    console.error(error.message, error.hint)
    return error.exit_code
