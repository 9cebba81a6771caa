"""Output of commands: data on stdout, everything else on stderr."""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TextIO, TypeVar, overload

from zoo.cli.render import fitting
from zoo.cli.render.fitting import GAP, columns_of
from zoo.terminal_text import escaped
from zoo.terminal_text import safe as safe

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    out: Console
    err: Console

# No wrapping in a pipe, where rich would wrap at 80 columns, and no markup: names and texts may
# contain what rich would take for markup.
PLAINLY: dict[str, Any] = {"highlight": False, "markup": False, "soft_wrap": True}

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
"""Spreadsheets take a cell with such a beginning for a formula."""

HUGE = 1e15
"""Larger numbers are printed with an exponent: a diverging loss may reach 1e308."""

STYLES = {
    "succeeded": "green",
    "running": "cyan",
    "failed": "red",
    "timed_out": "red",
    "lost": "red",
    "cancelled": "yellow",
    "held": "yellow",
    "paused": "yellow",
    "pruned": "yellow",
}


def __getattr__(name: str) -> Any:
    """Return the consoles `out` and `err`, created on first use: rich takes 20 ms to import."""
    if name not in ("out", "err"):
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    from zoo.cli.render.screen import Screen

    stream = sys.stdout if name == "out" else sys.stderr
    made = Screen(
        **PLAINLY,
        stderr=name == "err",
        width=10_000 if name == "out" and not stream.isatty() else None,
    )
    return globals().setdefault(name, made)


class Guarded:
    """A text stream without control sequences."""

    def __init__(self, stream: TextIO) -> None:
        self.unguarded = stream
        """The original stream, for colours drawn by Zoo and for bytes that are copied."""
        # rich writes here: its texts are made safe piece by piece, its colours must pass.
        self.rich_proxied_file = stream

    def write(self, text: str) -> int:
        self.unguarded.write(safe(text))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for each in lines:
            self.write(each)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.unguarded, name)


def guard() -> None:
    """Remove control sequences from all output, also of Typer, plugins and tracebacks."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is not None and not isinstance(stream, Guarded):
            setattr(sys, name, Guarded(stream))


@contextlib.contextmanager
def unguarded() -> Iterator[None]:
    """Restore the original streams within this block, for models with progress bars."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (getattr(each, "unguarded", each) for each in before)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def _out() -> Console:
    return sys.modules[__name__].out  # type: ignore[no-any-return]


def _err() -> Console:
    return sys.modules[__name__].err  # type: ignore[no-any-return]


def json_out(value: Any) -> None:
    r"""Print JSON for scripts: not wrapped, not coloured, control characters as \uXXXX."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    # Lone surrogates, from bytes of the command line that are not UTF-8, cannot be printed.
    sys.stdout.write(escaped(text.encode(errors="replace").decode()) + "\n")


def csv_out(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Print CSV for scripts and spreadsheets; a text that looks like a formula gets a leading '."""
    import csv

    writer = csv.writer(sys.stdout, lineterminator="\n")
    for row in (header, *rows):
        writer.writerow([_csv_cell(each) for each in row])


def _csv_cell(value: Any) -> Any:
    """The value for a CSV cell: lists and params as JSON, None as an empty cell."""
    if isinstance(value, list | dict):
        value = json.dumps(value, ensure_ascii=False)
    if not isinstance(value, str):
        return value
    text = safe(value)
    return f"'{text}" if text.startswith(FORMULA) and not _is_number(text) else text


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return text.isascii() and text == text.strip()


def data_out(content: bytes, name: str) -> None:
    """Copy a file to stdout; on a terminal without control sequences.

    Raises UsageError for a binary file if stdout is a terminal.
    """
    if not sys.stdout.isatty():
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
        return
    from zoo.errors import UsageError

    try:
        text = content.decode()
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise UsageError(f"{name} is not a text file.", "Copy it to a file: -o FILE.")
    sys.stdout.write(safe(text))


def drawn(text: str) -> None:
    """Print a picture made of characters and colours."""
    stream = getattr(sys.stdout, "unguarded", sys.stdout)
    stream.write(text + "\n")
    stream.flush()


def live_line(text: str) -> str:
    """Print a line that the next one replaces, on a terminal; returns the printed text."""
    stream = getattr(sys.stdout, "unguarded", sys.stdout)
    shown = fitting.shorten(one_line(text), width() - 1, mark())
    stream.write(f"\r\x1b[K{shown}")
    stream.flush()
    return shown


def line(text: str) -> None:
    """Print a line for scripts, such as an id."""
    sys.stdout.write(safe(text) + "\n")


def note(text: str) -> None:
    """Print a message for the user on stderr, after the output so far."""
    with contextlib.suppress(OSError, ValueError):  # a closed pipe: reported at the end
        sys.stdout.flush()
    text = safe(text)
    if sys.stderr.isatty():
        text = "\n".join(fitting.wrap(text, shutil.get_terminal_size().columns))
    if "rich.console" not in sys.modules:  # no live display that the message must not disturb
        sys.stderr.write(text + "\n")
        return
    from rich.text import Text

    _err().print(Text(text))


