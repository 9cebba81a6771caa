"""Files to which a dataset is exported, read again: the same contents."""

from __future__ import annotations

import shlex
from pathlib import Path

import numpy as np
import pytest
from helpers import added_contents

from zoo import dataset_names
from zoo.data import datasets, exported, sources
from zoo.data.contents import Column, Raw
from zoo.errors import UsageError


@pytest.fixture
def table(home: Path) -> Raw:
    """Numbers, texts, numbers that are categories, missing values and weights, in three splits."""
    columns = (
        Column(name="length"),
        Column(name="colour", kind="category", categories=("blue", "red")),
        Column(name="zone", kind="category", categories=("1", "2")),
    )
    rows = np.array([[0.1, 0, 1], [1 / 3, 1, 0], [np.nan, -1, 1], [4.0, 1, 0]])
    labels = np.array(["no", "yes", "no", "yes"])
    splits = dict.fromkeys(("train", "validation", "test"), (rows, labels))
    weights = {name: np.array([1.0, 0.5, 2.0, 1.5]) for name in splits}
    meta = added_contents.add("t", added_contents.a_table(columns, splits, weights=weights))
    found = datasets.open_added(meta.fingerprint, "t")
    assert found is not None
    return found


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_table_is_read_again_with_the_same_splits(
    table: Raw, tmp_path: Path, suffix: str
) -> None:
    file = tmp_path / f"a b{suffix}"
    words = shlex.split(exported.write(table, file))
    given: dict[str, list[str]] = {}
    for name, value in zip(words[::2], words[1::2], strict=True):
        given.setdefault(name.removeprefix("--"), []).append(value)
    read = sources.of_path(str(file))
    assert read is not None
    options = {
        name: values if name in dataset_names.LISTS else values[0] for name, values in given.items()
    }
    source = sources.spell(sources.extended(read, **options))
    again = datasets.raw(source)
    assert again.meta.counts == {"train": 4, "validation": 4, "test": 4}
    assert again.fingerprint == table.fingerprint


def test_a_file_that_was_not_named_is_not_replaced(table: Raw, tmp_path: Path) -> None:
    mine = tmp_path / "a-test.csv"
    mine.write_text("mine")
    with pytest.raises(UsageError, match=r"'a-test.csv' is there already"):
        exported.write(table, tmp_path / "a.csv")
    assert mine.read_text() == "mine" and not (tmp_path / "a.csv").exists()
    mine.unlink()
    for _ in range(2):
        exported.write(table, tmp_path / "a.csv")
