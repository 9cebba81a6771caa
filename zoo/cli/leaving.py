"""What Ctrl-C leaves behind while a command submits: nothing yet, or jobs that go on."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import typer


@contextlib.contextmanager
def submitting() -> Iterator[None]:
    """Say after Ctrl-C whether anything was submitted, and end with exit code 130."""
    from zoo.cli.render import console
    from zoo.queue.submit import Left

    try:
        yield
    except Left as left:
        detached(left.args[0])
        raise typer.Exit(130) from None
    except KeyboardInterrupt:
        console.note("\nNothing was submitted.")
        raise typer.Exit(130) from None


@contextlib.contextmanager
def going_on(ref: str) -> Iterator[None]:
    """From the moment it is submitted, Ctrl-C leaves a job or group alone: exit code 130."""
    try:
        yield
    except KeyboardInterrupt:
        detached(ref)
        raise typer.Exit(130) from None


def detached(ref: str) -> None:
    """Say how to come back to a job or group that goes on, and how to end it."""
    from zoo.cli.render import console

    short = ref[:8]
    console.note(f"\nDetached; {short} goes on. `zoo wait {short}` comes back to it,")
    console.note(f"`zoo cancel {short}` ends it.")
