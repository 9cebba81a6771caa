"""Models of scikit-learn, and its dataset of handwritten digits."""

from __future__ import annotations

from collections.abc import Callable

import zoo
from zoo_sklearn.boosting import HistGradientBoosting
from zoo_sklearn.classifier import ResumableModel as ResumableModel
from zoo_sklearn.digits import DIGITS
from zoo_sklearn.estimator import SklearnModel as SklearnModel
from zoo_sklearn.features import Quadratic, RadialBases
from zoo_sklearn.forest import RandomForest
from zoo_sklearn.knn import NearestNeighbours
from zoo_sklearn.logistic import Logistic
from zoo_sklearn.pairwise import PairwiseLinear
from zoo_sklearn.perceptron import Perceptron
from zoo_sklearn.stumps import BoostedStumps
from zoo_sklearn.svm import SupportVectors
from zoo_sklearn.trees import TRUSTED as TREES

__all__ = ["MODELS", "TREES", "ResumableModel", "SklearnModel"]

MODELS = (
    *(Logistic, PairwiseLinear, NearestNeighbours, Quadratic),
    *(RadialBases, SupportVectors, BoostedStumps),
    *(RandomForest, HistGradientBoosting, Perceptron),
)


@zoo.hookimpl
def register_models(register: Callable[[type[zoo.Model]], None]) -> None:
    """Register the models."""
    for model in MODELS:
        register(model)


@zoo.hookimpl
def register_datasets(register: Callable[[zoo.Dataset], None]) -> None:
    """Register the dataset that needs no download."""
    register(DIGITS)
