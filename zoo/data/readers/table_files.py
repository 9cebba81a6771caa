"""Files of tables, CSV and parquet, opened by pyarrow and read in batches."""

from __future__ import annotations

import importlib
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from zoo.data.readers.csv_dialect import Dialect, refuse
from zoo.data.source_options import SourceOptions
from zoo.errors import DatasetError, UsageError, reason
from zoo.plugins import packages
from zoo.regular_file import open_regular_file

if TYPE_CHECKING:
    from typing import Any

    from zoo.model import Array

BATCH_BYTES = 2**23
"""Bytes of the rows that are converted at once."""
BUFFERS = 2**28
"""Bytes of a parquet file that are read ahead, in all columns together."""
MAX_COLUMNS = 100_000
MAX_BYTES = 64 * 2**30
"""Bytes of the contents of a table."""
MOST_NAMED = 10
"""Columns or rows that one message names."""
MISSING_TEXTS = (
    *("", "NA", "N/A", "n/a", "#N/A", "NaN", "nan", "-nan", "NULL", "null"),
    *("#NA", "-NaN", "<NA>"),
)
TARGETS = frozenset(("target", "class", "classes", "label", "labels", "species", "y", "diagnosis"))
"""Names, in lower case, of a column with the classes."""
PIXEL = re.compile(r"pixel_?(\d+)|(\d+)x(\d+)", re.IGNORECASE)
INDEX = "__index_level_"
"""Start of the name of a column in which pandas keeps an index."""
NEEDS = f"Install it: pip install 'mnist-zoo[tables]'.{packages.IN_A_CLONE}"
# Kinds of columns as they are in a file; the others are reasons why a column is refused.
WHOLE, REAL, TEXT, BOOLEAN = "whole numbers", "real numbers", "text", "booleans"
DATES, EMPTY, OTHER = "dates", "no values", "lists or other values"
NUMBERS = (WHOLE, REAL)
CATEGORIES = (TEXT, BOOLEAN)


class Coded(NamedTuple):
    """A column of categories: the index of each row, and the name of each index."""

    codes: Array
    names: Sequence[str | None]
    """None is a missing value."""


@dataclass(frozen=True)
class Split:
    """The table of one split, which can be read several times."""

    where: str
    """The file, or what else messages name."""
    names: Sequence[str]
    """All columns of the file, also those that were not read."""
    kinds: Mapping[str, str]
    """By column, in order."""
    rows: int
    read: Callable[[Sequence[str], frozenset[str]], Iterable[list[Any]]]
    """Yields batches of rows: of each of the columns the values; those in the set are coded."""


def arrow_library(module: str) -> Any:
    """Import a module of pyarrow; raises UsageError where it is missing."""
    try:
        return importlib.import_module(f"pyarrow.{module}")
    except ImportError:
        raise UsageError("A table in a file needs pyarrow.", NEEDS) from None


def quoted(names: Iterable[str]) -> str:
    """Up to MOST_NAMED names, quoted."""
    all_names = [f"'{name}'" for name in names]
    more = f" and {len(all_names) - MOST_NAMED} more" if len(all_names) > MOST_NAMED else ""
    return ", ".join(all_names[:MOST_NAMED]) + more


def likely_target(names: Sequence[str]) -> str | None:
    """The only column whose name says that it has the classes."""
    found = [name for name in names if name.lower() in TARGETS]
    return found[0] if len(found) == 1 else None


def pixel_sides(names: Sequence[str]) -> tuple[int, int] | None:
    """Height and width, if the columns are the pixels of an image, row by row."""
    found = [PIXEL.fullmatch(name) for name in names]
    if len(names) < 4 or not all(found):
        return None
    numbers = [tuple(int(n) for n in each.groups() if n is not None) for each in found if each]
    first = numbers[0]
    if all(len(each) == 1 for each in numbers):
        side = math.isqrt(len(names))
        is_whole = numbers == [(first[0] + n,) for n in range(side * side)]
        return (side, side) if first[0] in (0, 1) and is_whole else None
    height, width = (last - start + 1 for last, start in zip(numbers[-1], first, strict=False))
    expected = [(first[0] + y, first[-1] + x) for y in range(height) for x in range(width)]
    return (height, width) if numbers == expected else None


# CSV


