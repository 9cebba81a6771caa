"""`zoo ui`: a page of this machine's own, in the browser."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

import zoo


@zoo.hookimpl
def register_commands(app: typer.Typer) -> None:
    """Add `zoo ui`."""
    app.command()(ui)


def ui(
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: a free one.")] = 0,
    browser: Annotated[bool, typer.Option(help="Open the page in the browser.")] = True,
) -> None:
    """Show jobs and a canvas for digits in the browser. On this machine alone."""
    from zoo.cli import output
    from zoo_web.server import serve

    def opened(address: str) -> None:
        output.line(address)
        output.out.file.flush()
        output.note("Only this machine can open it. Ctrl-C ends the page; the jobs go on.")
        if browser and _has_screen():
            import webbrowser

            webbrowser.open(address)

    try:
        serve(port, opened)
    except KeyboardInterrupt:
        output.note("\nThe page is closed; the jobs go on.")
        raise typer.Exit(130) from None


def _has_screen() -> bool:
    """Else the browser that is found may be one of the terminal, which it would take over."""
    return sys.platform == "darwin" or any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY")))