def commands(rows: Sequence[tuple[str, str]]) -> None:
    """Print commands and what they do on stderr: beside them, or below if that is too wide."""
    widest = max(len(command) for command, _ in rows)
    lines = [f"  {command:{widest}}   {about}" for command, about in rows]
    # Not by rich, which takes 20 ms to import.
    if sys.stderr.isatty() and max(map(len, lines)) > shutil.get_terminal_size().columns:
        lines = [line for command, about in rows for line in (f"  {command}", f"    {about}")]
    note("\n".join(lines))


def error(message: str, hint: str = "") -> None:
    """Print an error and its hint on stderr."""
    from rich.text import Text

    indent = " " * len("error: ")
    width = _err().width if _err().is_terminal else sys.maxsize
    first, *others = fitting.wrap(safe(message), width - len(indent))
    line = Text("error: ", style="bold red")
    line.append(first, style="default")
    _err().print(line)
    others += [
        part for each in hint.splitlines() for part in fitting.wrap(safe(each), width - len(indent))
    ]
    for each in others:
        _err().print(Text(f"{indent}{each}"))


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Print nothing on stderr within this block; stdout is not affected."""
    _err().quiet = True
    try:
        yield
    finally:
        _err().quiet = False


def table(
    columns: Sequence[str],
    rows: Sequence[Sequence[Any]],
    right: Sequence[str] = (),
    optional: Sequence[str] = (),
    more: str = "a wider terminal or --json shows",
) -> None:
    """Print a plain table; a cell may be a rich Text. In a pipe it has its natural width.

    On a narrow terminal the `optional` columns are dropped, in that order, and texts are
    shortened: no row wraps, and no number is cut. `more` says how to see the rest.
    """
    from rich.text import Text

    heads = [one_line(name) for name in columns]
    cells = [[c if isinstance(c, Text) else one_line(str(c)) for c in row] for row in rows]
    fit = _fit(columns, cells, right, optional)
    bold: list[str | Text] = [Text(head, "bold") for head in heads]
    for row in (bold, *cells):
        _print_row([(row[i], size, columns[i] in right) for i, size in fit.widths.items()])
    if fit.left_out:
        names = ", ".join(fitting.shorten(heads[i], fitting.NAME, mark()) for i in fit.left_out)
        these = "it" if len(fit.left_out) == 1 else "them"
        note("\n".join(fitting.wrap(f"Left out for width: {names}; {more} {these}.", width())))


def left_out(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    right: Sequence[str] = (),
    optional: Sequence[str] = (),
) -> list[str]:
    """Return the columns that `table` would leave out of the same table."""
    cells = [[one_line(each) for each in row] for row in rows]
    return [columns[i] for i in _fit(columns, cells, right, optional).left_out]


def _fit(
    columns: Sequence[str],
    cells: Sequence[Sequence[str | Text]],
    right: Sequence[str],
    optional: Sequence[str],
) -> fitting.Fit:
    measured = [
        fitting.column(one_line(name), [str(row[i]) for row in cells], is_whole=name in right)
        for i, name in enumerate(columns)
    ]
    room = _out().width if _out().is_terminal else sum(m.natural + GAP for m in measured)
    return fitting.fit(measured, room, [columns.index(name) for name in optional])


def definitions(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows of a name, short values and a text; too wide for a terminal, as paragraphs.

    Nothing is cut. In paragraphs all values but the first have the name of their column.
    """
    from rich.text import Text

    cells = [[one_line(each) for each in row] for row in rows]
    lines = [columns, *cells]
    needed = sum(max(map(columns_of, column)) + GAP for column in zip(*lines, strict=True)) - GAP
    if not _out().is_terminal or needed <= _out().width:
        table(columns, cells)
        return
    labels = [fitting.shorten(row[0], fitting.NAME, mark()) for row in cells]
    widest = max(map(columns_of, labels))
    for label, row in zip(labels, cells, strict=True):
        first, *others = row[1:-1]
        named = [f"{name} {text}" for name, text in zip(columns[2:-1], others, strict=True) if text]
        space = " " * (widest - columns_of(label) + GAP)
        text = f"{row[-1]} ({'; '.join([first, *named])})".strip()
        field(Text.assemble((label, "bold"), space), text)


def one_line(text: str) -> str:
    """Return a text as one line without control characters."""
    return " ".join(safe(text).split("\n")).replace("\t", " ")


@overload
def fitted(cell: str, size: int) -> str: ...
@overload
def fitted(cell: Text, size: int) -> Text: ...
def fitted(cell: str | Text, size: int) -> str | Text:
    """Return the cell, shortened to `size` columns."""
    text = str(cell)
    if columns_of(text) <= size:
        return cell
    short = fitting.shorten(text, size, mark())
    if isinstance(cell, str):
        return short
    from rich.text import Text

    return Text(short, cell.style)