def open_csv(
    csv: Any, path: Path, dialect: Dialect, options: SourceOptions, as_text: frozenset[str]
) -> Split:
    """Read a CSV file into memory, once, as Arrow's columns."""
    import pyarrow as pa

    names = _header(path, dialect)
    raw = dict(zip(names, dialect.header, strict=True))
    kept = [name for name in names if name not in options.drop]
    pixels = [name for name in kept if PIXEL.fullmatch(name)]
    is_image = len(kept) - len(pixels) <= 2 and pixel_sides(pixels) is not None
    types: dict[str, Any] = dict.fromkeys(pixels if is_image else (), pa.uint8())
    target = options.target or likely_target(kept)
    types |= dict.fromkeys(
        [*as_text, *options.category, *([target] if target else [])], pa.string()
    )
    read = {
        "read_options": csv.ReadOptions(encoding=dialect.encoding, block_size=2**22),
        "parse_options": csv.ParseOptions(
            delimiter=dialect.sep, newlines_in_values=dialect.has_quotes
        ),
        "convert_options": csv.ConvertOptions(
            column_types={raw[name]: type_ for name, type_ in types.items() if name in raw},
            include_columns=[raw[name] for name in kept],
            null_values=list(MISSING_TEXTS),
            strings_can_be_null=True,
            # Booleans stay the texts that they are.
            true_values=[],
            false_values=[],
            decimal_point=dialect.decimal,
        ),
    }
    table = _read_csv(csv, path, read).rename_columns(kept)
    if dialect.ends_in_quotes:
        _check_last_quote(path, table)
    return _of_arrow(str(path), names, table)


def _read_csv(csv: Any, path: Path, read: dict[str, Any]) -> Any:
    import pyarrow as pa

    try:
        # Native, not a Python file, which would hold up Arrow's threads.
        with open_regular_file(path), pa.OSFile(str(path)) as file:
            return csv.read_csv(file, **read)
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {reason(error)}.") from None
    except (pa.ArrowException, ValueError) as error:
        text = reason(error)
        # In order, for the number of the row.
        if re.search(r"Expected \d+ columns, got \d+", text):
            raise _ragged(csv, path, read, text) from None
        if "uint8" in text:
            why = "its pixels are not whole numbers from 0 to 255"
            raise refuse(path, why, "Rename the columns to read it as a table.") from None
        raise refuse(path, f"it is no CSV: {text}", "Is the separator right? --sep ';'") from None


def _ragged(csv: Any, path: Path, read: dict[str, Any], text: str) -> DatasetError:
    import pyarrow as pa

    options = read["read_options"]
    one_by_one = csv.ReadOptions(
        encoding=options.encoding, block_size=options.block_size, use_threads=False
    )
    try:
        with pa.OSFile(str(path)) as file:
            csv.read_csv(file, **(read | {"read_options": one_by_one}))
    except (pa.ArrowException, ValueError) as error:
        text = reason(error)
    found = re.search(r"(?:Row #(\d+): )?Expected (\d+) columns, got (\d+)", text)
    number, expected, got = found.groups() if found else (None, "?", "?")
    where = f"line {number}" if number else "a line"
    return refuse(
        path,
        f"{where} has {got} fields, and the header {expected}",
        "Mend the line, or name the separator: --sep ';'.",
    )


def _header(path: Path, dialect: Dialect) -> list[str]:
    """The names of the columns without blanks around them."""
    names = [name.strip() for name in dialect.header]
    if len(names) > MAX_COLUMNS:
        raise refuse(path, f"it has {len(names):,} columns; {MAX_COLUMNS:,} are the most")
    if twice := sorted({name for name in names if name and names.count(name) > 1}):
        raise refuse(path, f"it has several columns {quoted(twice)}", "Rename them.")
    # pandas and R write the number of the row into a first column without a name.
    unnamed = [index for index, name in enumerate(names) if not name]
    if unnamed == [0]:
        names[0] = INDEX
    elif unnamed:
        numbers = ", ".join(str(index + 1) for index in unnamed[:MOST_NAMED])
        raise refuse(path, f"columns without a name: {numbers}", "Name them in the first line.")
    return names


def _check_last_quote(path: Path, table: Any) -> None:
    """An open quote swallows the rest of the file into one field of the last row."""
    last = table.slice(max(0, table.num_rows - 1)).to_pylist()
    if any(isinstance(value, str) and "\n" in value for row in last for value in row.values()):
        raise refuse(path, "a quote is not closed", "Close it, or remove it.")


# Parquet and Arrow


