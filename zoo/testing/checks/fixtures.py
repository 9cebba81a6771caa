"""The model under test, the inputs to train it on, and the training shared by the checks."""

from __future__ import annotations

import contextlib
import functools
import gc
import inspect
import os
import random
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import SkipTest

from zoo.data import contents, datasets, takes
from zoo.data.contents import Column, Inputs, Meta
from zoo.data.preprocessing import prepare
from zoo.errors import UsageError
from zoo.job_spec import NO_STEPS
from zoo.model import Dataset, Model, Report
from zoo.training import evaluation

if TYPE_CHECKING:
    from zoo.model import Array

SEED = 42
N_ROWS = 500
"""Training rows: enough for ten classes, few enough for a slow model to train in seconds."""
N_OTHERS = 100
"""Training rows of another shape, which each cost a training."""
DATASET = "digits"
"""The dataset by default; a model of tables alone is checked on iris instead."""
SIDES = (12, 10)
"""Height and width of images of another shape, unless the model needs larger ones."""
MISSING = 0.1
"""Share of missing numbers in a table for models that take them."""


class Broken(AssertionError):
    """The model breaks the contract; the message says how."""


@dataclass
class Reports:
    """A `report` function that records its calls."""

    steps: list[tuple[int, int, dict[str, float]]] = field(default_factory=list)
    ended_early: str = ""

    def __call__(self, step: int, total: int, unit: str = "epoch", **metrics: float) -> None:
        """Record one report."""
        self.steps.append((step, total, metrics))

    def share(self, at: int = -1) -> float:
        """Return the share of the training that was done at a report, 0 without any."""
        step, total, _ = self.steps[at] if self.steps else (0, 1, {})
        return step / total

    def done(self, why: str) -> None:
        """Record that `fit` ends before its last step."""
        self.ended_early = why


@dataclass(frozen=True)
class Sample:
    """Inputs with labels, prepared as for a job of the model."""

    inputs: Inputs
    x: Array
    """(n, features), or for the layout "image" (n, height, width[, 3]); read-only."""
    y: Array
    """Labels as in the dataset, int64 (n,)."""
    class_names: tuple[str, ...]

    @property
    def title(self) -> str:
        """The shape in words, such as `12 x 10 colour images` or `a table of 4 columns`."""
        shape = self.inputs.describe_shape()
        return f"{shape} images" if self.inputs.kind == "image" else f"a table of {shape}"


@dataclass
class Trained:
    """A trained model, its reports, and its predictions on the training inputs."""

    model: Model
    reports: Reports
    predictions: evaluation.Predictions


