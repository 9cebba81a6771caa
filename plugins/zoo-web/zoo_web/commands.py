"""`zoo ui`: a local web page."""

from __future__ import annotations

import contextlib
import os
import sys
from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

import zoo


@zoo.hookimpl
def register_commands(app: typer.Typer) -> None:
    """Add `zoo ui`."""
    app.command(rich_help_panel="Look at jobs")(ui)


def ui(
    port: Annotated[
        int,
        typer.Option(
            metavar="PORT", min=0, max=65535, help="Port; 0: that of last time, or a free one."
        ),
    ] = 0,
    browser: Annotated[bool, typer.Option(help="Open the page in the browser.")] = True,
) -> None:
    """Show jobs and predictions in the browser. Only for this machine."""
    from zoo import settings
    from zoo.cli.render import console
    from zoo_web.server import serve

    with contextlib.ExitStack() as after:
        redirects = after.enter_context(closing(Redirect(settings.load().home)))
        is_first = True

        def show_address(address: str) -> None:
            nonlocal is_first
            was_first, is_first = is_first, False
            redirects.remove()
            # The terminal may be closed; open pages continue.
            with contextlib.suppress(OSError, ValueError):
                if not was_first:
                    console.note("The page is open. Another browser needs another address:")
                console.line(address)
                console.out.file.flush()
                if was_first:
                    console.note(
                        "Only this machine can open it. Ctrl-C ends the page; the jobs go on."
                    )
            if was_first and browser and _has_display():
                redirects.open(address)

        try:
            serve(port, show_address)
        except KeyboardInterrupt:
            console.note("\nThe page is closed; the jobs go on.")
            raise typer.Exit(130) from None


class Redirect:
    """A private file that redirects a browser to an address.

    The process list shows command lines to all users, so the browser gets the file's name instead.
    """

    def __init__(self, home: Path) -> None:
        self._file = home / f"ui-{os.getpid()}.html"

    def open(self, address: str) -> None:
        """Open the address in the default browser."""
        import html
        import webbrowser

        target = html.escape(address)
        text = '<!doctype html><meta charset="utf-8"><title>Zoo</title><meta http-equiv="refresh" '
        text += f'content="0;url={target}"><a href="{target}">Open the page of Zoo</a>'
        self.remove()
        handle = os.open(self._file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        webbrowser.open(self._file.as_uri())

    def remove(self) -> None:
        """Remove the file; its address is used or expired."""
        with contextlib.suppress(OSError):
            self._file.unlink()

    close = remove


def _has_display() -> bool:
    """Return whether there is a display: a text browser would take over the terminal."""
    return sys.platform == "darwin" or any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY")))