def open_parquet(parquet: Any, path: Path) -> Split:
    import pyarrow as pa

    try:
        with open_regular_file(path), parquet.ParquetFile(path) as file:
            schema, rows = file.schema_arrow, file.metadata.num_rows
            unpacked = sum(
                file.metadata.row_group(index).total_byte_size
                for index in range(file.metadata.num_row_groups)
            )
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {reason(error)}.") from None
    except (pa.ArrowException, ValueError) as error:
        raise refuse(path, f"it is no parquet file: {reason(error)}") from None
    if twice := sorted({name for name in schema.names if schema.names.count(name) > 1}):
        raise refuse(path, f"it has several columns {quoted(twice)}", "Rename them.")
    if len(schema) > MAX_COLUMNS or max(unpacked, 8 * rows * len(schema)) > MAX_BYTES:
        raise refuse(path, f"it is too large: {rows:,} rows of {len(schema):,} columns")
    kinds = {each.name: _kind(each.type) for each in schema}

    def read(names: Sequence[str], coded: frozenset[str]) -> Iterator[list[Array | Coded]]:
        how = {
            "read_dictionary": [name for name in names if kinds[name] == TEXT],
            "buffer_size": max(2**16, BUFFERS // len(names)),
        }
        try:
            with (
                open_regular_file(path),
                parquet.ParquetFile(path, **how) as file,
            ):
                # In this thread: those of Arrow would compete with the one that writes.
                for batch in file.iter_batches(
                    _batch_rows(len(names)), columns=list(names), use_threads=False
                ):
                    by_name = dict(zip(batch.schema.names, batch.columns, strict=True))
                    yield [_values(by_name[name], name in coded, category_name) for name in names]
        except OSError as error:
            raise DatasetError(f"{path} cannot be read: {reason(error)}.") from None
        except pa.ArrowException as error:
            raise refuse(path, f"it is damaged: {reason(error)}") from None

    return Split(str(path), list(kinds), kinds, rows, read)


def _of_arrow(where: str, names: Sequence[str], table: Any) -> Split:
    kinds = {each.name: _kind(each.type) for each in table.schema}

    def read(names: Sequence[str], coded: frozenset[str]) -> Iterator[list[Array | Coded]]:
        for batch in table.select(list(names)).to_batches(_batch_rows(len(names))):
            yield [
                _values(column, name in coded, _csv_name)
                for name, column in zip(names, batch.columns, strict=True)
            ]

    return Split(where, names, kinds, table.num_rows, read)


def _batch_rows(columns: int) -> int:
    return max(256, BATCH_BYTES // (8 * max(1, columns)))


def _kind(type_: Any) -> str:
    import pyarrow.types as t

    if t.is_dictionary(type_):
        return TEXT
    tests = (
        (WHOLE, (t.is_integer,)),
        (REAL, (t.is_floating, t.is_decimal)),
        (BOOLEAN, (t.is_boolean,)),
        (TEXT, (t.is_string, t.is_large_string, t.is_string_view)),
        (DATES, (t.is_temporal,)),
        (EMPTY, (t.is_null,)),
    )
    return next((kind for kind, of in tests if any(test(type_) for test in of)), OTHER)


def _values(array: Any, is_coded: bool, name_of: Callable[[Any], str | None]) -> Array | Coded:
    """The values of an Arrow array; of texts and booleans always coded."""
    import numpy as np
    import pyarrow as pa

    if pa.types.is_null(array.type):
        nothing = np.zeros(len(array), "int64")
        return Coded(nothing, [None]) if is_coded else np.full(len(array), math.nan)
    if is_coded or _kind(array.type) in CATEGORIES:
        coded = array if pa.types.is_dictionary(array.type) else array.dictionary_encode()
        names = [name_of(value) for value in coded.dictionary.to_pylist()]
        codes = _numbers(coded.indices, fill=len(names))
        return Coded(codes.astype("int64"), [*names, None])
    if pa.types.is_decimal(array.type):
        array = array.cast(pa.float64())
    return _numbers(array, fill=math.nan)


def _numbers(array: Any, fill: float) -> Array:
    """The numbers of an Arrow array without a copy; if some are missing, float64 with `fill`.

    Not `to_numpy`, which imports pandas, for longer than a million rows are read.
    """
    import numpy as np
    import pyarrow as pa

    if not array.null_count:
        return np.from_dlpack(array)
    _, data = array.buffers()
    stored = pa.Array.from_buffers(array.type, len(array), [None, data], offset=array.offset)
    is_missing = np.from_dlpack(array.is_null().cast(pa.uint8())).view(bool)
    return np.where(is_missing, fill, np.from_dlpack(stored)).astype("float64", copy=False)


def _csv_name(value: Any) -> str | None:
    """The name of a category in a text file: without blanks around it."""
    name = category_name(value.strip() if isinstance(value, str) else value)
    return None if name in MISSING_TEXTS else name


def category_name(value: Any) -> str | None:
    """The name of a category; None for a missing one."""
    if value is None or value == "" or (isinstance(value, float) and math.isnan(value)):
        return None
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
