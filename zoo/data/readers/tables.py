"""Tables as datasets: files in CSV or parquet, and the tables of plugins."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from zoo import dataset_names
from zoo.data.cache import Progress
from zoo.data.contents import Column
from zoo.data.incoming import ALL, MAX_CLASSES, Incoming, in_order
from zoo.data.readers import csv_dialect
from zoo.data.readers.csv_dialect import refuse
from zoo.data.readers.table_files import (
    BOOLEAN,
    CATEGORIES,
    DATES,
    EMPTY,
    INDEX,
    MOST_NAMED,
    NUMBERS,
    OTHER,
    REAL,
    TEXT,
    WHOLE,
    Coded,
    Split,
    arrow_library,
    category_name,
    likely_target,
    open_csv,
    open_parquet,
    pixel_sides,
    quoted,
)
from zoo.data.source_options import SourceOptions
from zoo.errors import DatasetError
from zoo.model import Table

if TYPE_CHECKING:
    from typing import Any

    from zoo.model import Array

BLOCK = 2**11
"""Rows that are turned from columns to rows at once, so that they stay in the processor's cache."""
MAX_CATEGORIES = 1000
MIN_ROWS = 20
"""Rows from which on a column of different values is taken for ids or free text."""
LONG_TEXT = 30
"""Characters of an average value of free text."""
MAX_EXACT = 2**53
"""Whole numbers up to this one are exact as float64."""
DATE = re.compile(
    r"\d{4}[-/.]\d{1,2}[-/.]\d{1,2}.*|\d{1,2}[-/.]\d{1,2}[-/.](\d{4}|\d{2})( .*)?|\d{4}년.*"
)


@dataclass
class Seen:
    """What the first reading finds in a column, over all splits."""

    kind: str
    rows: int = 0
    missing: int = 0
    names: set[str] = field(default_factory=set)
    """The different texts."""
    largest: float = 0.0
    parts: list[Array] | None = field(default_factory=list)
    """The whole numbers, as long as all are different."""

    def add(self, values: Array | Coded) -> None:
        """Take the values of a batch."""
        import numpy as np

        if isinstance(values, Coded):
            self.rows += len(values.codes)
            used = np.bincount(values.codes, minlength=len(values.names))
            for name, count in zip(values.names, used.tolist(), strict=True):
                if name is None:
                    self.missing += count
                elif count:
                    self.names.add(name)
            return
        self.rows += len(values)
        if len(values):
            self.largest = max(self.largest, float(np.nanmax(np.abs(values), initial=0)))
        if self.parts is not None:
            self.parts.append(values)
            self.parts = self.parts if len(np.unique(values)) == len(values) else None

    @property
    def is_id(self) -> bool:
        """Whether each row has another value."""
        import numpy as np

        if self.rows < MIN_ROWS:
            return False
        if self.kind == WHOLE:
            return (
                self.parts is not None and len(np.unique(np.concatenate(self.parts))) == self.rows
            )
        return len(self.names) == self.rows - self.missing and len(self.names) >= MIN_ROWS


def read_csv(path: Path, options: SourceOptions, progress: Progress | None = None) -> Incoming:
    """Read a table from a CSV file, and its other splits from the files that options name.

    Raises DatasetError if it is no table with classes.
    """
    csv = arrow_library("csv")
    files = _files(path, options)
    dialects = {
        split: csv_dialect.find_dialect(file, options, progress) for split, file in files.items()
    }
    notes = [note for dialect in dialects.values() for note in dialect.notes]

    def opened(as_text: frozenset[str]) -> dict[str, Split]:
        return {
            split: open_csv(csv, file, dialects[split], options, as_text)
            for split, file in files.items()
        }

    splits = opened(frozenset())
    if mixed := _mixed(splits.values()):
        splits = opened(mixed)
    return _incoming(splits, options, notes)


