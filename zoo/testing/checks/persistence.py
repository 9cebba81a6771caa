"""Checks of the saved weights."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from zoo.storage import file_formats
from zoo.testing.checks.behaviour import check_same
from zoo.testing.checks.fixtures import SEED, Bench, Broken
from zoo.training import evaluation

LARGEST = 256 * 2**20
"""Largest weights in bytes after 500 images; larger files hardly hold only weights."""


def loads_saved_weights(bench: Bench) -> None:
    """A fresh model that loads the saved weights predicts the same to the last bit."""
    before = bench.trained.predictions
    with _saved(bench) as folder:
        params = bench.model.Params.resolve(bench.params.model_dump(mode="json"))
        again = bench.model(params, bench.names, SEED)
        again.load(folder)
        check_same(before, evaluation.predict(again, bench.images), "saved and loaded")
        if again.parameters() != bench.trained.model.parameters():
            raise Broken("parameters() differs after saving and loading.")


def saves_no_pickle(bench: Bench) -> None:
    """No file or archive member is a pickle or HDF5, as loading one can run code."""
    with _saved(bench) as folder:
        found = file_formats.find_unsafe(folder)
    if found:
        raise Broken(f"{found}: save arrays (zoo.weights) and JSON.")


def weights_are_small(bench: Bench) -> None:
    """The weights are at most 256 MB of files in the given folder; their number is valid."""
    with _saved(bench) as folder:
        sizes = {file: file.stat().st_size for file in _files(folder)}
        if not sizes:
            raise Broken("save writes no file into the folder.")
        if sum(sizes.values()) > LARGEST:
            largest = max(sizes, key=lambda file: sizes[file])
            raise Broken(
                f"The weights are {sum(sizes.values()) / 2**20:.0f} MB, the largest file is "
                f"{largest.name}; the limit is {LARGEST // 2**20} MB."
            )
    count = bench.trained.model.parameters()
    if count is not None and not (isinstance(count, int) and count >= 0):
        raise Broken(f"parameters() returns {count!r}, not a non-negative integer or None.")


@contextmanager
def _saved(bench: Bench) -> Iterator[Path]:
    model = bench.trained.model
    with tempfile.TemporaryDirectory(prefix="zoo-check-") as folder:
        model.save(Path(folder))
        yield Path(folder)


def _files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.rglob("*") if file.is_file())