class Bench:
    """One model with params on one dataset; the first training is shared by all checks."""

    def __init__(
        self, model: type[Model], params: Mapping[str, Any] | None = None, dataset: str = DATASET
    ) -> None:
        self.model = model
        self.params = model.Params.resolve(params or {})
        self.dataset = dataset
        self._has_failed = False

    @property
    def source(self) -> str:
        """The file of the model."""
        return inspect.getfile(self.model)

    @property
    def module(self) -> str:
        """The module of the model."""
        return self.model.__module__

    @functools.cached_property
    def sample(self) -> Sample:
        """Training rows of the dataset, mapped read-only as in a job.

        Raises UsageError if the model does not take the dataset.
        """
        if self.dataset == DATASET and "image" not in self.model.takes:
            return _table(self.model)
        found = prepare(self.dataset, "train", self.model.layout, self.model.dtype)
        takes.check_inputs(takes.Takes.of(self.model), found.meta, NO_STEPS)
        return Sample(found.meta.inputs, found.x[:N_ROWS], found.y[:N_ROWS], found.class_names)

    def others(self) -> Iterator[Sample]:
        """Yield training rows of other shapes: of each kind of dataset that the model takes."""
        main = self.sample.inputs
        if "image" in self.model.takes:
            yield _colour(self.model)
        if "table" in self.model.takes:
            if len(main.columns) != len(_table(self.model).inputs.columns):
                yield _table(self.model)
            yield _table(self.model, columns=3, missing=self.model.takes_missing)

    @property
    def x(self) -> Array:
        """The inputs of `sample`."""
        return self.sample.x

    @property
    def y(self) -> Array:
        """The labels of `sample`."""
        return self.sample.y

    @property
    def names(self) -> tuple[str, ...]:
        """Class names of the dataset."""
        return self.sample.class_names

    @property
    def unit(self) -> str:
        """The word for several inputs, in messages."""
        return self.sample.inputs.unit

    @functools.cached_property
    def trained(self) -> Trained:
        """The shared training. Raises what the model raises, and SkipTest from then on."""
        if self._has_failed:
            raise SkipTest("training or prediction failed in an earlier check")
        self._has_failed = True
        model, reports = self.fitted(self.x, self.y)
        found = Trained(model, reports, evaluation.predict(model, self.x))
        self._has_failed = False
        return found

    def fresh(self, names: Sequence[str] | None = None, sample: Sample | None = None) -> Model:
        """Return an untrained model for `names`, by default the classes of the sample.

        `sample` is what it will be trained on, by default the dataset. Raises SkipTest if the
        model rejects these classes.
        """
        sample = sample or self.sample
        # As a worker has them.
        params = self.model.Params.resolve(self.params.model_dump(mode="json"))
        try:
            model = self.model(params, names or sample.class_names, SEED)
        except UsageError as error:
            raise SkipTest(f"the model rejects these classes: {error.message}") from None
        model.input_shape = sample.inputs.input_shape
        model.feature_names = sample.inputs.feature_names
        return model

    def fitted(
        self, x: Array, y: Array, names: Sequence[str] | None = None, report: Report | None = None
    ) -> tuple[Model, Reports]:
        """Train a fresh model on rows of the dataset, as a job does."""
        reports = Reports()
        return self.fit(self.fresh(names), x, y, report or reports), reports

    def trained_on(self, sample: Sample) -> Trained:
        """Train a fresh model on a sample, as a job does."""
        reports = Reports()
        model = self.fit(self.fresh(sample=sample), sample.x, sample.y, reports)
        return Trained(model, reports, evaluation.predict(model, sample.x))

    def fit(self, model: Model, x: Array, y: Array, report: Report, **asked: Any) -> Model:
        """Train with labels mapped and the global generators seeded; returns the model.

        `asked` are arguments that its `fit` names, as a job passes them.
        """
        import numpy as np

        labels = evaluation.targets(model, y)
        random.seed(SEED)
        np.random.seed(SEED)
        model.fit(x, labels, report, **asked)
        return model


def _colour(model: type[Model]) -> Sample:
    """Colour images that are not square, made of the digits."""
    import numpy as np

    found = prepare(DATASET, "train", "image", model.dtype)
    grey, y = found.x[:N_OTHERS], found.y[:N_OTHERS]
    height, width = (max(side, model.min_side + side - min(SIDES)) for side in SIDES)
    # The middle, where the strokes are, at the wanted size: the nearest pixel of each.
    rows = np.linspace(4, 23, height).round().astype(int)
    columns = np.linspace(4, 23, width).round().astype(int)
    small = grey[:, rows][:, :, columns]
    x = np.stack([small, small / 2, 1 - small], axis=-1).astype(model.dtype)
    if model.layout == "flat":
        x = x.reshape(len(x), -1)
    return Sample(Inputs(shape=(height, width, 3)), read_only(x), y, found.class_names)


def _table(model: type[Model], columns: int = 4, missing: bool = False) -> Sample:
    """Some columns of Fisher's iris, in a fixed random order of the rows."""
    import numpy as np
    from sklearn.datasets import load_iris

    random = np.random.default_rng(SEED)
    iris = load_iris()
    order = random.permutation(len(iris.data))
    values = iris.data[order, :columns].astype(model.dtype)
    if missing:
        values[random.random(values.shape) < MISSING] = np.nan
    about = Inputs(
        kind="table",
        shape=(columns,),
        dtype="float64",
        columns=tuple(
            Column(name=name, has_missing=missing) for name in iris.feature_names[:columns]
        ),
    )
    y = iris.target[order].astype("int64")
    return Sample(about, read_only(values), y, tuple(map(str, iris.target_names)))


