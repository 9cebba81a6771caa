"""Files of rows to predict, CSV or parquet: read as they are, and written with more columns."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo.data.contents import Inputs
from zoo.data.readers import csv_dialect, table_files
from zoo.data.source_options import SourceOptions
from zoo.data.table_rows import Table
from zoo.errors import DatasetError, UsageError, reason
from zoo.regular_file import open_regular_file

if TYPE_CHECKING:
    from zoo.model import Array

PARQUET = (".parquet", ".pq")
CSV = (".csv", ".tsv", ".txt", ".data")
BATCH = 10_000
"""Rows that are turned into Python's objects at once."""


@dataclass(frozen=True)
class RowsFile:
    """Rows as they are in a file."""

    names: list[str]
    """The columns, without blanks around them."""
    rows: Any
    """Arrow's table: of CSV all cells are texts."""
    sep: str = ","
    decimal: str = "."
    notes: Sequence[str] = ()
    table: Table = field(default_factory=dict)
    """The columns that the model needs, by name."""

    @property
    def n_rows(self) -> int:
        """The number of rows."""
        return int(self.rows.num_rows)


def is_rows(path: str) -> bool:
    """Return whether a path is of a file with rows by its suffix."""
    return path.lower().endswith((*CSV, *PARQUET))


def read_rows(path: Path, inputs: Inputs) -> RowsFile:
    """Read rows for a model that was trained on a table.

    Args:
        path: A CSV or parquet file.
        inputs: What the table of the training was.

    Raises:
        DatasetError: The file is missing, damaged or no table.
        UsageError: Two columns have one name.
    """
    is_parquet = path.name.lower().endswith(PARQUET)
    found = _read_parquet(path) if is_parquet else _read_csv(path)
    if twice := [name for name in found.names if name and found.names.count(name) > 1]:
        raise UsageError(f"{path} has two columns '{twice[0]}'.", "Rename one of them.")
    wanted = {column.name: column.kind for column in inputs.columns}
    table = {}
    for place, name in enumerate(found.names):
        if name in wanted:
            column = found.rows.column(place)
            is_number = wanted[name] == "number"
            table[name] = (
                _of_arrow(column) if is_parquet else _of_texts(column, found.decimal, is_number)
            )
    # For messages about the columns that are missing.
    others = {name: _nothing(found.n_rows) for name in found.names if name not in table}
    return replace(found, table=table | others)


def _nothing(n_rows: int) -> Array:
    import numpy as np

    return np.broadcast_to(np.array(None, object), (n_rows,))


def _read_csv(path: Path) -> RowsFile:
    library = table_files.arrow_library("csv")
    import pyarrow as pa

    dialect = csv_dialect.find_dialect(path, SourceOptions())
    try:
        with open_regular_file(path), pa.OSFile(str(path)) as file:
            rows = library.read_csv(
                file,
                read_options=library.ReadOptions(encoding=dialect.encoding),
                parse_options=library.ParseOptions(
                    delimiter=dialect.sep, newlines_in_values=dialect.has_quotes
                ),
                convert_options=library.ConvertOptions(
                    column_types=dict.fromkeys(dialect.header, pa.string()),
                    strings_can_be_null=False,
                ),
            )
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {reason(error)}.") from None
    except (pa.ArrowException, ValueError) as error:
        raise csv_dialect.refuse(path, f"it is no CSV: {reason(error)}") from None
    names = [str(name).strip() for name in rows.schema.names]
    return RowsFile(names, rows, dialect.sep, dialect.decimal, dialect.notes)


def _read_parquet(path: Path) -> RowsFile:
    library = table_files.arrow_library("parquet")
    import pyarrow as pa

    try:
        with open_regular_file(path):
            rows = library.read_table(path)
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {reason(error)}.") from None
    except (pa.ArrowException, ValueError) as error:
        raise csv_dialect.refuse(path, f"it is no parquet file: {reason(error)}") from None
    return RowsFile([str(name).strip() for name in rows.schema.names], rows)


def _of_arrow(column: Any) -> Array:
    import pyarrow as pa

    if pa.types.is_decimal(column.type):
        column = column.cast(pa.float64())
    if pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
        numbers: Array = column.to_numpy()
        return numbers
    return _objects(column)


def _of_texts(column: Any, decimal: str, is_number: bool) -> Array:
    """The cells of a column of CSV: numbers if all are, else texts, None if missing."""
    import pyarrow as pa
    import pyarrow.compute as pc

    texts = pc.utf8_trim_whitespace(column)
    missing = pc.is_in(texts, value_set=pa.array(table_files.MISSING_TEXTS))
    texts = pc.if_else(missing, pa.scalar(None, pa.string()), texts)
    if is_number:
        numbers = texts if decimal == "." else pc.replace_substring(texts, decimal, ".")
        try:
            found: Array = numbers.cast(pa.float64()).to_numpy()
        except pa.ArrowException:  # a text, which is refused with its row
            return _objects(numbers)
        return found
    return _objects(texts)


def _objects(column: Any) -> Array:
    import numpy as np

    found = np.empty(len(column), object)
    found[:] = column.to_pylist()
    return found


def write(given: RowsFile, added: Mapping[str, Sequence[Any]], target: str) -> bytes:
    """Return the rows with further columns as the content of a file.

    Columns of the same name are replaced.

    Args:
        given: The rows.
        added: By name: a value for each row.
        target: The name of the file: parquet by its suffix, else CSV.
    """
    kept = [place for place, name in enumerate(given.names) if name not in added]
    if target.lower().endswith(PARQUET):
        return _parquet(given, kept, added)
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=given.sep, lineterminator="\n")
    writer.writerow([*(given.names[place] for place in kept), *added])
    more = [[_cell(value, given.decimal) for value in values] for values in added.values()]
    for start in range(0, given.n_rows, BATCH):
        part = given.rows.slice(start, BATCH)
        cells = [part.column(place).to_pylist() for place in kept]
        writer.writerows(zip(*cells, *(each[start : start + BATCH] for each in more), strict=True))
    return text.getvalue().encode()


def _cell(value: Any, decimal: str) -> Any:
    return repr(value).replace(".", decimal) if isinstance(value, float) else value


def _parquet(given: RowsFile, kept: Sequence[int], added: Mapping[str, Sequence[Any]]) -> bytes:
    library = table_files.arrow_library("parquet")
    import pyarrow as pa

    rows = given.rows.select(kept)
    for name, values in added.items():
        rows = rows.append_column(name, pa.array(values))
    stream = io.BytesIO()
    library.write_table(rows, stream)
    return stream.getvalue()


def records(given: RowsFile, inputs: Inputs) -> Iterator[dict[str, Any]]:
    """Yield each row as a dict by column; the model's numbers as numbers, None if missing."""
    numbers = {column.name for column in inputs.columns if column.kind == "number"}
    for start in range(0, given.n_rows, BATCH):
        part = given.rows.slice(start, BATCH)
        columns = [
            _numbers(given.table[name][start : start + BATCH])
            if name in numbers
            else [_plain(value) for value in part.column(place).to_pylist()]
            for place, name in enumerate(given.names)
        ]
        for row in zip(*columns, strict=True):
            yield dict(zip(given.names, row, strict=True))


def _numbers(values: Array) -> list[Any]:
    return [None if value is None or value != value else value for value in values.tolist()]


def _plain(value: Any) -> Any:
    """A value as JSON has it: dates and the like as texts."""
    return value if isinstance(value, str | int | float | bool | None) else str(value)
