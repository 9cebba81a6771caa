"""Show a split of a dataset: some inputs, columns of a table, and counts per class."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

from zoo.cli.render import console
from zoo.data.columns import plain_value
from zoo.data.contents import Column, Raw, Rows
from zoo.images import render
from zoo.terminal_text import counted

if TYPE_CHECKING:
    from zoo.model import Array

FIRST = 10
"""Number of images that are drawn."""
FIRST_ROWS = 5
"""Number of rows of a table that are shown."""
MOST_CATEGORIES = 6
"""Number of categories of a column that are named."""
MOST_SHOWN_COLUMNS = 100
"""Number of columns that are listed, unless in JSON."""


def show(raw: Raw, split: str) -> None:
    """Print some images or the first rows of a split, its columns, and the rows of each class."""
    rows = raw.splits[split]
    if raw.meta.kind == "image":
        drawn = rows_of_each_class(rows.labels)
        captions = [console.one_line(raw.class_names[rows.labels[each]]) for each in drawn]
        columns, color = console.width(), console.in_colour()
        console.drawn(render.strip(rows.inputs[drawn], columns, color, captions))
    else:
        _show_columns(raw, rows)
        console.out.print()
        _show_rows(raw, rows)
    console.out.print()
    counts = class_counts(raw, split)
    console.table(["class", raw.meta.unit], [[n, c] for n, c in counts.items()], [raw.meta.unit])
    size = counted(len(rows.labels), raw.meta.unit.removesuffix("s"))
    what = f"{size} of {raw.meta.describe_shape()}"
    console.out.print(f"{what}, {raw.name} {split}", markup=False)


def to_json(raw: Raw, split: str) -> dict[str, Any]:
    """Return what `show` prints, as JSON."""
    meta, rows = raw.meta, raw.splits[split]
    facts: dict[str, Any] = {
        "dataset": raw.name,
        "split": split,
        "kind": meta.kind,
        "shape": list(meta.shape),
        "fingerprint": meta.fingerprint,
        "splits": meta.counts,
        meta.unit: len(rows.labels),
        "first_labels": first_labels(raw, split),
        "class_counts": class_counts(raw, split),
    }
    if meta.kind == "table":
        facts["columns"] = [
            {
                "name": column.name,
                "kind": column.kind,
                "categories": list(column.categories),
                "missing": _n_missing(rows.inputs[:, index], column),
            }
            for index, column in enumerate(meta.columns)
        ]
        facts["first_rows"] = [
            {column.name: plain_value(value, column) for column, value in pairs}
            for pairs in _first(raw, rows)
        ]
    return facts


def first_labels(raw: Raw, split: str) -> list[str]:
    """Return the class names of the first ten inputs."""
    return [raw.class_names[label] for label in raw.splits[split].labels[:FIRST]]


def rows_of_each_class(labels: Array) -> list[int]:
    """Return the positions of ten inputs: the first ones, unless the classes follow each other.

    So they do in a folder of pictures: the first inputs of each class are taken in turn, so that
    ten classes have one each and two classes five.
    """
    import numpy as np

    if len(labels) == 0 or (labels[1:] < labels[:-1]).any():
        return [*range(min(FIRST, len(labels)))]
    of_class = [np.flatnonzero(labels == label)[:FIRST].tolist() for label in np.unique(labels)]
    turns = (each[turn] for turn in range(FIRST) for each in of_class if turn < len(each))
    return sorted(islice(turns, FIRST), key=lambda row: (int(labels[row]), row))


def class_counts(raw: Raw, split: str) -> dict[str, int]:
    """Return the number of inputs of each class."""
    counts = render.class_counts(raw.splits[split].labels, len(raw.class_names))
    return dict(zip(raw.class_names, counts, strict=True))


def _show_columns(raw: Raw, rows: Rows) -> None:
    shown = raw.meta.columns[:MOST_SHOWN_COLUMNS]
    table = [
        [column.name, column.kind, *_summary(rows.inputs[:, index], column)]
        for index, column in enumerate(shown)
    ]
    console.table(["column", "kind", "values", "missing"], table, ["missing"])
    if more := len(raw.meta.columns) - len(shown):
        are = "is" if more == 1 else "are"
        console.note(f"{counted(more, 'more column')} {are} not shown; --json has all.")


def _summary(values: Array, column: Column) -> tuple[str, str]:
    """The range of a number, or the categories; and the number of missing values."""
    import numpy as np

    missing = _n_missing(values, column)
    if column.kind == "category":
        named = ", ".join(column.categories[:MOST_CATEGORIES])
        more = len(column.categories) - MOST_CATEGORIES
        text = f"{named} and {more} more" if more > 0 else named
    elif missing == len(values):
        text = ""
    else:
        text = f"{np.nanmin(values):g} to {np.nanmax(values):g}"
    return text, f"{missing:,}" if missing else ""


def _n_missing(values: Array, column: Column) -> int:
    import numpy as np

    return int((values < 0).sum() if column.kind == "category" else np.isnan(values).sum())


def _show_rows(raw: Raw, rows: Rows) -> None:
    """Print the first rows, as many columns as fit into the terminal."""
    names = [*(column.name for column in raw.meta.columns), "class"]
    table = [
        [
            *("" if value is None else str(value) for value in row),
            raw.class_names[int(rows.labels[number])],
        ]
        for number, row in enumerate(
            [[plain_value(value, column) for column, value in pairs] for pairs in _first(raw, rows)]
        )
    ]
    widths = [max(len(row[n]) for row in [names, *table]) + 2 for n in range(len(names))]
    # The class is always shown.
    room, kept = console.width() - widths[-1], []
    for index, width in enumerate(widths[:-1]):
        if (room := room - width) < 0:
            break
        kept.append(index)
    hidden = len(raw.meta.columns) - len(kept)
    kept.append(len(names) - 1)
    console.table([names[n] for n in kept], [[row[n] for n in kept] for row in table])
    if hidden:
        do = "does" if hidden == 1 else "do"
        console.note(f"{counted(hidden, 'more column')} {do} not fit into this terminal.")


def _first(raw: Raw, rows: Rows) -> Iterator[list[tuple[Column, float]]]:
    for values in rows.inputs[:FIRST_ROWS].tolist():
        yield list(zip(raw.meta.columns, values, strict=True))
