"""What the terminal shows: data on stdout, everything else on stderr."""

from __future__ import annotations

import contextlib
import json
import sys
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    out: Console
    err: Console

# In a pipe a line is as long as it is; rich would cut it at 80.
# Names and words from elsewhere may hold what rich takes for its markup: it has none here.
PLAINLY: dict[str, Any] = {"highlight": False, "markup": False, "soft_wrap": True}

GAP = 2
LEAST = 10
"""Columns that the last cell of a row gets at least, however narrow the terminal is."""
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


def __getattr__(name: str) -> Any:
    """The consoles `out` and `err`, made when something is drawn: rich takes 20 ms to import."""
    if name not in ("out", "err"):
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    from rich.console import Console

    width = None if sys.stdout.isatty() else 10_000
    made = Console(**PLAINLY, width=width) if name == "out" else Console(**PLAINLY, stderr=True)
    return globals().setdefault(name, made)


def _out() -> Console:
    return sys.modules[__name__].out  # type: ignore[no-any-return]


def _err() -> Console:
    return sys.modules[__name__].err  # type: ignore[no-any-return]


def json_out(value: Any) -> None:
    """Print JSON for scripts: as it is, never wrapped or coloured."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    # Bytes of the command line that were no text are half characters, which cannot be printed.
    sys.stdout.write(text.encode(errors="replace").decode() + "\n")


def line(text: str) -> None:
    """Print a line for scripts: an id, for one."""
    sys.stdout.write(safe(text) + "\n")


def csv_cell(value: Any) -> Any:
    """A value as a table of numbers holds it: lists and params as JSON, nothing as nothing."""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, list | dict) else value


def note(text: str) -> None:
    """Tell the person something, on stderr."""
    if "rich.console" not in sys.modules:  # nothing is drawn that it would have to stand above
        sys.stderr.write(safe(text) + "\n")
        return
    from rich.text import Text

    _err().print(Text(safe(text)))


def error(message: str, hint: str = "") -> None:
    """One sentence and what to do next."""
    from rich.text import Text

    line = Text("error: ", style="bold red")
    line.append(safe(message), style="default")
    _err().print(line)
    for each in hint.splitlines():
        _err().print(Text(f"       {safe(each)}"))


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Show nothing on stderr meanwhile; data on stdout still comes."""
    _err().quiet = True
    try:
        yield
    finally:
        _err().quiet = False


def safe(text: str) -> str:
    """Text from elsewhere without what could steer a terminal or turn its lines around."""
    if text.isprintable():
        return text
    keep = ("\n", "\t")
    return "".join(c for c in text if c in keep or unicodedata.category(c) not in STEERING)


def table(
    columns: Sequence[str],
    rows: Sequence[Sequence[Any]],
    right: Sequence[str] = (),
    optional: Sequence[str] = (),
) -> None:
    """A plain table; a cell may be a rich Text. In a pipe it is as wide as it needs to be.

    A terminal that is too narrow gets it without the `optional` columns, dropped in that order,
    and with the last column folded.
    """
    from rich.text import Text

    cells: list[list[str | Text]] = [
        [c if isinstance(c, Text) else safe(str(c)) for c in row] for row in rows
    ]
    widths = {
        name: max(len(name), *(_cell_len(row[i]) for row in cells), 0)
        for i, name in enumerate(columns)
    }
    kept = _that_fit(widths, optional)
    last = kept[-1]
    if _out().is_terminal:
        before = sum(widths[name] + GAP for name in kept[:-1])
        widths[last] = min(widths[last], max(_out().width - before, LEAST))
    heads: list[str | Text] = [Text(name, "bold") for name in columns]
    for line in (heads, *cells):
        found = dict(zip(columns, line, strict=True))
        _print_row([(found[name], widths[name], name in right) for name in kept])


def _that_fit(widths: Mapping[str, int], optional: Sequence[str]) -> list[str]:
    kept = list(widths)
    for name in optional if _out().is_terminal else ():
        if sum(widths[n] + GAP for n in kept) - GAP <= _out().width:
            break
        kept.remove(name)
    return kept


def _print_row(cells: Sequence[tuple[str | Text, int, bool]]) -> None:
    """Print cells, each with its width and whether it stands on the right."""
    if not _out().is_terminal:
        padded = [_padding(each, size, right) for each, size, right in cells]
        line = (" " * GAP).join(f"{left}{cell}{after}" for left, cell, after in padded)
        sys.stdout.write(line.rstrip() + "\n")
        return
    from rich.text import Text

    *first, (last, size, right) = cells
    begin = Text()
    for each, wide, is_right in first:
        left, cell, after = _padding(each, wide, is_right)
        begin.append(left).append(cell).append(after + " " * GAP)
    # Folding is rich's; what goes on below it stands under its own column.
    pieces = Text(last) if isinstance(last, str) else last
    for number, piece in enumerate(pieces.wrap(_out(), size) or [Text()]):
        left, cell, _ = _padding(piece, size, right)
        start = begin if number == 0 else Text(" " * begin.cell_len)
        _out().print(start.copy().append(left).append(cell), soft_wrap=True)


def _padding(cell: str | Text, size: int, right: bool) -> tuple[str, str | Text, str]:
    space = " " * (size - _cell_len(cell))
    return (space, cell, "") if right else ("", cell, space)


def _cell_len(cell: str | Text) -> int:
    """Columns that it takes: of Hangul, for one, each letter takes two."""
    if isinstance(cell, str) and cell.isascii():
        return len(cell)
    from rich.cells import cell_len

    return cell_len(str(cell))


def width() -> int:
    """Columns to draw in: the terminal's, or 80."""
    return _out().width if _out().is_terminal else 80


def in_colour() -> bool:
    """Whether stdout takes colours: a terminal, and NO_COLOR is not set."""
    return _out().is_terminal and not _out().no_color


def in_unicode() -> bool:
    """Whether stdout has a letter for everything."""
    return _out().encoding.startswith("utf")


@contextlib.contextmanager
def progress() -> Iterator[Callable[[str, int, int], None]]:
    """A bar on stderr for each (what, done, total) that is told."""
    from rich.progress import Progress

    tasks: dict[str, Any] = {}
    with Progress(console=_err(), transient=True, disable=not _err().is_terminal) as bars:

        def tell(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(safe(what))
            bars.update(tasks[what], completed=done, total=total or None)

        yield tell


def status(name: str) -> Text:
    from rich.text import Text

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


def params(values: Mapping[str, Any]) -> str:
    """Params as they are typed."""
    from zoo.param_values import typed_all

    return typed_all(values)
