"""The bench: a model class, images to try it on, and what the checks share."""

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
"""Images to train on: enough for each of ten classes, and a slow model is still done in seconds."""
DATASET = "digits"


class Broken(AssertionError):
    """The model does not keep the contract; the message is a sentence."""


@dataclass
class Reports:
    """A `report` that keeps what it is told."""

    steps: list[tuple[int, int, dict[str, float]]] = field(default_factory=list)

    def __call__(self, step: int, total: int, unit: str = "epoch", **metrics: float) -> None:
        self.steps.append((step, total, metrics))


@dataclass
class Trained:
    """A model that was trained on the bench's images, and what it then said of them."""

    model: Model
    reports: Reports
    says: evaluation.Predictions


class Bench:
    """One model with its params on one dataset; its first training is shared by all checks."""

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
        """Scaled images (n, ...), mapped read-only as every job gets them."""
        return self._data.x[:N_IMAGES]

    @functools.cached_property
    def labels(self) -> Array:
        """The dataset's labels of these images, int64 (n,)."""
        return self._data.y[:N_IMAGES]

    @property
    def names(self) -> tuple[str, ...]:
        """The dataset's class names."""
        return self._data.class_names

    @functools.cached_property
    def _data(self) -> Prepared:
        return prepare(self.dataset, "train", self.model.layout, self.model.dtype)

    @functools.cached_property
    def trained(self) -> Trained:
        """The model, trained; whatever it raises, and after that SkipTest."""
        if self._has_failed:
            raise SkipTest("the model cannot be trained or asked; see the checks before")
        self._has_failed = True
        model, reports = self.fitted(self.images, self.labels)
        found = Trained(model, reports, evaluation.predict(model, self.images))
        self._has_failed = False
        return found

    def fresh(self, names: Sequence[str] | None = None) -> Model:
        """An untrained model for the dataset's classes, or for these.

        Raises SkipTest where the model itself refuses these classes.
        """
        try:
            return self.model(self.params, names or self.names, SEED)
        except UsageError as error:
            raise SkipTest(f"the model refuses these classes: {error.message}") from None

    def fitted(
        self, x: Array, y: Array, names: Sequence[str] | None = None, report: Report | None = None
    ) -> tuple[Model, Reports]:
        """Train a fresh model as a job does: labels translated, the global generators seeded."""
        import numpy as np

        reports = Reports()
        model = self.fresh(names)
        labels = evaluation.targets(model, y)
        random.seed(SEED)
        np.random.seed(SEED)
        model.fit(x, labels, report or reports)
        return model, reports


def read_only(array: Array) -> Array:
    """The array, locked as a job's images are."""
    array.flags.writeable = False
    return array