def read_parquet(path: Path, options: SourceOptions, progress: Progress | None = None) -> Incoming:
    """Read a table from a parquet file, and its other splits from the files that options name.

    Raises DatasetError if it is no table with classes.
    """
    parquet = arrow_library("parquet")
    del progress  # the schema alone is read here, and one or two columns
    splits = {split: open_parquet(parquet, file) for split, file in _files(path, options).items()}
    return _incoming(splits, options, [])


def of_tables(
    splits: Mapping[str, Table],
    class_names: tuple[str, ...] | None = None,
    options: SourceOptions | None = None,
) -> Incoming:
    """Take tables that are in memory, such as those of a plugin.

    Raises ValueError or DatasetError if they are no tables with classes.
    """
    opened = {split: _open_table(split, table) for split, table in splits.items()}
    options = options or SourceOptions()
    _check_same_columns(opened)
    names = _inputs(opened, (), options)
    columns, notes = _columns(opened, names, options)
    return Incoming(
        "table",
        (len(columns),),
        {split: _plain_labels(table.labels) for split, table in splits.items()},
        {split: _chunks(table, columns, ...) for split, table in opened.items()},
        "float64",
        columns=columns,
        class_names=class_names,
        notes=tuple(notes),
        metric=options.metric or "",
    )


def _files(path: Path, options: SourceOptions) -> dict[str, Path]:
    """The file of each split; a single one is ALL."""
    others = {
        split: Path(dataset_names.absolute(given))
        for split, given in (("test", options.test), ("validation", options.validation))
        if isinstance(given, str)
    }
    return {"train" if others else ALL: path} | others


# Tables of plugins


def _open_table(split: str, table: Table) -> Split:
    import numpy as np

    arrays = {str(name): np.asarray(column) for name, column in table.columns.items()}
    rows = len(table.labels)
    for name, array in arrays.items():
        if array.shape != (rows,):
            raise ValueError(
                f"its {split} column '{name}' has the shape {array.shape}, "
                f"and there are {rows} labels"
            )

    def read(names: Sequence[str], coded: frozenset[str]) -> Iterator[list[Array | Coded]]:
        yield [_array_values(arrays[name], name in coded) for name in names]

    kinds = {name: _array_kind(array) for name, array in arrays.items()}
    return Split(f"Its {split} table", list(kinds), kinds, rows, read)


def _array_kind(array: Array) -> str:
    found = {"i": WHOLE, "u": WHOLE, "f": REAL, "b": BOOLEAN, "U": TEXT, "M": DATES, "m": DATES}
    if array.dtype.kind == "O":
        types = {type(value) for value in array.tolist() if _name_of(value) is not None}
        if not types:
            return EMPTY
        return TEXT if types <= {str, bool} else OTHER
    return found.get(array.dtype.kind, OTHER)


def _plain_labels(labels: Array) -> Array:
    """Labels as an array; texts that are objects, as pandas has them, as texts."""
    import numpy as np

    found = np.asarray(labels)
    is_text = found.dtype.kind == "O" and all(isinstance(each, str) for each in found.tolist())
    return found.astype(str) if is_text else found


def _name_of(value: Any) -> str | None:
    # pandas.NA is equal to nothing, and has no truth value.
    return None if type(value).__name__ == "NAType" else category_name(value)


def _array_values(array: Array, is_coded: bool) -> Array | Coded:
    import numpy as np

    if not is_coded and _array_kind(array) in NUMBERS:
        return array
    index: dict[str | None, int] = {}
    codes = [index.setdefault(_name_of(value), len(index)) for value in array.tolist()]
    return Coded(np.asarray(codes, "int64"), list(index))


# What the columns are


