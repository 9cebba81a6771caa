"""What the terminal shows: data on stdout, everything else on stderr."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TextIO, overload

from zoo.cli.render import fitting
from zoo.cli.render.fitting import GAP, columns_of
from zoo.terminal_text import escaped
from zoo.terminal_text import safe as safe

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    out: Console
    err: Console

# In a pipe a line is as long as it is; rich would cut it at 80.
# Names and words from elsewhere may hold what rich takes for its markup: it has none here.
PLAINLY: dict[str, Any] = {"highlight": False, "markup": False, "soft_wrap": True}

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
"""A cell that begins so is a formula for a spreadsheet."""

HUGE = 1e15
"""From here on a number is shown by its power of ten: a loss may run away to 1e308."""

STYLES = {
    "succeeded": "green",
    "running": "cyan",
    "failed": "red",
    "timed_out": "red",
    "lost": "red",
    "cancelled": "yellow",
    "held": "yellow",
    "paused": "yellow",
}


def __getattr__(name: str) -> Any:
    """The consoles `out` and `err`, made when something is drawn: rich takes 20 ms to import."""
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
    """A text stream that hands on only what cannot steer a terminal."""

    def __init__(self, stream: TextIO) -> None:
        self.unguarded = stream
        """For what Zoo itself draws in colour, and for bytes that are copied."""
        # Where rich writes: what it draws is made safe piece by piece, and its colours must pass.
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
    """Let everything pass meanwhile: a model that runs in this process draws its own bars."""
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
    r"""Print JSON for scripts: never wrapped or coloured; what could steer a terminal as \uXXXX."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    # Bytes of the command line that were no text are half characters, which cannot be printed.
    sys.stdout.write(escaped(text.encode(errors="replace").decode()) + "\n")


def csv_out(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Print CSV for scripts and spreadsheets; a text that would be a formula begins with a '."""
    import csv

    writer = csv.writer(sys.stdout, lineterminator="\n")
    for row in (header, *rows):
        writer.writerow([_csv_cell(each) for each in row])


def _csv_cell(value: Any) -> Any:
    """A value as a table of numbers holds it: lists and params as JSON, nothing as nothing."""
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
    """Copy a file to stdout: as it is, or what is safe of a text on a terminal.

    Raises UsageError for one that is no text and would go to a terminal.
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
        raise UsageError(f"{name} is no text for a terminal.", "Copy it to a file: -o FILE.")
    sys.stdout.write(safe(text))


def drawn(text: str) -> None:
    """Print a picture that Zoo has made of characters and colours."""
    stream = getattr(sys.stdout, "unguarded", sys.stdout)
    stream.write(text + "\n")
    stream.flush()


def live_line(text: str) -> str:
    """Show a line on a terminal that the next one takes the place of; gives what is shown."""
    stream = getattr(sys.stdout, "unguarded", sys.stdout)
    shown = fitting.shorten(one_line(text), width() - 1, mark())
    stream.write(f"\r\x1b[K{shown}")
    stream.flush()
    return shown


def line(text: str) -> None:
    """Print a line for scripts: an id, for one."""
    sys.stdout.write(safe(text) + "\n")


def note(text: str) -> None:
    """Tell the person something, on stderr; after what was printed before."""
    with contextlib.suppress(OSError, ValueError):  # who reads it has gone: told at the end
        sys.stdout.flush()
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


def table(
    columns: Sequence[str],
    rows: Sequence[Sequence[Any]],
    right: Sequence[str] = (),
    optional: Sequence[str] = (),
    more: str = "a wider terminal or --json shows",
) -> None:
    """A plain table; a cell may be a rich Text. In a pipe it is as wide as it needs to be.

    A terminal that is too narrow gets it without the `optional` columns, dropped in that order, and
    with shortened texts: no row wraps, and no number is cut. `more` says how to see the rest.
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
    """A table of a name, short facts and a text; too wide for a terminal, each row as a paragraph.

    Nothing is cut. The facts keep their column's name only if they are not the first.
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
    """Text from elsewhere as one line."""
    return " ".join(safe(text).split("\n")).replace("\t", " ")


@overload
def fitted(cell: str, size: int) -> str: ...
@overload
def fitted(cell: Text, size: int) -> Text: ...
def fitted(cell: str | Text, size: int) -> str | Text:
    """A cell that is at most so wide."""
    text = str(cell)
    if columns_of(text) <= size:
        return cell
    short = fitting.shorten(text, size, mark())
    if isinstance(cell, str):
        return short
    from rich.text import Text

    return Text(short, cell.style)


def aligned(names: Sequence[str], beside: int) -> list[str]:
    """Names of one width, to the right; shortened where `beside` columns must stand beside them."""
    names = [one_line(each) for each in names]
    if _out().is_terminal:
        most = max(_out().width - beside, fitting.LEAST)
        names = [fitting.shorten(each, most, mark()) for each in names]
    widest = max(map(columns_of, names), default=0)
    return [" " * (widest - columns_of(each)) + each for each in names]


def mark() -> str:
    """What stands where something is missing."""
    return "…" if in_unicode() else "..."


def _print_row(cells: Sequence[tuple[str | Text, int, bool]]) -> None:
    """Print cells, each with its width and whether it stands on the right."""
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
    """Print a value with its label; what does not fit in a line goes on below the value."""
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
    from zoo.jobs.records import span_text

    return span_text(seconds)


def clock(seconds: float) -> str:
    """A time as people read it here; one that no calendar has, as its number."""
    from datetime import datetime

    try:
        return datetime.fromtimestamp(seconds).isoformat(" ", "seconds")
    except (OverflowError, OSError, ValueError):
        return number(seconds)


def number(value: Any, digits: int | None = None) -> str:
    """A metric as people read it: `digits` decimals, or four, and none where it is whole."""
    from zoo.jobs.records import is_whole

    if not isinstance(value, float):
        return "" if value is None else value if isinstance(value, str) else json.dumps(value)
    if digits is None:
        digits = 0 if is_whole(value) else 4
    return f"{value:.{digits}f}" if abs(value) < HUGE else f"{value:.{digits or 4}g}"


def params(values: Mapping[str, Any]) -> str:
    """Params as they are typed."""
    from zoo.param_values import typed_all

    return typed_all(values)
