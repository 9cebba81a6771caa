"""What the terminal shows: data on stdout, everything else on stderr."""

from __future__ import annotations

import contextlib
import json
import sys
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

from rich.console import Console
from rich.table import Table
from rich.text import Text

# In a pipe a line is as long as it is; rich would cut it at 80.
out = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 10_000)
err = Console(stderr=True, highlight=False, soft_wrap=True)

GAP = 2
STEERING = ("Cc", "Cf", "Cs", "Zl", "Zp")
"""Unicode's categories of control and format characters, halves of one, and line separators."""

STYLES = {
    "succeeded": "green",
    "running": "cyan",
    "failed": "red",
    "timed_out": "red",
    "lost": "red",
    "cancelled": "yellow",
}


def json_out(value: Any) -> None:
    """Print JSON for scripts: as it is, never wrapped or coloured."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    # Bytes of the command line that were no text are half characters, which cannot be printed.
    sys.stdout.write(text.encode(errors="replace").decode() + "\n")


def note(text: str) -> None:
    """Tell the person something, on stderr."""
    err.print(Text(safe(text)))


def error(message: str, hint: str = "") -> None:
    """One sentence and what to do next."""
    line = Text("error: ", style="bold red")
    line.append(safe(message), style="default")
    err.print(line)
    if hint:
        err.print(Text(f"       {safe(hint)}"))


def safe(text: str) -> str:
    """Text from elsewhere without what could steer a terminal or turn its lines around."""
    keep = ("\n", "\t")
    return "".join(c for c in text if c in keep or unicodedata.category(c) not in STEERING)


def table(
    columns: Sequence[str],
    rows: Sequence[Sequence[Any]],
    right: Sequence[str] = (),
    optional: Sequence[str] = (),
) -> None:
    """A plain table; a cell may be a rich Text. In a pipe it is as wide as it needs to be.

    A terminal that is too narrow gets it without the `optional` columns, dropped in that order.
    """
    cells = [[c if isinstance(c, Text) else Text(safe(str(c))) for c in row] for row in rows]
    widths = {
        name: max([len(name), *(row[i].cell_len for row in cells)])
        for i, name in enumerate(columns)
    }
    dropped: set[str] = set()
    for name in optional if out.is_terminal else ():
        if sum(widths[n] + GAP for n in columns if n not in dropped) - GAP <= out.width:
            break
        dropped.add(name)
    shown = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="bold")
    kept = [i for i, name in enumerate(columns) if name not in dropped]
    for i in kept:
        last = i == kept[-1]
        justify: Literal["left", "right"] = "right" if columns[i] in right else "left"
        shown.add_column(columns[i], justify=justify, no_wrap=not last, overflow="fold")
    for row in cells:
        shown.add_row(*(row[i] for i in kept))
    _print_lines(shown)


def _print_lines(shown: Table) -> None:
    if out.is_terminal:
        out.print(shown, soft_wrap=False)
        return
    with out.capture() as drawn:
        out.print(shown, soft_wrap=False)
    for line in drawn.get().splitlines():
        sys.stdout.write(line.rstrip() + "\n")


def width() -> int:
    """Columns to draw in: the terminal's, or 80."""
    return out.width if out.is_terminal else 80


def in_colour() -> bool:
    """Whether stdout takes colours: a terminal, and NO_COLOR is not set."""
    return out.is_terminal and not out.no_color


@contextlib.contextmanager
def progress() -> Iterator[Callable[[str, int, int], None]]:
    """A bar on stderr for each (what, done, total) that is told."""
    from rich.progress import Progress

    tasks: dict[str, Any] = {}
    with Progress(console=err, transient=True, disable=not err.is_terminal) as bars:

        def tell(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(safe(what))
            bars.update(tasks[what], completed=done, total=total or None)

        yield tell


def status(name: str) -> Text:
    return Text(name, style=STYLES.get(name, ""))


def ago(seconds: float) -> str:
    """A span of time, short: 4 s, 12 min, 3 h, 5 d."""
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size * (1.5 if unit == "min" else 1):
            return f"{seconds / size:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"


def number(value: Any, digits: int = 4) -> str:
    """A metric as people read it."""
    return (
        "" if value is None else f"{value:.{digits}f}" if isinstance(value, float) else str(value)
    )


def params(values: dict[str, Any]) -> str:
    """Params as they are typed."""
    texts = (v if isinstance(v, str) else json.dumps(v) for v in values.values())
    return " ".join(f"{name}={text}" for name, text in zip(values, texts, strict=True))