def _incoming(
    splits: Mapping[str, Split], options: SourceOptions, notes: Sequence[str]
) -> Incoming:
    """Take the tables of files: find the target, the columns and what is missing."""
    first = next(iter(splits.values()))
    target, said = _target(first, options)
    _check_columns_named(first, options)
    _check_same_columns(splits, target)
    if any(not table.rows for table in splits.values()):
        empty = next(table for table in splits.values() if not table.rows)
        raise refuse(Path(empty.where), "it has a header and no rows")
    labels, class_names = _labels(splits, target, options)
    kept, dropped = _rows_with_target(splits, labels, target, options)
    labels = {split: each[kept[split]] for split, each in labels.items()}
    weights = _weights(splits, kept, options)
    names = _inputs(splits, (target, options.weight), options)
    all_notes = [*notes, *said, *dropped]
    if pixels := pixel_sides(names):
        side = (pixels[0], pixels[1])
        all_notes.append(f"The columns {names[0]} to {names[-1]} were read as images.")
        return Incoming(
            "image",
            side,
            labels,
            {split: _images(table, names, side, kept[split]) for split, table in splits.items()},
            class_names=class_names,
            weights=weights,
            notes=tuple(all_notes),
            metric=options.metric or "",
        )
    columns, found = _columns(splits, names, options)
    return Incoming(
        "table",
        (len(columns),),
        labels,
        {split: _chunks(table, columns, kept[split]) for split, table in splits.items()},
        "float64",
        columns=columns,
        class_names=class_names,
        weights=weights,
        notes=(*all_notes, *found),
        metric=options.metric or "",
    )


def _refusal(table: Split, why: str, hint: str = "") -> DatasetError:
    return DatasetError(f"{table.where} cannot be used: {why}.", hint)


def _option(option: str, names: Iterable[str]) -> str:
    """Options as typed, such as `--drop id --drop 'full name'`."""
    return " ".join(f"{option} {shlex.quote(name)}" for name in names)


def _target(table: Split, options: SourceOptions) -> tuple[str, list[str]]:
    """The column with the classes, and what is to be said about its choice."""
    names = [name for name in table.kinds if name != options.weight]
    if options.target is not None:
        if options.target not in names:
            why = f"it has no column '{options.target}' for the target"
            raise _refusal(table, why, f"Its columns: {quoted(names)}.")
        return options.target, []
    if likely := likely_target(names):
        return likely, [f"The classes are in the column '{likely}'."]
    why = "it is not known which column has the classes"
    if pixel_sides(names):
        why = "it has pixels and no column with labels"
    raise _refusal(table, why, f"Name it: --target COLUMN. Its columns: {quoted(names)}.")


def _check_columns_named(table: Split, options: SourceOptions) -> None:
    named = {"--drop": options.drop, "--category": options.category}
    named["--weight"] = (options.weight,) if options.weight is not None else ()
    for option, names in named.items():
        for name in names:
            if name not in table.names:
                why = f"it has no column '{name}' for {option}"
                raise _refusal(table, why, f"Its columns: {quoted(table.names)}.")


def _check_same_columns(splits: Mapping[str, Split], target: str | None = None) -> None:
    first, *others = splits.values()
    for table in others:
        lacks = [name for name in first.kinds if name not in table.kinds]
        extra = [name for name in table.kinds if name not in first.kinds]
        if lacks == [target]:
            why = f"it has no column '{target}', and a split needs the classes of its rows"
            hint = "Rows without classes can only be predicted; let --test hold out a share: 0.2."
            raise _refusal(table, why, hint)
        if lacks or extra:
            parts = [f"lacks {quoted(lacks)}"] if lacks else []
            parts += [f"also has {quoted(extra)}"] if extra else []
            why = f"its columns are not those of {first.where}: it {' and '.join(parts)}"
            hint = f"Leave them out: {_option('--drop', [*lacks, *extra][:MOST_NAMED])}."
            raise _refusal(table, why, hint)


def _mixed(tables: Iterable[Split]) -> frozenset[str]:
    """Columns that are text in one table and something else in another."""
    found: dict[str, set[str]] = {}
    for table in tables:
        for name, kind in table.kinds.items():
            found.setdefault(name, set()).add(kind)
    return frozenset(name for name, kinds in found.items() if TEXT in kinds and len(kinds) > 1)


