"""A command run in this process, and what it would show on a terminal or in a pipe."""

from __future__ import annotations

import functools
import io
import sys
from collections.abc import Callable
from typing import Any

import pytest
from typer.core import TyperGroup

from zoo.cli import lazy_group, main
from zoo.cli.render import console


class Terminal(io.TextIOWrapper):
    """A terminal, or a pipe, that keeps what is written."""

    def __init__(self, is_terminal: bool) -> None:
        super().__init__(io.BytesIO(), encoding="utf-8", errors="strict", write_through=True)
        self.is_terminal = is_terminal

    def isatty(self) -> bool:
        return self.is_terminal

    def text(self) -> str:
        self.flush()
        return self.buffer.getvalue().decode()  # type: ignore[attr-defined]


Command = Callable[[], None]


def command(*words: str) -> Command:
    """The command as Typer calls it, read once: to read a command line takes 0.1 s each time."""
    found, rest = command_root(), [*words]
    context = found.make_context("zoo", [*words])
    while isinstance(found, TyperGroup) and rest:
        name, found, rest = found.resolve_command(context, rest)
        context = found.make_context(name, rest, parent=context)

    def run() -> None:
        with context.scope():
            found.invoke(context)

    return run


@functools.cache
def command_root() -> Any:
    return lazy_group.root(main.app)


def shown(run: Command, *, width: int = 80, is_terminal: bool = True) -> tuple[str, str]:
    """What a command writes to stdout and to stderr, run in this process."""
    out, err = Terminal(is_terminal), Terminal(is_terminal)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", out)
        patch.setattr(sys, "stderr", err)
        patch.setattr(sys, "argv", ["zoo"])
        # Without colours: whatever is left that steers is somebody else's.
        for name, value in {"TERM": "dumb", "COLUMNS": str(width), "LINES": "50"}.items():
            patch.setenv(name, value)
        for name in ("out", "err"):
            vars(console).pop(name, None)
        try:
            console.guard()
            run()
        finally:
            for name in ("out", "err"):
                vars(console).pop(name, None)
    return out.text(), err.text()