def aligned(names: Sequence[str], beside: int) -> list[str]:
    """Right-align names; shorten them so that `beside` more columns fit the terminal."""
    names = [one_line(each) for each in names]
    if _out().is_terminal:
        most = max(_out().width - beside, fitting.LEAST)
        names = [fitting.shorten(each, most, mark()) for each in names]
    widest = max(map(columns_of, names), default=0)
    return [" " * (widest - columns_of(each)) + each for each in names]


def mark() -> str:
    """Return the mark of shortened texts."""
    return "…" if in_unicode() else "..."


def _print_row(cells: Sequence[tuple[str | Text, int, bool]]) -> None:
    """Print cells, each with its width and whether it is right-aligned."""
    padded = [_padding(fitted(each, size), size, right) for each, size, right in cells]
    if not _out().is_terminal:
        line = (" " * GAP).join(f"{left}{cell}{after}" for left, cell, after in padded)
        sys.stdout.write(line.rstrip() + "\n")
        return
    from rich.text import Text

    row = Text()
    for number, (left, cell, after) in enumerate(padded):
        row.append(" " * GAP * (number > 0) + left).append(cell)
        if number < len(padded) - 1:
            row.append(after)
    row.rstrip()
    _out().print(row, soft_wrap=True)


def _padding(cell: str | Text, size: int, right: bool) -> tuple[str, str | Text, str]:
    space = " " * (size - columns_of(str(cell)))
    return (space, cell, "") if right else ("", cell, space)


def field(label: str | Text, value: str | Text) -> None:
    """Print a value with its label; further lines are indented below the value."""
    from rich.text import Text

    head = label if isinstance(label, Text) else Text(label, style="dim")
    text = safe(str(value))
    room = _out().width - head.cell_len if _out().is_terminal else sys.maxsize
    first, *others = fitting.wrap(text, room)
    style = value.style if isinstance(value, Text) else ""
    _out().print(Text.assemble(head, (first, style)), soft_wrap=True)
    for each in others:
        _out().print(Text(" " * head.cell_len + each, style), soft_wrap=True)


def width() -> int:
    """Return the width of the terminal in columns, or 80."""
    return _out().width if _out().is_terminal else 80


def in_colour() -> bool:
    """Return whether stdout has colours: it is a terminal, and NO_COLOR is not set."""
    return _out().is_terminal and not _out().no_color


def in_unicode() -> bool:
    """Return whether the encoding of stdout is a Unicode encoding."""
    return _out().encoding.startswith("utf")


class Drawn(Protocol):
    """What rich draws until it is stopped: bars, a spinner."""

    def start(self) -> None: ...
    def stop(self) -> None: ...


D = TypeVar("D", bound=Drawn)


@contextlib.contextmanager
def live(what: D) -> Iterator[D]:
    """Draw it while the block runs, and leave the terminal as it was.

    rich's own `with` does not where Ctrl-C comes while it starts: the spinner goes on, and the
    cursor stays hidden.
    """
    try:
        what.start()
        yield what
    finally:
        what.stop()


@contextlib.contextmanager
def progress() -> Iterator[Callable[[str, int, int], None]]:
    """Yield a function that shows a progress bar on stderr for each activity."""
    from rich.progress import Progress

    tasks: dict[str, Any] = {}
    with live(Progress(console=_err(), transient=True, disable=not _err().is_terminal)) as bars:

        def tell(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(safe(what))
            bars.update(tasks[what], completed=done, total=total or None)

        yield tell


def status(name: str) -> Text:
    from rich.text import Text

    return Text(name, style=STYLES.get(name, ""))


def ago(seconds: float) -> str:
    """Return a duration as a short text: 4 s, 12 min, 3 h, 5 d."""
    from zoo.jobs.records import span_text

    return span_text(seconds)


def clock(seconds: float) -> str:
    """Return a time in the local time zone; one out of range as a number."""
    from datetime import datetime

    try:
        return datetime.fromtimestamp(seconds).isoformat(" ", "seconds")
    except (OverflowError, OSError, ValueError):
        return number(seconds)


def number(value: Any, digits: int | None = None) -> str:
    """Return a metric as text: `digits` decimals, by default four, or none if it is an integer."""
    from zoo.jobs.records import LARGE, is_whole, number_text

    if not isinstance(value, float):
        return "" if value is None else value if isinstance(value, str) else json.dumps(value)
    if not abs(value) < HUGE:
        return f"{value:.{digits or 4}g}"
    if digits is None and is_whole(value):
        return f"{value:.0f}"  # without the commas of a page
    return number_text(value, digits) if abs(value) < LARGE else f"{value:.{digits or 4}f}"


def params(values: Mapping[str, Any]) -> str:
    """Return params in the form NAME=VALUE."""
    from zoo.param_values import typed_all

    return typed_all(values)
