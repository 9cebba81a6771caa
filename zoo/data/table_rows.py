"""Rows of a table from outside as inputs of a trained model; columns are matched by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from zoo.data import columns
from zoo.data.contents import Column, Inputs
from zoo.errors import UsageError, ZooError

if TYPE_CHECKING:
    from pandas import DataFrame, Series

    from zoo.model import Array


def load_pandas() -> Any:
    """Import pandas; raises ZooError where it is missing."""
    try:
        import pandas
    except ModuleNotFoundError:
        raise ZooError("Rows of tables need pandas.", "pip install pandas") from None
    return pandas


def frame_of(given: Any, inputs: Inputs) -> DataFrame:
    """Return rows as a DataFrame with the columns by name.

    Args:
        given: A DataFrame, a list of dicts, a dict of columns or of the values of one row; or an
            array, (n, columns), in the order of the columns of the training.
        inputs: What the table of the training was.

    Raises:
        UsageError: It is none of these.
    """
    pandas = load_pandas()
    names = [column.name for column in inputs.columns]
    if isinstance(given, pandas.DataFrame):
        return given
    if isinstance(given, pandas.Series):
        given = given.to_dict()
    if isinstance(given, Mapping) and all(_is_scalar(each) for each in given.values()):
        given = [given]
    try:
        is_named = isinstance(given, Mapping) or (
            not hasattr(given, "shape") and len(given) and isinstance(given[0], Mapping)
        )
        if is_named:
            return pandas.DataFrame(given)
        values = given if hasattr(given, "shape") else list(given)
        is_row = len(values) == len(names) and all(_is_scalar(each) for each in values)
        return pandas.DataFrame([values] if is_row else values, columns=names)
    # pandas raises these for rows of different lengths, other shapes, and what is no table at all.
    except (ValueError, TypeError, KeyError):
        raise UsageError(
            "The rows cannot be read as a table.",
            f"Give a DataFrame, a list of dicts, or an array of the shape (n, {len(names)}).",
        ) from None


def _is_scalar(value: Any) -> bool:
    return isinstance(value, str | bytes) or not hasattr(value, "__len__")


def values_of(
    frame: DataFrame, inputs: Inputs, where: str = "The table"
) -> tuple[Array, list[str]]:
    """Return rows as the training's dataset has them: numbers, and indices of categories.

    Args:
        frame: The rows; its columns may be in any order, and further ones are left out.
        inputs: What the table of the training was.
        where: What has the rows, for messages.

    Returns:
        float64 (n, columns), and a sentence for each column with categories that the training did
        not have: they count as missing.

    Raises:
        UsageError: A column is missing, or has texts where the training had numbers.
    """
    import numpy as np

    names = [str(name) for name in frame.columns]
    columns.check_present(inputs.columns, names, where)
    found, notes = np.empty((len(frame), len(inputs.columns))), []
    for target, column in enumerate(inputs.columns):
        if names.count(column.name) > 1:
            raise UsageError(f"{where} has two columns '{column.name}'.")
        series = frame.iloc[:, names.index(column.name)]
        if column.kind == "number":
            found[:, target] = _numbers(series, column)
        else:
            found[:, target], note = _categories(series, column)
            notes += [note] if note else []
    return found, notes


def _numbers(series: Series, column: Column) -> Array:
    import numpy as np

    pandas = load_pandas()
    if isinstance(series.dtype, pandas.CategoricalDtype):
        series = series.astype(object)
    numbers: Array = pandas.to_numeric(series, errors="coerce").to_numpy("float64", na_value=np.nan)
    wrong = np.isinf(numbers) | (np.isnan(numbers) & series.notna().to_numpy())
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise UsageError(
            f"The column '{column.name}' holds '{series.iloc[row]}' in row {row + 1}, but the "
            "model was trained on numbers."
        )
    return numbers


def _categories(series: Series, column: Column) -> tuple[Array, str]:
    codes, values = load_pandas().factorize(series)
    texts = [_text(value, column.categories) for value in values.tolist()]
    # factorize gives -1 to missing values: the last text.
    return columns.category_indices([*texts, None], codes.astype("int64"), column)


def _text(value: Any, known: Sequence[str]) -> str:
    """The name of a value as a category, of which `known` are those of the training."""
    text = str(value)
    if isinstance(value, bool):
        return next((each for each in (text, text.lower(), str(int(value))) if each in known), text)
    if isinstance(value, float):
        return columns.number_text(value) or text
    return text
