"""Rows of a table from outside as inputs of a trained model; columns are matched by name."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from zoo.data import columns
from zoo.data.contents import Column, Inputs
from zoo.errors import UsageError

if TYPE_CHECKING:
    from zoo.model import Array

Table = Mapping[str, "Array"]
"""Columns by name: numbers or booleans, or objects with None for a missing value."""


def columns_of(given: Any, inputs: Inputs) -> Table:
    """Return rows as columns by name.

    Args:
        given: A DataFrame, a list of dicts, a dict of columns or of the values of one row; or an
            array, (n, columns), in the order of the columns of the training.
        inputs: What the table of the training was.

    Raises:
        UsageError: It is none of these, or two columns have one name.
    """
    if hasattr(given, "columns") and hasattr(given, "iloc"):
        return _of_frame(given)
    if hasattr(given, "index") and hasattr(given, "to_dict"):  # a row of a DataFrame
        given = given.to_dict()
    wanted = [column.name for column in inputs.columns]
    try:
        found = _of_dicts(given) if _is_named(given) else _of_values(given, wanted)
        if found and len({len(each) for each in found.values()}) > 1:
            raise ValueError("columns of several lengths")
    # Rows of several lengths, other shapes, and what is no table at all.
    except (ValueError, TypeError, AttributeError):
        raise UsageError(
            "The rows cannot be read as a table.",
            f"Give a DataFrame, a list of dicts, or an array of the shape (n, {len(wanted)}).",
        ) from None
    return found


def _of_frame(frame: Any) -> dict[str, Array]:
    names = [str(name) for name in frame.columns]
    if twice := [name for name in names if names.count(name) > 1]:
        raise UsageError(f"The table has two columns '{twice[0]}'.")
    found = {}
    for place, name in enumerate(names):
        series = frame.iloc[:, place]
        plain = series.to_numpy()
        if plain.dtype.kind not in "iufb":
            objects = series.astype(object)
            plain = objects.where(series.notna(), None).to_numpy()
        found[name] = plain
    return found


def _is_named(given: Any) -> bool:
    if isinstance(given, Mapping):
        return True
    is_list = not hasattr(given, "shape") and isinstance(given, Sequence) and len(given) > 0
    return is_list and isinstance(given[0], Mapping)


def _of_dicts(given: Any) -> dict[str, Array]:
    if isinstance(given, Mapping):
        is_row = all(_is_scalar(each) for each in given.values())
        return {str(name): _array([each] if is_row else list(each)) for name, each in given.items()}
    names = dict.fromkeys(name for row in given for name in row)
    return {str(name): _array([row.get(name) for row in given]) for name in names}


def _of_values(given: Any, wanted: Sequence[str]) -> dict[str, Array]:
    rows = given.tolist() if hasattr(given, "tolist") else list(given)
    if len(rows) == len(wanted) and all(_is_scalar(each) for each in rows):
        rows = [rows]
    if any(len(row) != len(wanted) for row in rows):
        raise ValueError("rows of other lengths")
    by_column = zip(*rows, strict=True) if rows else ([] for _ in wanted)
    return {name: _array(list(values)) for name, values in zip(wanted, by_column, strict=True)}


def _is_scalar(value: Any) -> bool:
    return isinstance(value, str | bytes) or not hasattr(value, "__len__")


def _array(values: list[Any]) -> Array:
    import numpy as np

    array = np.empty(len(values), object)
    array[:] = values
    return array


def values_of(table: Table, inputs: Inputs, where: str = "The table") -> tuple[Array, list[str]]:
    """Return rows as the training's dataset has them: numbers, and indices of categories.

    Args:
        table: The rows; further columns are left out.
        inputs: What the table of the training was.
        where: What has the rows, for messages.

    Returns:
        float64 (n, columns), and a sentence for each column with categories that the training did
        not have: they count as missing.

    Raises:
        UsageError: A column is missing, or has texts where the training had numbers.
    """
    import numpy as np

    columns.check_present(inputs.columns, list(table), where)
    n_rows = max((len(each) for each in table.values()), default=0)
    found, notes = np.empty((n_rows, len(inputs.columns))), []
    for target, column in enumerate(inputs.columns):
        given = table[column.name]
        if column.kind == "number":
            found[:, target] = _numbers(given, column)
        else:
            found[:, target], note = _categories(given, column)
            notes += [note] if note else []
    return found, notes


def _numbers(given: Array, column: Column) -> Array:
    import numpy as np

    if given.dtype.kind in "iufb":
        numbers = given.astype("float64")
        wrong = np.flatnonzero(np.isinf(numbers))
    else:
        parsed = [_number(value) for value in given.tolist()]
        numbers = np.array([math.nan if each is None else each for each in parsed], "float64")
        wrong = np.flatnonzero([each is None or math.isinf(each) for each in parsed])
    if len(wrong):
        row = int(wrong[0])
        raise UsageError(
            f"The column '{column.name}' holds '{given[row]}' in row {row + 1}, but the model was "
            "trained on numbers."
        )
    return numbers


def _number(value: Any) -> float | None:
    """A number, NaN if it is missing, or None for something else."""
    if _is_missing(value):
        return math.nan
    try:
        return float(value)
    except (ValueError, TypeError):
        return None


def _is_missing(value: Any) -> bool:
    # pandas.NA and NaT are equal to nothing, themselves included.
    return value is None or type(value).__name__ in ("NAType", "NaTType") or value != value


def _categories(given: Array, column: Column) -> tuple[Array, str]:
    import numpy as np

    places: dict[Any, int] = {}
    # True is equal to 1, so a key with its type.
    keys = [(type(value), None if _is_missing(value) else value) for value in given.tolist()]
    index = np.array([places.setdefault(key, len(places)) for key in keys], dtype="int64")
    texts = [None if value is None else _text(value, column.categories) for _, value in places]
    return columns.category_indices([*texts, None], index, column)


def _text(value: Any, known: Sequence[str]) -> str:
    """The name of a value as a category, of which `known` are those of the training."""
    text = str(value)
    if isinstance(value, bool):
        return next((each for each in (text, text.lower(), str(int(value))) if each in known), text)
    if isinstance(value, float):
        return columns.number_text(value) or text
    return text
