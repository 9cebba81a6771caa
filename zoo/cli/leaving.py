"""Ctrl-C while a command submits or follows jobs: exit code 130, submitted jobs continue."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import typer


@contextlib.contextmanager
def planning() -> Iterator[None]:
    """On Ctrl-C print that nothing was submitted yet, and exit with code 130."""
    try:
        yield
    except KeyboardInterrupt:
        from zoo.cli.render import console

        console.note("\nNothing was submitted.")
        raise typer.Exit(130) from None


@contextlib.contextmanager
def submitting() -> Iterator[None]:
    """On Ctrl-C print whether anything was submitted, and exit with code 130."""
    from zoo.queue.submit import Left

    with planning():
        try:
            yield
        except Left as left:
            detached(left.args[0])
            raise typer.Exit(130) from None


@contextlib.contextmanager
def going_on(ref: str) -> Iterator[None]:
    """On Ctrl-C leave the submitted job or group running, and exit with code 130."""
    try:
        yield
    except KeyboardInterrupt:
        detached(ref)
        raise typer.Exit(130) from None


def detached(ref: str) -> None:
    """Print how to follow the job or group again, and how to cancel it."""
    from zoo.cli.render import console

    short = ref[:8]
    console.note(f"\nDetached; {short} continues.")
    console.commands(
        [(f"zoo wait {short}", "follow it again"), (f"zoo cancel {short}", "cancel it")]
    )
