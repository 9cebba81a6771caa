"""Charts for the terminal: sparklines and confusion matrices."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from rich.cells import cell_len, chop_cells
from rich.style import Style
from rich.text import Text

from zoo.cli.render import console

LEVELS, PLAIN_LEVELS = "▁▂▃▄▅▆▇█", "_.-:=+*#"
SHADES, PLAIN_SHADES = " ░▒▓█", " .:*#"
BOUNDS = (0.01, 0.1, 0.5)
"""Shares of the true class at which the shades change."""
LONGEST = 40
"""Largest width of a sparkline."""
LABEL = 12
"""Largest width of a class name before its row."""
FEW, MANY = (105, 100, 95), (190, 30, 20)
"""Background colours of cells with 1 % and with 10 % of their class, readable with white."""


def sparkline(
    values: Sequence[float | None],
    columns: int = LONGEST,
    scale: Sequence[float | None] | None = None,
) -> str:
    """Return a sparkline; if there are more values than columns, the last value of each part.

    A missing value leaves a gap. The least and the largest value of `scale`, by default of the
    values that are drawn, have the lowest and the highest sign.
    """
    levels = LEVELS if console.in_unicode() else PLAIN_LEVELS
    if len(values) > columns:
        values = [values[(i + 1) * len(values) // columns - 1] for i in range(columns)]
    halves = _halves(values)
    known = [half for half in (halves if scale is None else _halves(scale)) if half is not None]
    low = min(known, default=0.0)
    span = max(known, default=0.0) - low
    # Equal values are drawn in the middle.
    return "".join(
        " " if half is None else levels[round((half - low) / span * 7) if span else 3]
        for half in halves
    )


def _halves(values: Sequence[Any]) -> list[float | None]:
    # Halved, so that no difference overflows a float.
    return [value / 2 if _is_number(value) else None for value in values]


def _is_number(value: Any) -> bool:
    return isinstance(value, float) or (isinstance(value, int) and abs(value) < 1e300)


def is_matrix(matrix: Any, names: Any) -> bool:
    """Return whether the matrix has a row and a column of counts for each name."""
    return (
        isinstance(names, list)
        and isinstance(matrix, list)
        and all(isinstance(row, list) and len(row) == len(names) for row in matrix)
        and len(matrix) == len(names)
        and all(isinstance(each, str) for each in names)
        and all(type(n) is int and n >= 0 for row in matrix for n in row)
    )


def confusion(matrix: Sequence[Sequence[int]], names: Sequence[str]) -> Iterator[Text]:
    """Yield lines of a confusion matrix: numbers, or shades if numbers do not fit.

    In colour, mistakes of at least 1 % of their true class are shaded.
    """
    labels = [(chop_cells(console.safe(name), LABEL) or [""])[0] for name in names]
    side = max(map(cell_len, labels))
    digits = max(len(str(n)) for row in matrix for n in row)
    cell = max(digits, side) + 1
    yield Text("Rows: the true class; columns: the predicted one.", "dim")
    if side + cell * len(labels) <= console.width():
        yield Text(" " * side + "".join(_right(label, cell) for label in labels), "dim")
        yield from _rows(matrix, labels, side, cell)
    elif side + 1 + 2 * len(labels) <= console.width():
        yield from _shaded(matrix, labels, side)
    else:
        needed = side + 1 + 2 * len(labels)
        yield Text(f"The matrix needs {needed} columns; `zoo show --json` prints it.")


def _rows(
    matrix: Sequence[Sequence[int]], labels: Sequence[str], side: int, cell: int
) -> Iterator[Text]:
    nothing = "·" if console.in_unicode() else "."
    for i, (label, row) in enumerate(zip(labels, matrix, strict=True)):
        line = Text().append(_right(label, side), "dim")
        for k, n in enumerate(row):
            style = _shade(n / sum(row), i == k) if n else Style(dim=True)
            line.append(f"{n or nothing:>{cell}}", style)
        yield line


def _right(text: str, columns: int) -> str:
    return " " * (columns - cell_len(text)) + text


def _shade(part: float, is_right: bool) -> Style:
    """The style of a cell that is not empty: mistakes are visible on dark and light terminals."""
    if is_right:
        return Style(bold=True, color="green")
    if part < BOUNDS[0]:
        return Style()
    how = min(part / BOUNDS[1], 1.0)
    red, green, blue = (round(a + (b - a) * how) for a, b in zip(FEW, MANY, strict=True))
    return Style.parse(f"bright_white on rgb({red},{green},{blue})")


def _shaded(matrix: Sequence[Sequence[int]], labels: Sequence[str], side: int) -> Iterator[Text]:
    shades = SHADES if console.in_unicode() else PLAIN_SHADES
    if max(map(cell_len, labels)) <= 2:
        yield Text(" " * (side + 1) + "".join(_right(label, 2) for label in labels), "dim")
    for label, row in zip(labels, matrix, strict=True):
        parts = [n / (sum(row) or 1) for n in row]
        steps = [sum(part >= bound for bound in BOUNDS) + (part > 0) for part in parts]
        yield (
            Text()
            .append(f"{_right(label, side)} ", "dim")
            .append("".join(2 * shades[s] for s in steps))
        )
    legend = zip(shades[1:], ("< 1 %", ">= 1 %", ">= 10 %", ">= 50 %"), strict=True)
    yield Text("; ".join(f"{shade} {what}" for shade, what in legend) + " of the class", "dim")
