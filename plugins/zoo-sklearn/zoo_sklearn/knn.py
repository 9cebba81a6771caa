"""The k nearest neighbours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import zoo
from zoo import weights
from zoo.errors import UsageError
from zoo_sklearn.classifier import CLASSES, ArraysModel, FitArguments

if TYPE_CHECKING:
    from zoo.model import Array


class NearestParams(zoo.Params):
    """Params of `KNeighborsClassifier`."""

    n_neighbors: int = zoo.param(3, ge=1, le=1000, help="training inputs that vote")
    weights: Literal["uniform", "distance"] = zoo.param(
        "uniform", help="distance: a nearer one's vote counts more"
    )


class NearestNeighbours(ArraysModel):
    """The classes of the nearest training inputs, by Euclidean distance of all features."""

    name = "knn"
    takes = ("image", "table")
    family = "nearest neighbours"
    paper = "Cover & Hart 1967, Nearest neighbor pattern classification"
    layout = "flat"
    dtype = "float32"
    Params = NearestParams

    def stored(self) -> weights.Expected:
        return {"x": ("float32", (None, self.n_features)), "y": ("int64", (None,))}

    def make(self) -> Any:
        from sklearn.neighbors import KNeighborsClassifier

        # Brute force multiplies matrices in blocks; with MNIST's 784 pixels no tree is faster.
        return KNeighborsClassifier(**self.params.model_dump(), algorithm="brute")

    def learn(self, x: Array, y: Array, report: zoo.Report, given: FitArguments) -> None:
        if len(x) < self.params.n_neighbors:
            raise UsageError(
                f"There are {len(x)} training inputs, fewer than n_neighbors.",
                f"Set n_neighbors to at most {len(x)}.",
            )
        self.y = y
        super().learn(x, y, report, given)

    def probabilities(self, x: Array) -> Array:
        found: Array = self.classifier.predict_proba(x)
        return found

    def arrays(self) -> dict[str, Array]:
        return {"x": self.classifier._fit_X, "y": self.y}

    def set_arrays(self, arrays: dict[str, Array]) -> None:
        # Fitting only keeps the inputs.
        self.y = arrays["y"]
        self.classifier.fit(arrays["x"], self.y)
        if self.classifier.classes_.tolist() != arrays[CLASSES].tolist():
            raise ValueError("the labels do not match the classes")
