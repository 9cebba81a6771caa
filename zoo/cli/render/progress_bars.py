"""Progress bars that fit the terminal: numbers and the remaining time are always complete."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

BARS = ((100, 24), (70, 8))
"""(columns of the terminal, columns of a bar); a narrower terminal has no bar."""
TIMED = 70
"""Columns from which on the time that has passed is shown."""
ELAPSED = len("00:00:00 ")
NAMED = 50
"""Columns from which on the unit of a step is named, and metrics are shown."""
SPINNER = len("⠋ ")
LEFT = len("12 min left")
"""Least columns for the time left, so that the others stay where they are while it changes."""
TOGETHER = "\N{NO-BREAK SPACE}"
"""Between a name and its value: they are left out together."""


def _bar(width: int) -> int:
    return next((size for least, size in BARS if width >= least), 0)


def progress(screen: Console) -> Progress:
    """Return bars with a description, a bar, `count`, the elapsed time, and `left`."""
    size = _bar(screen.width)
    return Progress(
        SpinnerColumn(),
        # Names may contain what rich would take for markup.
        TextColumn("{task.description}", markup=False),
        *([BarColumn(bar_width=size)] if size else []),
        TextColumn("{task.fields[count]}", markup=False),
        *([TimeElapsedColumn()] if screen.width >= TIMED else []),
        TextColumn("{task.fields[left]}", markup=False),
        console=screen,
        transient=True,
    )


def room(width: int, described: int, counted: int, left: int = 0) -> tuple[int, int]:
    """Return the columns for the description and the count.

    Args:
        width: Columns of the terminal.
        described: Those of the longest description: the id and the model come first.
        counted: Those of the longest count without metrics: it is never cut.
        left: Those of the longest time left.
    """
    size = _bar(width)
    is_running = bool(counted or left)
    beside = SPINNER + (max(left, LEFT) + 1) * is_running + (size + 1 if size else 0)
    rest = width - beside - (ELAPSED if width >= TIMED else 0)
    description = max(min(described, rest - counted - 1), 8)
    return description, max(rest - description - 1, 0)