def _merged_kind(splits: Mapping[str, Split], name: str) -> str:
    kinds = {table.kinds[name] for table in splits.values()}
    kinds = kinds - {EMPTY} or kinds
    if kinds == set(NUMBERS):
        return REAL
    if len(kinds) > 1:
        table = next(iter(splits.values()))
        why = f"the column '{name}' is {' and '.join(sorted(kinds))} in different splits"
        raise _refusal(table, why, f"Leave it out: {_option('--drop', [name])}.")
    return kinds.pop()


# The target and the weights


def _labels(
    splits: Mapping[str, Split], target: str, options: SourceOptions
) -> tuple[dict[str, Array], tuple[str, ...]]:
    """The index of the class of each row, -1 where the target is missing, and the names."""
    import numpy as np

    table = next(iter(splits.values()))
    kind = _merged_kind(splits, target)
    if kind in (DATES, EMPTY, OTHER):
        raise _refusal(table, f"the target '{target}' has {kind}, no classes", "Name another.")
    index: dict[str, int] = {}
    codes = {}
    for split, each in splits.items():
        parts = [np.empty(0, "int64")]
        for (coded,) in each.read([target], frozenset([target])):
            new = [
                -1 if name is None else index.setdefault(name, len(index)) for name in coded.names
            ]
            parts.append(np.asarray(new, "int64")[coded.codes])
            if len(index) > MAX_CLASSES:
                break
        codes[split] = np.concatenate(parts)
    renamed = _class_names(table, target, list(index))
    names = in_order(set(renamed))
    order = np.asarray([*(names.index(name) for name in renamed), -1], "int64")
    if options.classes:
        if len(options.classes) != len(names):
            why = f"it has {len(names)} classes, and {len(options.classes)} names are given"
            raise _refusal(table, why, f"Its classes: {quoted(names)}.")
        names = list(options.classes)
    return {split: order[each] for split, each in codes.items()}, tuple(names)


def _class_names(table: Split, target: str, names: list[str]) -> list[str]:
    """The names of classes: whole numbers without `.0`; raises DatasetError for real numbers."""
    are_numbers = all(csv_dialect.NUMBER.fullmatch(name) for name in names)
    values = [float(name.replace(",", ".")) for name in names] if are_numbers else []
    if reals := [name for name, value in zip(names, values, strict=False) if value % 1]:
        why = (
            f"the target '{target}' has real numbers such as {reals[0]}: it is a regression target"
        )
        raise _refusal(table, why, "Zoo trains classifiers: name a column with classes (--target).")
    if len(names) > MAX_CLASSES:
        why = f"the target '{target}' has more than {MAX_CLASSES} different values"
        raise _refusal(table, why, "Is it a number to predict, or an id? Name another: --target.")
    if not names:
        raise _refusal(table, f"the target '{target}' is missing in every row")
    if not are_numbers:
        return names
    return [
        str(int(value)) if not name.isdigit() else name
        for name, value in zip(names, values, strict=True)
    ]


def _rows_with_target(
    splits: Mapping[str, Split], labels: Mapping[str, Array], target: str, options: SourceOptions
) -> tuple[dict[str, Any], list[str]]:
    """By split the mask of the rows that have a target (`...` for all), and what is to be said."""
    import numpy as np

    kept: dict[str, Any] = {}
    notes = []
    for split, each in labels.items():
        missing = np.flatnonzero(each < 0)
        kept[split] = each >= 0 if len(missing) else ...
        if not len(missing):
            continue
        numbers = ", ".join(str(row + 1) for row in missing[:MOST_NAMED])
        more = f" and {len(missing) - MOST_NAMED} more" if len(missing) > MOST_NAMED else ""
        which = f"{len(missing)} of {len(each)} rows have no target '{target}'"
        if not options.drop_missing_target:
            why = f"{which}: rows {numbers}{more}, counted without the header"
            raise _refusal(
                splits[split], why, "Mend them, or leave them out: --drop-missing-target."
            )
        notes.append(f"{which} and were left out.")
    return kept, notes


