"""Write a dataset into files: arrays as npz, a table also as CSV or Parquet.

A table is a file for each split, which the readers take as they are: the training rows in the file
that is asked for, and the others beside it.
"""

from __future__ import annotations

import contextlib
import shlex
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
WEIGHTS = ("weight", "zoo_weight")


def check_suffix(file: Path) -> None:
    """Raise UsageError for a name of a file in no known format."""
    if file.suffix.lower() not in SUFFIXES:
        raise UsageError(
            f"'{file.name}' is no file of a known format.", f"End it in {', '.join(SUFFIXES)}."
        )


def write(raw: Raw, file: Path) -> str:
    """Write a dataset into a file, or a file for each split; each appears whole or not at all.

    The test rows of a table go into `FILE-test.csv`, those for validation into
    `FILE-validation.csv`. An existing file is replaced, but one beside a new FILE is not.

    Returns the options with which `zoo data add` reads the same contents again. Raises UsageError
    for a table with categories in npz, images in a table, or a file in the way, ZooError if it
    cannot be written.
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
    first = next(iter(raw.splits))
    files = {split: beside(file, split) for split in raw.splits} | {first: file}
    in_the_way = [each for each in files.values() if each != file and each.exists()]
    if in_the_way and not file.exists():
        raise UsageError(
            f"'{in_the_way[0].name}' is there already, and '{file.name}' is new.",
            "Remove it, or choose another name.",
        )
    target, weight = _names(raw)
    for split, path in files.items():
        frame = _frame(raw, split, target, weight)
        with _written(path) as stream:
            if suffix == ".csv":
                frame.to_csv(stream, index=False)
            else:
                frame.to_parquet(stream, index=False)
    return shlex.join(_options(raw, files, target, weight))


def beside(file: Path, split: str) -> Path:
    """Return the file for another split of a table than that of `file`."""
    return file.with_name(f"{file.stem}-{split}{file.suffix}")


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


def _names(raw: Raw) -> tuple[str, str]:
    """The names of the columns with the classes and the weights."""
    taken = {column.name for column in raw.meta.columns}
    return _free(TARGETS, taken), _free(WEIGHTS, taken)


def _frame(raw: Raw, split: str, target: str, weight: str) -> DataFrame:
    """The rows of a split."""
    import numpy as np
    import pandas as pd

    rows = raw.splits[split]
    values: dict[str, Any] = {
        column.name: rows.inputs[:, place]
        if column.kind == "number"
        else [plain_value(value, column) for value in rows.inputs[:, place].tolist()]
        for place, column in enumerate(raw.meta.columns)
    }
    values[target] = np.array(raw.class_names, dtype=object)[rows.labels]
    if raw.weights:
        values[weight] = raw.weights.get(split, np.ones(len(rows.labels)))
    return pd.DataFrame(values)


def _options(raw: Raw, files: dict[str, Path], target: str, weight: str) -> list[str]:
    """The words after `zoo data add NAME FILE` that read the files as they are meant."""
    words = ["--target", target]
    first, *others = files
    for split in others:
        words += [f"--{split}", str(files[split])]
    if first == "test":  # there are no others: all rows are the test split
        words += ["--test", "1"]
    for column in raw.meta.columns:
        if column.kind == "category" and all(map(_is_number, column.categories)):
            words += ["--category", column.name]
    if raw.weights:
        words += ["--weight", weight]
    if raw.meta.metric:
        words += ["--metric", raw.meta.metric]
    return words


def _is_number(text: str) -> bool:
    """Return whether a name would be read as a number."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def _free(names: tuple[str, ...], taken: set[str]) -> str:
    return next((name for name in names if name not in taken), f"zoo_{names[0]}")
