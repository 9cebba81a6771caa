"""Linear classifiers of features: products of principal components, radial basis functions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import zoo
from zoo import weights
from zoo_sklearn.classifier import (
    LECUN,
    ArraysModel,
    FitArguments,
    WeightedModel,
    require_shape,
    row_count,
    set_linear_arrays,
)

if TYPE_CHECKING:
    from zoo.model import Array

CHUNK = 10_000
"""Inputs whose features are made at once."""


class FeaturesModel(WeightedModel, ArraysModel):
    """A linear classifier of features; a subclass computes them from the inputs.

    Weights of rows count in the classifier, not in the features.
    """

    layout = "flat"
    dtype = "float32"

    def features(self, x: Array) -> Array:
        """Return the features of at most CHUNK inputs, (n, features)."""
        raise NotImplementedError

    def scores(self, x: Array) -> Array:
        import numpy as np

        found = [self.classifier.decision_function(self.features(part)) for part in _parts(x)]
        return np.concatenate(found)

    def fit_linear(self, x: Array, y: Array, sample_weight: Array | None) -> None:
        """Fit the linear classifier to the features of the inputs."""
        import numpy as np

        linear = self.classifier
        features = np.concatenate([self.features(part) for part in _parts(x)])
        linear.fit(features, y, sample_weight)
        # In the memory layout of loaded weights: another one sums in another order.
        linear.coef_ = np.ascontiguousarray(np.atleast_2d(linear.coef_))
        linear.intercept_ = np.broadcast_to(
            linear.intercept_, row_count(len(linear.classes_))
        ).copy()

    def linear(self) -> dict[str, Array]:
        """Return the arrays of the linear classifier."""
        return {"coef": self.classifier.coef_, "intercept": self.classifier.intercept_}

    def parameters(self) -> int:
        return sum(each.size for each in self.arrays().values())


def _parts(x: Array) -> Iterator[Array]:
    return (x[start : start + CHUNK] for start in range(0, len(x), CHUNK))


class QuadraticParams(zoo.Params):
    """The number of principal components, and params of `LogisticRegression`."""

    components: int = zoo.param(40, ge=1, le=100, help="principal components")
    C: float = zoo.param(0.05, gt=0, le=1e9, help="the smaller, the stronger the l2 penalty")
    max_iter: int = zoo.param(60, ge=1, le=100_000, help="most steps of lbfgs")


class Quadratic(FeaturesModel):
    """A linear classifier of all products of two principal components (PCA) of the images."""

    name = "pca-quadratic"
    family = "polynomial"
    paper = LECUN
    Params = QuadraticParams

    def stored(self) -> weights.Expected:
        return {
            "mean": ("float32", (self.n_features,)),
            "components": ("float32", (None, self.n_features)),
            "scaler_mean": ("float64", (None,)),
            "scaler_scale": ("float64", (None,)),
            "coef": ("float32", (None, None)),
            "intercept": ("float32", (None,)),
        }

    def make(self) -> Any:
        from sklearn.linear_model import LogisticRegression

        return LogisticRegression(C=self.params.C, max_iter=self.params.max_iter)

    def learn(self, x: Array, y: Array, report: zoo.Report, given: FitArguments) -> None:
        import numpy as np
        from sklearn.decomposition import PCA
        from sklearn.preprocessing import StandardScaler

        # There are no more components than images.
        count = min(self.params.components, *x.shape)
        self.pca = PCA(count, random_state=self.seed).fit(x)
        self.pca.components_ = np.ascontiguousarray(self.pca.components_)
        report(1, 3, "stage")
        self.scaler = StandardScaler()
        for part in _parts(x):
            self.scaler.partial_fit(self._products(part))
        report(2, 3, "stage")
        self.fit_linear(x, y, given.sample_weight)
        report(3, 3, "stage")

    def features(self, x: Array) -> Array:
        found: Array = self.scaler.transform(self._products(x))
        return found

    def arrays(self) -> dict[str, Array]:
        scaler = {"scaler_mean": self.scaler.mean_, "scaler_scale": self.scaler.scale_}
        mapping = {"mean": self.pca.mean_, "components": self.pca.components_}
        return mapping | scaler | self.linear()

    def set_arrays(self, arrays: dict[str, Array]) -> None:
        from sklearn.decomposition import PCA
        from sklearn.preprocessing import StandardScaler

        count = len(arrays["components"])
        n_features = count + count * (count + 1) // 2
        for name in ("scaler_mean", "scaler_scale"):
            require_shape(arrays[name].shape, (n_features,))
        require_shape(arrays["coef"].shape[1:], (n_features,))
        self.pca = PCA(count)
        self.pca.mean_, self.pca.components_ = arrays["mean"], arrays["components"]
        self.scaler = StandardScaler()
        self.scaler.mean_, self.scaler.scale_ = arrays["scaler_mean"], arrays["scaler_scale"]
        set_linear_arrays(self.classifier, arrays)

    def estimator(self) -> Any:
        import numpy as np
        from sklearn.pipeline import make_pipeline

        products = self._squares().fit(np.zeros((1, len(self.pca.components_))))
        # Attributes that skl2onnx needs beside the arrays.
        self.pca.n_components_ = len(self.pca.components_)
        self.scaler.n_features_in_ = len(self.scaler.mean_)
        return make_pipeline(self.pca, products, self.scaler, self.classifier)

    def _squares(self) -> Any:
        from sklearn.preprocessing import PolynomialFeatures

        return PolynomialFeatures(2, include_bias=False)

    def _products(self, x: Array) -> Array:
        products = self._squares()
        found: Array = products.fit_transform(self.pca.transform(x))
        return found


class RadialParams(zoo.Params):
    """Params of the radial basis functions and of `RidgeClassifier`."""

    centres: int = zoo.param(1000, ge=10, le=10_000, help="basis functions, of all classes")
    gamma: float = zoo.param(0.04, gt=0, le=1e6, help="exp(-gamma * squared distance)")
    alpha: float = zoo.param(0.01, gt=0, le=1e9, help="strength of the l2 penalty")


class RadialBases(FeaturesModel):
    """Radial basis functions around centres of each class (k-means), then a linear classifier.

    The probabilities are the softmax of its scores: they rank the classes, and are not calibrated.
    """

    name = "rbf-network"
    takes = ("image", "table")
    family = "radial basis functions"
    paper = LECUN
    # scikit-learn has no pipeline step for the distances to given centres.
    formats = ()
    Params = RadialParams

    def stored(self) -> weights.Expected:
        return {
            "centres": ("float32", (None, self.n_features)),
            "coef": ("float32", (None, None)),
            "intercept": ("float32", (None,)),
        }

    def make(self) -> Any:
        from sklearn.linear_model import RidgeClassifier

        return RidgeClassifier(alpha=self.params.alpha)

    def learn(self, x: Array, y: Array, report: zoo.Report, given: FitArguments) -> None:
        import numpy as np
        from sklearn.cluster import KMeans

        labels = np.unique(y)
        centres = []
        for step, label in enumerate(labels, 1):
            inputs = x[y == label]
            count = min(max(1, self.params.centres // len(labels)), len(inputs))
            found = KMeans(count, n_init=1, random_state=self.seed).fit(inputs)
            centres.append(found.cluster_centers_)
            report(step, len(labels) + 1, "stage")
        self.centres = np.concatenate(centres)
        self.fit_linear(x, y, given.sample_weight)
        report(len(labels) + 1, len(labels) + 1, "stage")

    def features(self, x: Array) -> Array:
        from sklearn.metrics.pairwise import rbf_kernel

        found: Array = rbf_kernel(x, self.centres, gamma=self.params.gamma)
        return found

    def arrays(self) -> dict[str, Array]:
        return {"centres": self.centres} | self.linear()

    def set_arrays(self, arrays: dict[str, Array]) -> None:
        self.centres = arrays["centres"]
        require_shape(arrays["coef"].shape[1:], (len(self.centres),))
        set_linear_arrays(self.classifier, arrays)