def read_only(array: Array) -> Array:
    """Make the array read-only, as the inputs of a job are."""
    array.flags.writeable = False
    return array


@dataclass
class Loaded:
    """One call of `load` of a dataset, and its traces."""

    meta: Meta
    """What it returned, as Zoo keeps it."""
    training: dict[str, int]
    """Training rows of each class."""
    printed: str
    """What it wrote to stdout."""
    left_open: list[str]
    """The files that it opened and did not close."""


class DatasetBench:
    """One dataset of a plugin; two calls of `load` are shared by all checks."""

    def __init__(self, dataset: Dataset, path: str = "") -> None:
        """Take a dataset, of a scheme with the text after the colon.

        Raises UsageError for a scheme without it.
        """
        if dataset.scheme and not path:
            raise UsageError(
                f"The dataset '{dataset.name}' needs a path.", f"Check {dataset.name}:PATH."
            )
        self.dataset = dataset
        self._path = path
        self._printed = ""
        self._has_failed = False

    @functools.cached_property
    def _load(self) -> Any:
        load = inspect.unwrap(self.dataset.load)
        while isinstance(load, functools.partial):
            load = load.func
        return load

    @property
    def module(self) -> str:
        """The module of `load`."""
        return str(getattr(self._load, "__module__", ""))

    @property
    def source(self) -> str:
        """The file of `load`."""
        return str(getattr(sys.modules.get(self.module), "__file__", None) or self.module)

    @functools.cached_property
    def first(self) -> Loaded:
        """The first call of `load`. Raises what it raises, and SkipTest from then on."""
        return self._loaded()

    @functools.cached_property
    def second(self) -> Loaded:
        """Another call, for which all libraries are imported already."""
        self.first  # noqa: B018
        return self._loaded()

    def _loaded(self) -> Loaded:
        if self._has_failed:
            raise SkipTest("load failed in an earlier check")
        self._has_failed = True
        recorded = replace(self.dataset, load=self._recorded)
        before = _open_files()
        with tempfile.TemporaryDirectory(prefix="zoo-check-") as folder, _unclosed() as unclosed:
            meta = datasets.fill_from_plugin(Path(folder), recorded, self.source, self._path)
            training = _counts(Path(folder), meta)
            gc.collect()
            left = [*unclosed, *(path for path, _ in sorted(_open_files() - before))]
        self._has_failed = False
        return Loaded(meta, training, self._printed, left)

    def _recorded(self, *args: str) -> Any:
        with _stdout_kept() as kept:
            given = self.dataset.load(*args)
        self._printed = kept.decode(errors="replace")
        sys.stderr.write(self._printed)  # for `-v`
        return given


def _counts(folder: Path, meta: Meta) -> dict[str, int]:
    import numpy as np

    labels = np.load(folder / contents.labels_file("train"), allow_pickle=False)
    counts = np.bincount(labels, minlength=len(meta.class_names)).tolist()
    return dict(zip(meta.class_names, counts, strict=True))


def _open_files() -> set[tuple[str, int]]:
    import psutil

    return {(file.path, file.fd) for file in psutil.Process().open_files()}


@contextlib.contextmanager
def _unclosed() -> Iterator[list[str]]:
    """Yield ResourceWarnings about files that were left open."""
    found: list[str] = []

    def note(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
        if category is ResourceWarning:
            found.append(str(message))

    with warnings.catch_warnings():
        warnings.simplefilter("always", ResourceWarning)
        warnings.showwarning = note
        yield found


@contextlib.contextmanager
def _stdout_kept() -> Iterator[bytearray]:
    """Keep what is written to stdout, also by native code and child processes."""
    kept = bytearray()
    with tempfile.TemporaryFile() as file, open(file.fileno(), "w", closefd=False) as stream:
        saved = os.dup(1)
        try:
            os.dup2(file.fileno(), 1)
            with contextlib.redirect_stdout(stream):
                yield kept
            stream.flush()
        finally:
            os.dup2(saved, 1)
            os.close(saved)
            file.seek(0)
            kept += file.read()
