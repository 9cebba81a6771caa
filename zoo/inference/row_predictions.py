"""Predict the rows of a CSV or parquet file with a model that was trained on a table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoo.data import rows_file, table_rows
from zoo.data.rows_file import RowsFile
from zoo.errors import UsageError
from zoo.inference.predictor import Predictor

PREDICTED, PROBABILITY = "predicted", "probability"
"""The columns that are added; `probability_CLASS` for each class."""


@dataclass(frozen=True)
class PredictedRows:
    """The rows of a file with predictions."""

    given: RowsFile
    added: Mapping[str, Sequence[Any]]
    """By column: the name of the predicted class, its probability, and on demand all others."""
    notes: Sequence[str]
    """How the file was read, unknown categories, and replaced columns, a sentence each."""

    def content(self, target: str) -> bytes:
        """Return the content of an output file: parquet by its suffix, else CSV."""
        return rows_file.write(self.given, self.added, target)

    def records(self, predictor: Predictor) -> Iterator[dict[str, Any]]:
        """Yield each row with its prediction as a dict."""
        for row, values in zip(
            rows_file.records(self.given, predictor.inputs),
            zip(*self.added.values(), strict=True),
            strict=True,
        ):
            yield row | dict(zip(self.added, values, strict=True))


def predict_rows(predictor: Predictor, path: Path, *, all_classes: bool = False) -> PredictedRows:
    """Predict the rows of a file; columns are matched by name, further ones are kept.

    Args:
        predictor: The trained model.
        path: A CSV or parquet file.
        all_classes: Whether the probability of each class is added.

    Raises:
        UsageError: The model takes no table, or a column is missing or has texts for numbers.
        DatasetError: The file cannot be read as a table.
    """
    if predictor.inputs.kind != "table":
        raise UsageError(
            f"The model was trained on images of {predictor.inputs.describe_shape()}: it takes no "
            "rows of a table."
        )
    given = rows_file.read_rows(path, predictor.inputs)
    raw, unknown = table_rows.values_of(given.table, predictor.inputs, str(path))
    found = predictor.predict_raw(raw)
    names, labels = predictor.class_names, found.labels.tolist()
    added: dict[str, Sequence[Any]] = {PREDICTED: [names[label] for label in labels]}
    if found.probabilities is not None:
        likely = found.probabilities[range(len(labels)), found.labels]
        added[PROBABILITY] = likely.astype("float64").tolist()
        for label, name in enumerate(names if all_classes else ()):
            column = found.probabilities[:, label]
            added[f"{PROBABILITY}_{name}"] = column.astype("float64").tolist()
    replaced = [
        f"The column '{name}' of {path} was replaced." for name in added if name in given.names
    ]
    return PredictedRows(given, added, [*given.notes, *unknown, *replaced])
