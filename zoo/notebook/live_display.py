"""Where progress is shown: a display of a notebook that is updated in place, or stderr."""

from __future__ import annotations

import sys
from typing import Any, NamedTuple, Protocol


class View(NamedTuple):
    """The progress of jobs, for a terminal and for a notebook."""

    text: str
    html: str


class LiveDisplay(Protocol):
    """Shows the progress of jobs until they have ended."""

    is_live: bool
    """Whether anybody sees it."""
    is_rich: bool
    """Whether it shows HTML."""

    def show(self, view: View) -> None:
        """Replace what is shown."""

    def note(self, text: str) -> None:
        """Show a note, which stays."""

    def close(self) -> None:
        """End the display."""


def open_display() -> LiveDisplay:
    """Return the display for this process: a notebook's, or a line on stderr."""
    return NotebookDisplay() if in_notebook() else StderrLine()


def print_note(text: str) -> None:
    """Print a note: in a notebook as output of the cell, elsewhere to stderr."""
    if in_notebook():
        _publish(View(text, ""))
    else:
        sys.stderr.write(f"{text}\n")


def in_notebook() -> bool:
    """Return whether a frontend shows the output of this process, as Jupyter does."""
    return getattr(_shell(), "kernel", None) is not None


def current_cell() -> int | None:
    """Return the number of the cell of a notebook that runs; None elsewhere."""
    return _shell().execution_count if in_notebook() else None


def _shell() -> Any:
    # IPython is there if and only if this runs in it.
    found = sys.modules.get("IPython")
    return found.get_ipython() if found else None


def _publish(view: View, **how: Any) -> Any:
    from IPython.display import display

    content = {"text/plain": view.text} | ({"text/html": view.html} if view.html else {})
    return display(content, raw=True, **how)


class NotebookDisplay:
    """One output of a cell, which is replaced at each update."""

    is_live = is_rich = True

    def __init__(self) -> None:
        self._handle: Any = None
        self._shown: View | None = None

    def show(self, view: View) -> None:
        """Replace what is shown, if it has changed: a notebook receives every update."""
        if view == self._shown:
            return
        if self._handle is None:
            self._handle = _publish(view, display_id=True)
        else:
            content = {"text/plain": view.text, "text/html": view.html}
            self._handle.update(content, raw=True)
        self._shown = view

    def note(self, text: str) -> None:
        """Show a note as an output of its own."""
        print_note(text)

    def close(self) -> None:
        """Leave what was shown last."""


class StderrLine:
    """A line on stderr that is overwritten; nothing where stderr is no terminal."""

    is_rich = False

    def __init__(self) -> None:
        self.is_live = sys.stderr.isatty()
        self._shown = ""

    def show(self, view: View) -> None:
        """Replace the text of the line."""
        if self.is_live and view.text != self._shown:
            sys.stderr.write(f"\r{view.text:<{len(self._shown)}}")
            sys.stderr.flush()
            self._shown = view.text

    def note(self, text: str) -> None:
        """Print a note below the line."""
        self.close()
        print_note(text)

    def close(self) -> None:
        """Remove the line."""
        if self._shown:
            self.show(View("", ""))
            sys.stderr.write("\r")
