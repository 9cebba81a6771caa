"""Progress bars that fit the terminal: numbers and the remaining time are always complete."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

BARS = ((100, 24), (70, 8))
"""(columns of the terminal, columns of a bar); a narrower terminal has no bar."""
BESIDE = len("⠋ 00:00:00 silent for 1000 s") + 3
"""Columns of the spinner, the time that has passed, the time left, and gaps."""
COUNT = len("epoch 1500/1500 …")
"""Columns that are kept for how far a job is."""
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
        TimeElapsedColumn(),
        TextColumn("{task.fields[left]}", markup=False),
        console=screen,
        transient=True,
    )


def room(width: int, described: int, counted: int) -> tuple[int, int]:
    """Return the columns for the description and the count, whose longest texts are given."""
    size = _bar(width)
    left = width - BESIDE - (size + 1 if size else 0)
    description = max(min(described, left - min(counted, COUNT) - 1), 8)
    return description, max(left - description - 1, 0)
