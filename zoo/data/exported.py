"""Write a dataset into one file: arrays as npz, a table also as CSV or Parquet."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from zoo import atomic
from zoo.data.columns import plain_value
from zoo.data.contents import Raw
from zoo.errors import UsageError, ZooError, reason

if TYPE_CHECKING:
    from pandas import DataFrame

SUFFIXES = (".npz", ".csv", ".parquet")
TARGETS = ("target", "class", "label")
"""Names for the column with the classes; the first that no other column has."""
SPLITS = ("split", "zoo_split")
WEIGHTS = ("weight", "zoo_weight")


def check_suffix(file: Path) -> None:
    """Raise UsageError for a name of a file in no known format."""
    if file.suffix.lower() not in SUFFIXES:
        raise UsageError(
            f"'{file.name}' is no file of a known format.", f"End it in {', '.join(SUFFIXES)}."
        )


def write(raw: Raw, file: Path) -> str:
    """Write a dataset into a file, which appears whole or not at all.

    Returns the options with which `zoo data add` reads the file as it is meant. Raises UsageError
    for a table with categories in npz or images in a table, ZooError if it cannot be written.
    """
    check_suffix(file)
    suffix = file.suffix.lower()
    if suffix == ".npz":
        if any(column.kind == "category" for column in raw.meta.columns):
            raise UsageError(
                f"'{raw.name}' has categories, which an npz file cannot hold.",
                "Write it as .csv or .parquet.",
            )
        with _written(file) as stream:
            _write_npz(raw, stream)
        return ""
    if raw.meta.kind != "table":
        raise UsageError(f"'{raw.name}' has images.", "Write them as .npz.")
    frame, target, options = _frame(raw)
    with _written(file) as stream:
        if suffix == ".csv":
            frame.to_csv(stream, index=False)
        else:
            frame.to_parquet(stream, index=False)
    return f"--target {target} {options}"


@contextlib.contextmanager
def _written(file: Path) -> Iterator[IO[bytes]]:
    temporary = atomic.sibling(file)
    try:
        with temporary.open("xb") as stream:
            yield stream
        temporary.replace(file)
    except OSError as error:
        raise ZooError(f"{file} cannot be written: {reason(error)}.") from None
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _write_npz(raw: Raw, stream: IO[bytes]) -> None:
    import numpy as np

    arrays: dict[str, Any] = {}
    for split, rows in raw.splits.items():
        arrays |= {f"x_{split}": rows.inputs, f"y_{split}": rows.labels}
    names = list(raw.class_names)
    if names != [str(label) for label in range(len(names))]:
        arrays["class_names"] = np.array(names)
    if raw.meta.columns:
        arrays["feature_names"] = np.array([column.name for column in raw.meta.columns])
    np.savez_compressed(stream, allow_pickle=False, **arrays)


def _frame(raw: Raw) -> tuple[DataFrame, str, str]:
    """Return the rows of all splits, the column of the classes, and further options."""
    import numpy as np
    import pandas as pd

    columns = raw.meta.columns
    taken = {column.name for column in columns}
    target, split_name, weight = (_free(each, taken) for each in (TARGETS, SPLITS, WEIGHTS))
    parts = []
    for split, rows in raw.splits.items():
        values = {
            column.name: rows.inputs[:, place]
            if column.kind == "number"
            else [plain_value(value, column) for value in rows.inputs[:, place].tolist()]
            for place, column in enumerate(columns)
        }
        values[target] = np.array(raw.class_names, dtype=object)[rows.labels]
        if split in raw.weights:
            values[weight] = raw.weights[split]
        parts.append(pd.DataFrame(values).assign(**{split_name: split}))
    options = [f"--drop {split_name}"]
    options += [f"--weight {weight}"] if raw.weights else []
    return pd.concat(parts, ignore_index=True), target, " ".join(options)


def _free(names: tuple[str, ...], taken: set[str]) -> str:
    return next((name for name in names if name not in taken), f"zoo_{names[0]}")
