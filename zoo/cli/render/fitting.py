"""How a table fits a terminal: which columns it keeps, how wide each is, how a text is shortened.

No row wraps, and no number and no id is cut; a text is shortened, a path in the middle.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

GAP = 2
NAME = 24
"""Columns that a name or a text gets before an optional column is left out for it."""
LEAST = 12
"""Columns to which a text is shortened before its column is left out."""

_ID = re.compile(r"[0-9a-f]{6,}(-[0-9a-f]{2,})*|\d[\d:T.-]*")
_PATH = re.compile(r"[/~.]|\w+:\S*/|[A-Za-z]:\\")
_PART_OF_NUMBER = "0123456789.,-+±"


class Column(NamedTuple):
    """Widths of a table column, in columns of the terminal."""

    natural: int
    """Width at which nothing is shortened."""
    least: int
    """Width at which no number and no id is cut."""


class Fit(NamedTuple):
    """The widths of the shown columns, by index; and the columns that are left out."""

    widths: dict[int, int]
    left_out: list[int]


def columns_of(text: str) -> int:
    """Return the width of a text in columns of a terminal: a letter of Hangul has two."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def column(name: str, cells: Sequence[str], *, is_whole: bool = False) -> Column:
    """Measure a column by its name and cells; with `is_whole` no cell may be shortened."""
    head = columns_of(name)
    sizes = [columns_of(each) for each in cells]
    least = max(
        (
            size if is_whole or size <= LEAST or _is_atom(each) else LEAST
            for each, size in zip(cells, sizes, strict=True)
        ),
        default=0,
    )
    return Column(max([head, *sizes]), max(least, min(head, NAME)))


def _is_atom(cell: str) -> bool:
    """Whether the cell is a number or an id, which must not be cut."""
    if _ID.fullmatch(cell):
        return True
    try:
        float(cell)
    except ValueError:
        return False
    return True


def fit(columns: Sequence[Column], width: int, optional: Sequence[int] = ()) -> Fit:
    """Choose the columns shown on a terminal of this width.

    The `optional` ones are left out first, in their order, then the last ones; the first stays.
    """
    good = [
        each.least if i in optional else min(each.natural, max(each.least, NAME))
        for i, each in enumerate(columns)
    ]
    least = [each.least for each in columns]
    kept = list(range(len(columns)))

    def needed(sizes: Sequence[int]) -> int:
        return sum(sizes[i] + GAP for i in kept) - GAP

    gone: list[int] = []
    while needed(good) > width and len(gone) < len(optional) and len(kept) > 1:
        gone.append(optional[len(gone)])
        kept.remove(gone[-1])
    for i in reversed(gone):  # a narrow column that was left out before a wide one may still fit
        kept = sorted([*kept, i])
        if needed(good) > width:
            kept.remove(i)
    while needed(least) > width and len(kept) > 1:
        # A column of numbers with hundreds of digits is dropped before the last columns.
        kept.remove(max(kept[1:], key=lambda i: (least[i] > NAME, i)))
    widths = {i: least[i] for i in kept}
    for target in (good, [each.natural for each in columns]):
        _grow(widths, target, width - needed([widths.get(i, 0) for i in range(len(columns))]))
    if len(kept) == 1:
        widths[kept[0]] = min(widths[kept[0]], width)
    return Fit(widths, [i for i in range(len(columns)) if i not in kept])


def _grow(widths: dict[int, int], target: Sequence[int], spare: int) -> None:
    """Distribute spare columns, the narrowest column first, none wider than its target."""
    for _ in range(spare):
        short = [i for i in widths if widths[i] < target[i]]
        if not short:
            return
        widths[min(short, key=lambda i: widths[i])] += 1


def shorten(text: str, width: int, mark: str = "…") -> str:
    """Shorten a text to this width, with a mark at the omission.

    Of several words the last ones are omitted; a path or a long word is cut in the middle, not
    within its numbers.
    """
    if columns_of(text) <= width:
        return text
    if _is_atom(text):
        return mark[:width]
    words = text.split(" ")
    if len(words) == 1 or _PATH.match(text):
        return _cut_in_the_middle(text, width, mark)
    room = width - columns_of(f" {mark}")
    kept = words[0] if columns_of(words[0]) <= room else _cut_in_the_middle(words[0], room, mark)
    if kept != words[0]:
        return kept if kept.endswith(mark) else f"{kept} {mark}"
    for word in words[1:]:
        if columns_of(f"{kept} {word}") > room:
            break
        kept += f" {word}"
    return f"{kept.rstrip()} {mark}"


def _cut_in_the_middle(text: str, width: int, mark: str) -> str:
    room = width - columns_of(mark)
    if room < 0:
        return mark[: max(width, 0)]
    tail = _end(text, room // 2)
    head = _begin(text, room - columns_of(tail))
    return f"{head.rstrip(_PART_OF_NUMBER)}{mark}{tail.lstrip(_PART_OF_NUMBER)}"


def _begin(text: str, width: int) -> str:
    size = min(len(text), width)
    while size and columns_of(text[:size]) > width:
        size -= 1
    return text[:size]


def _end(text: str, width: int) -> str:
    start = max(len(text) - width, 0)
    while start < len(text) and columns_of(text[start:]) > width:
        start += 1
    return text[start:]


def _words(line: str) -> list[str]:
    if line.count("`") % 2:
        return line.split(" ")
    # Between backticks there is no place to break.
    parts = line.split("`")
    parts[1::2] = [part.replace(" ", "\0") for part in parts[1::2]]
    return [word.replace("\0", " ") for word in "`".join(parts).split(" ")]


def wrap(text: str, width: int) -> list[str]:
    """Break lines between words; continuation lines keep the indentation.

    A word that is too long is not broken: the terminal wraps it, and copies it as one word. So is a
    command in backticks.
    """
    lines: list[str] = []
    for line in text.expandtabs(4).split("\n"):
        start = line[: len(line) - len(line.lstrip(" "))]
        shown = start
        for number, word in enumerate(_words(line[len(start) :])):
            longer = f"{shown} {word}" if number else f"{shown}{word}"
            if number and shown.strip() and columns_of(longer) > width:
                lines.append(shown)
                shown = f"{start}{word}"
            else:
                shown = longer
        lines.append(shown)
    return lines