def _weights(
    splits: Mapping[str, Split], kept: Mapping[str, Any], options: SourceOptions
) -> dict[str, Array]:
    import numpy as np

    name = options.weight
    if name is None:
        return {}
    found = {}
    for split, table in splits.items():
        if table.kinds[name] not in NUMBERS:
            why = f"the weights in '{name}' are {table.kinds[name]}, not numbers"
            raise _refusal(table, why, "Name another column: --weight.")
        parts = [values for (values,) in table.read([name], frozenset())]
        weights = np.concatenate(parts).astype("float64")
        wrong = ~(np.isfinite(weights) & (weights >= 0))
        wrong[...] &= kept[split] if kept[split] is not ... else True
        if wrong.any():
            rows = np.flatnonzero(wrong)
            why = f"the weight in '{name}' of row {rows[0] + 1} is {weights[rows[0]]}"
            raise _refusal(table, why, "Weights are finite numbers of 0 or more.")
        found[split] = weights[kept[split]]
    return found


# The inputs


def _inputs(
    splits: Mapping[str, Split], others: Sequence[str | None], options: SourceOptions
) -> list[str]:
    """The columns that are inputs."""
    table = next(iter(splits.values()))
    left_out = {*others, *options.drop}
    names = [name for name in table.kinds if name not in left_out and not name.startswith(INDEX)]
    if not names:
        raise _refusal(table, "it has no columns beside the classes", "Inputs are needed.")
    return names


def _images(
    table: Split, names: Sequence[str], side: tuple[int, int], kept: Any
) -> Callable[[], Iterator[Array]]:
    import numpy as np

    def chunks() -> Iterator[Array]:
        start = 0
        for values in table.read(names, frozenset()):
            pixels = np.stack(values, axis=1)
            if not ((pixels >= 0) & (pixels <= 255) & (pixels % 1 == 0)).all():
                why = "its pixels are not whole numbers from 0 to 255"
                raise _refusal(table, why, "Rename the columns to read it as a table.")
            images = pixels.astype("uint8").reshape(-1, *side)
            yield images if kept is ... else images[kept[start : start + len(images)]]
            start += len(images)

    return chunks


def _columns(
    splits: Mapping[str, Split], names: Sequence[str], options: SourceOptions
) -> tuple[tuple[Column, ...], list[str]]:
    """Describe the columns, and what is to be said about them; those of numbers are not read.

    Raises DatasetError if some cannot be inputs, with the options that mend it.
    """
    table = next(iter(splits.values()))
    seen = {name: Seen(_merged_kind(splits, name)) for name in names}
    coded = frozenset(
        name for name in names if seen[name].kind in CATEGORIES or name in options.category
    )
    scanned = [name for name in names if name in coded or seen[name].kind == WHOLE]
    for each in splits.values():
        for values in each.read(scanned, coded) if scanned else ():
            for name, value in zip(scanned, values, strict=True):
                seen[name].add(value)
    for name in coded - set(options.category):
        _check_numbers_as_text(table, name, seen[name])
    reasons = {name: _reason(seen[name], name in options.category) for name in names}
    refused = {name: why for name, why in reasons.items() if why}
    if refused:
        listed = [f"'{name}' ({why})" for name, why in list(refused.items())[:MOST_NAMED]]
        more = f" and {len(refused) - MOST_NAMED} more" if len(refused) > MOST_NAMED else ""
        noun = "the column" if len(refused) == 1 else "the columns"
        why = f"{noun} {', '.join(listed)}{more} cannot be inputs"
        raise _refusal(table, why, f"Leave out: {_option('--drop', refused)}.")
    columns = tuple(
        Column(name=name, kind="category", categories=tuple(in_order(seen[name].names)))
        if name in coded
        else Column(name=name)
        for name in names
    )
    return columns, [note for name in names for note in _column_notes(name, seen[name])]


