"""Checks of the saved weights."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import SkipTest

from zoo.errors import UsageError, ZooError
from zoo.model import Model
from zoo.plugins.error_report import reason
from zoo.storage import file_formats
from zoo.testing.checks.behaviour import check_same
from zoo.testing.checks.fixtures import Bench, Broken, Sample
from zoo.training import evaluation

LARGEST = 256 * 2**20
"""Largest weights in bytes after 500 rows; larger files hardly hold only weights."""


def loads_saved_weights(bench: Bench) -> None:
    """A fresh model that loads the saved weights predicts the same to the last bit."""
    before = bench.trained.predictions
    with saved(bench.trained.model) as folder:
        again = bench.fresh()
        again.load(folder)
        check_same(before, evaluation.predict(again, bench.x), "saved and loaded")
        if again.parameters() != bench.trained.model.parameters():
            raise Broken("parameters() differs after saving and loading.")


def saves_no_pickle(bench: Bench) -> None:
    """No file or archive member is a pickle or HDF5, as loading one can run code."""
    with saved(bench.trained.model) as folder:
        found = file_formats.find_unsafe(folder)
    if found:
        raise Broken(f"{found}: save arrays (zoo.weights) and JSON.")


def weights_are_small(bench: Bench) -> None:
    """The weights are at most 256 MB of files in the given folder; their number is valid."""
    with saved(bench.trained.model) as folder:
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


def handles_other_shapes(bench: Bench) -> None:
    """Inputs of other shapes are learned, predicted, saved and loaded, to the last bit.

    They are colour images that are not square and tables of iris, whichever the model takes; one
    that takes missing numbers gets some. A model may reject a shape with a UsageError.
    """
    rejected = []
    others = list(bench.others())
    for sample in others:
        try:
            _check_shape(bench, sample)
        except UsageError as error:
            rejected.append(error.message)
        except (SkipTest, Broken, KeyboardInterrupt):
            raise
        except Exception as error:
            text = error.message if isinstance(error, ZooError) else reason(error, bench.source)
            raise Broken(f"On {sample.title}: {text.rstrip('.')}.") from error
    if len(rejected) == len(others):
        raise SkipTest(f"the model rejects them: {' '.join(rejected)}")


def _check_shape(bench: Bench, sample: Sample) -> None:
    trained = bench.trained_on(sample)
    evaluation.weight_images(trained.model)
    with saved(trained.model) as folder:
        again = bench.fresh(sample=sample)
        again.load(folder)
        after = evaluation.predict(again, sample.x)
    check_same(trained.predictions, after, f"saved and loaded ({sample.title})")


@contextmanager
def saved(model: Model) -> Iterator[Path]:
    """Save a model into a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="zoo-check-") as folder:
        model.save(Path(folder))
        yield Path(folder)


def _files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.rglob("*") if file.is_file())
