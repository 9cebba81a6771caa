"""Checks of what a trained model saves."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from zoo.storage import file_formats
from zoo.testing.checks.behaviour import same_answers
from zoo.testing.checks.fixtures import SEED, Bench, Broken
from zoo.training import evaluation

LARGEST = 256 * 2**20
"""Bytes of weights from 500 images; larger ones are most likely more than weights."""


def loads_what_it_saved(bench: Bench) -> None:
    """A fresh model that loads the saved weights says the same to the last bit."""
    before = bench.trained.says
    with _saved(bench) as folder:
        params = bench.model.Params.resolve(bench.params.model_dump(mode="json"))
        again = bench.model(params, bench.names, SEED)
        again.load(folder)
        same_answers(before, evaluation.predict(again, bench.images), "saved and loaded")
        if again.parameters() != bench.trained.model.parameters():
            raise Broken("It counts other parameters when saved and loaded.")


def saves_no_pickle(bench: Bench) -> None:
    """No file, nor a member of an archive, is a pickle or HDF5: whoever loads one runs its code."""
    with _saved(bench) as folder:
        found = file_formats.find_unsafe(folder)
    if found:
        raise Broken(f"{found}: save arrays (zoo.weights) and JSON.")


def saves_little(bench: Bench) -> None:
    """The weights are files in the folder they are given, of a sane size, and counted."""
    with _saved(bench) as folder:
        sizes = {file: file.stat().st_size for file in _files(folder)}
        if not sizes:
            raise Broken("save leaves no file in the folder.")
        if sum(sizes.values()) > LARGEST:
            largest = max(sizes, key=lambda file: sizes[file])
            raise Broken(
                f"The weights are {sum(sizes.values()) / 2**20:.0f} MB, most of it "
                f"{largest.name}; {LARGEST // 2**20} MB is the most that a model may keep here."
            )
    count = bench.trained.model.parameters()
    if count is not None and not (isinstance(count, int) and count >= 0):
        raise Broken(f"parameters() gives {count!r}, not a whole number or None.")


@contextmanager
def _saved(bench: Bench) -> Iterator[Path]:
    model = bench.trained.model
    with tempfile.TemporaryDirectory(prefix="zoo-check-") as folder:
        model.save(Path(folder))
        yield Path(folder)


def _files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.rglob("*") if file.is_file())