def _check_numbers_as_text(table: Split, name: str, seen: Seen) -> None:
    """Refuse numbers that were not understood: with a text among them, or separators."""
    odd = sorted(each for each in seen.names if not csv_dialect.NUMBER.fullmatch(each))
    numbers = len(seen.names) - len(odd)
    if odd and numbers > 2 * len(odd):
        why = f"the column '{name}' has numbers, and texts such as {quoted(odd[:3])}"
        hint = "Leave missing values empty or write NA; for categories: "
        raise _refusal(table, why, f"{hint}{_option('--category', [name])}.")
    if seen.names and not odd and any("," in each for each in seen.names):
        why = f"the column '{name}' has numbers with commas, such as '{min(seen.names)}'"
        hint = "Name the decimal point (--decimal ,), or remove separators of thousands."
        raise _refusal(table, why, hint)


def _reason(seen: Seen, is_wanted: bool) -> str:
    """Why a column cannot be an input; empty if it can."""
    if seen.kind in (DATES, EMPTY, OTHER):
        return seen.kind
    if seen.kind not in CATEGORIES and not is_wanted:
        return ""
    count, present = len(seen.names), seen.rows - seen.missing
    if not count:
        return EMPTY
    if not is_wanted and all(DATE.fullmatch(name) for name in seen.names):
        return DATES
    average = sum(map(len, seen.names)) / count
    if present >= MIN_ROWS and 2 * count > present and average > LONG_TEXT:
        return f"free text, {count:,} different ones in {present:,} rows"
    if seen.is_id and not is_wanted:
        return "another text in each row, like an id"
    if count > MAX_CATEGORIES:
        return f"{count:,} different texts; {MAX_CATEGORIES:,} categories are the most"
    return ""


def _column_notes(name: str, seen: Seen) -> Iterator[str]:
    drop = _option("--drop", [name])
    if seen.kind == WHOLE and not seen.names and seen.is_id:
        yield f"The column '{name}' has another number in each row: if it is an id, {drop}."
    if seen.largest > MAX_EXACT:
        yield f"The column '{name}' has whole numbers above 2**53, which are rounded."
    present = seen.rows - seen.missing
    if seen.names and present >= MIN_ROWS and 2 * len(seen.names) > present:
        yield (
            f"The column '{name}' has {len(seen.names)} categories in {present} rows: if it is a "
            f"name or a number of something, {drop}."
        )


def _chunks(table: Split, columns: Sequence[Column], kept: Any) -> Callable[[], Iterator[Array]]:
    """The rows as float64, categories as indices; `kept` is a mask of all rows, or `...`."""
    import numpy as np

    names = [column.name for column in columns]
    coded = frozenset(column.name for column in columns if column.kind == "category")
    indices = {
        column.name: {name: index for index, name in enumerate(column.categories)}
        for column in columns
    }

    def chunks() -> Iterator[Array]:
        start = 0
        for batch in table.read(names, coded):
            values = [
                _indices(table, each, indices[name]) if isinstance(each, Coded) else each
                for name, each in zip(names, batch, strict=True)
            ]
            rows = np.empty((len(values[0]), len(values)))
            for first in range(0, len(rows), BLOCK):
                block = rows[first : first + BLOCK]
                for column, each in enumerate(values):
                    block[:, column] = each[first : first + BLOCK]
            yield rows if kept is ... else rows[kept[start : start + len(rows)]]
            start += len(rows)

    return chunks


def _indices(table: Split, values: Coded, index: Mapping[str, int]) -> Array:
    """The index of the category of each row, -1 where it is missing."""
    import numpy as np

    used = np.bincount(values.codes, minlength=len(values.names))
    new = [
        -1 if name is None else index.get(name, None if count else -1)
        for name, count in zip(values.names, used.tolist(), strict=True)
    ]
    if None in new:
        raise _refusal(table, "it was changed while it was read", "Try again.")
    return np.asarray(new, "int64")[values.codes]
