"""The model under test, the images to train it on, and the training shared by the checks."""

from __future__ import annotations

import functools
import inspect
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from unittest import SkipTest

from zoo.data.preprocessing import Prepared, prepare
from zoo.errors import UsageError
from zoo.model import Model, Report
from zoo.training import evaluation

if TYPE_CHECKING:
    from zoo.model import Array

SEED = 42
N_IMAGES = 500
"""Training images: enough for ten classes, few enough for a slow model to train in seconds."""
DATASET = "digits"


class Broken(AssertionError):
    """The model breaks the contract; the message says how."""


@dataclass
class Reports:
    """A `report` function that records its calls."""

    steps: list[tuple[int, int, dict[str, float]]] = field(default_factory=list)

    def __call__(self, step: int, total: int, unit: str = "epoch", **metrics: float) -> None:
        """Record one report."""
        self.steps.append((step, total, metrics))


@dataclass
class Trained:
    """A trained model, its reports, and its predictions on the training images."""

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

    @functools.cached_property
    def images(self) -> Array:
        """Scaled images (n, ...), memory-mapped read-only as in a job."""
        return self._data.x[:N_IMAGES]

    @functools.cached_property
    def labels(self) -> Array:
        """Labels of the images as in the dataset, int64 (n,)."""
        return self._data.y[:N_IMAGES]

    @property
    def names(self) -> tuple[str, ...]:
        """Class names of the dataset."""
        return self._data.class_names

    @functools.cached_property
    def _data(self) -> Prepared:
        return prepare(self.dataset, "train", self.model.layout, self.model.dtype)

    @functools.cached_property
    def trained(self) -> Trained:
        """The shared training. Raises what the model raises, and SkipTest from then on."""
        if self._has_failed:
            raise SkipTest("training or prediction failed in an earlier check")
        self._has_failed = True
        model, reports = self.fitted(self.images, self.labels)
        found = Trained(model, reports, evaluation.predict(model, self.images))
        self._has_failed = False
        return found

    def fresh(self, names: Sequence[str] | None = None) -> Model:
        """Return an untrained model for `names`, by default the classes of the dataset.

        Raises SkipTest if the model rejects these classes.
        """
        try:
            model = self.model(self.params, names or self.names, SEED)
        except UsageError as error:
            raise SkipTest(f"the model rejects these classes: {error.message}") from None
        model.input_shape = self._data.meta.input_shape
        model.feature_names = self._data.meta.feature_names
        return model

    def fitted(
        self, x: Array, y: Array, names: Sequence[str] | None = None, report: Report | None = None
    ) -> tuple[Model, Reports]:
        """Train a fresh model as a job does: labels mapped, the global generators seeded."""
        import numpy as np

        reports = Reports()
        model = self.fresh(names)
        labels = evaluation.targets(model, y)
        random.seed(SEED)
        np.random.seed(SEED)
        model.fit(x, labels, report or reports)
        return model, reports


def read_only(array: Array) -> Array:
    """Make the array read-only, as the images of a job are."""
    array.flags.writeable = False
    return array
