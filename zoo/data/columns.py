"""Match the inputs of a dataset to those of a trained model: shapes, and columns by name."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from zoo.data.contents import Column, Inputs, Meta
from zoo.errors import UsageError

if TYPE_CHECKING:
    from zoo.model import Array

MAX_EXACT = 2**53
"""Whole numbers below this one are exact as float64."""
MOST_NAMED = 10
"""Number of columns or categories that one message names."""


def check_same(trained: Inputs, meta: Meta) -> None:
    """Raise UsageError if a model that was trained on some inputs cannot take those of a dataset.

    Of a table the columns are matched by name: each that the model needs has to be there.
    """
    if trained.kind != meta.kind or (trained.kind == "image" and trained.shape != meta.shape):
        raise UsageError(
            f"The model was trained on {trained.describe_shape()}, but '{meta.name}' has "
            f"{meta.describe_shape()}.",
            "Evaluate it on inputs of that shape.",
        )
    check_present(trained.columns, [column.name for column in meta.columns], f"'{meta.name}'")


def check_present(wanted: Sequence[Column], names: Sequence[str], where: str) -> None:
    """Raise UsageError if columns that a model was trained on are missing.

    Args:
        wanted: The columns of the training.
        names: Names of the columns that there are.
        where: What has them, for the message.
    """
    missing = [column.name for column in wanted if column.name not in names]
    if missing:
        raise UsageError(
            f"{where} has no column {listed(missing)}, which the model was trained on.",
            f"It has {listed(names)}." if names else "",
        )


def recode(
    values: Array, own: Sequence[Column], wanted: Sequence[Column]
) -> tuple[Array, list[str]]:
    """Write rows with the columns of a training, matched by name; others are left out.

    Args:
        values: float64 (n, columns), as `Meta` describes them.
        own: The columns of `values`.
        wanted: The columns of the training.

    Returns:
        float64 (n, wanted columns) with the training's indices of categories, and a sentence for
        each column with categories that the training did not have: they count as missing.

    Raises:
        UsageError: A column is missing, or has texts where the training had numbers.
    """
    import numpy as np

    places = {column.name: place for place, column in enumerate(own)}
    check_present(wanted, list(places), "The table")
    found, notes = np.empty((len(values), len(wanted))), []
    for target, column in enumerate(wanted):
        place = places[column.name]
        given, has = values[:, place], own[place]
        if column.kind == "number":
            found[:, target] = given if has.kind == "number" else _numbers(given, has)
            continue
        texts, index = _texts(given, has)
        found[:, target], note = category_indices(texts, index, column)
        notes += [note] if note else []
    return found, notes


def category_indices(
    texts: Sequence[str | None], index: Array, column: Column
) -> tuple[Array, str]:
    """Return the indices of categories in a column of the training.

    Args:
        texts: The different categories; None for a missing one.
        index: The index into `texts` of each row, -1 for the last; int64 (n,).
        column: The column of the training.

    Returns:
        float64 (n,), -1 if missing; and a sentence about categories that the training did not
        have, or "".
    """
    import numpy as np

    known: Mapping[str | None, int] = {name: n for n, name in enumerate(column.categories)}
    targets = np.array([known.get(text, -1) for text in texts], dtype="float64")
    occurring = set(np.unique(index % max(1, len(texts))).tolist())
    strange = [
        text
        for place, text in enumerate(texts)
        if text is not None and text not in known and place in occurring
    ]
    indices: Array = targets[index]
    if not strange:
        return indices, ""
    one = len(strange) == 1
    return indices, (
        f"The {'category' if one else 'categories'} {listed(strange)} of '{column.name}' "
        f"{'was' if one else 'were'} not in the training: {'it counts' if one else 'they count'} "
        "as missing."
    )


def _texts(given: Array, column: Column) -> tuple[list[str | None], Array]:
    """The different values of a column as texts, and the index of each row into them."""
    import numpy as np

    if column.kind == "category":
        # The last text is for -1, a missing one.
        return [*column.categories, None], given.astype("int64")
    values, index = np.unique(given, return_inverse=True)
    return [number_text(value) for value in values.tolist()], index


def number_text(value: float) -> str | None:
    """Return a number as a name of a category: whole ones without a point; None for NaN."""
    if math.isnan(value):
        return None
    return str(int(value)) if value.is_integer() else str(value)


def plain_value(value: float, column: Column) -> float | int | str | None:
    """Return a value of `Meta` as in the source: a number, the name of a category, or None."""
    if column.kind == "category":
        return column.categories[int(value)] if value >= 0 else None
    if math.isnan(value):
        return None
    return int(value) if value.is_integer() and abs(value) < MAX_EXACT else value


def _numbers(given: Array, column: Column) -> Array:
    import numpy as np

    values = []
    for text in column.categories:
        try:
            values.append(float(text))
        except ValueError:
            raise UsageError(
                f"The column '{column.name}' holds {listed([text])}, but the model was trained "
                "on numbers."
            ) from None
    numbers: Array = np.array([*values, np.nan])[given.astype("int64")]
    return numbers


def listed(names: Sequence[str]) -> str:
    """Name a few of the names."""
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return ", ".join(f"'{name}'" for name in names[:MOST_NAMED]) + more
