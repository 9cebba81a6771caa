"""The support vector machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import zoo
import zoo_sklearn.threads as threads
from zoo import weights
from zoo.errors import UsageError
from zoo_sklearn.classifier import (
    CLASSES,
    ArraysModel,
    FitArguments,
    WeightedModel,
    require_shape,
)

if TYPE_CHECKING:
    from zoo.model import Array

CACHE_MB = 1000
"""Size of libsvm's cache of kernel values while it fits."""


class SupportVectorsParams(zoo.Params):
    """Params of `SVC`."""

    kernel: Literal["rbf", "poly", "linear", "sigmoid"] = zoo.param(
        "rbf", help="rbf is the Gaussian; poly is (gamma * <a, b> + coef0) ** degree"
    )
    C: float = zoo.param(10.0, gt=0, le=1e9, help="the smaller, the stronger the l2 penalty")
    gamma: float | None = zoo.param(
        None, gt=0, le=1e6, help="of rbf, poly, sigmoid; null: 1 / (features * variance)"
    )
    degree: int = zoo.param(3, ge=1, le=20, help="of poly")
    coef0: float = zoo.param(0.0, ge=-1e6, le=1e6, help="of poly and sigmoid")
    unit_length: bool = zoo.param(
        False, help="scale each input to length 1: a thick stroke then weighs no more than a thin"
    )
    solver: Literal["libsvm", "onedal"] = zoo.param(
        "libsvm", help="onedal is faster from ten thousand rows on; needs zoo-sklearn[onedal]"
    )


class SupportVectors(WeightedModel, ArraysModel):
    """A support vector machine of each two classes, and a vote (libsvm).

    The probabilities are the softmax of votes and margins: they rank the classes as the machine
    does, and are not calibrated. With the solver oneDAL the weights differ from libsvm's within
    the tolerance of both.
    """

    name = "svm"
    takes = ("image", "table")
    family = "support vector machine"
    paper = "Cortes & Vapnik 1995, Support-vector networks"
    layout = "flat"
    dtype = "float64"
    Params = SupportVectorsParams

    def stored(self) -> weights.Expected:
        return {
            "support": ("int32", (None,)),
            "support_vectors": ("float64", (None, self.n_features)),
            "n_support": ("int32", (None,)),
            "dual_coef": ("float64", (None, None)),
            "intercept": ("float64", (None,)),
            "gamma": ("float64", ()),
        }

    def make(self) -> Any:
        from sklearn.svm import SVC

        return SVC(**self._arguments())

    def _arguments(self) -> dict[str, Any]:
        params: dict[str, Any] = self.params.model_dump(exclude={"unit_length", "solver"})
        params["gamma"] = params["gamma"] or "scale"
        # Otherwise a tie of votes goes to the first class, whatever the margins.
        return params | {"cache_size": CACHE_MB, "break_ties": True}

    def learn(self, x: Array, y: Array, report: zoo.Report, given: FitArguments) -> None:
        if given.sample_weight is not None:
            import numpy as np

            # libsvm drops rows that weigh nothing, and then misses the class that had no others.
            kept = np.isin(y, y[given.sample_weight > 0])
            if not kept.all():
                x, y = x[kept], y[kept]
                given = given._replace(sample_weight=given.sample_weight[kept])
        if self.params.solver == "onedal":
            self._learn_with_onedal(self.features(x), y, given.sample_weight)
            report(1, 1, "fit")
        else:
            super().learn(self.features(x), y, report, given)

    def _learn_with_onedal(self, x: Array, y: Array, sample_weight: Array | None) -> None:
        """Fit with oneDAL, and keep its numbers in an estimator of scikit-learn."""
        try:
            from daal4py import daalinit
            from sklearnex.svm import SVC
        except ImportError:
            raise UsageError(
                "solver=onedal needs scikit-learn-intelex, which is not installed.",
                "Install it where the worker runs, `pip install 'zoo-sklearn[onedal]'`, "
                "or leave out solver.",
            ) from None
        if (share := threads.share()) > 0:
            daalinit(share)
        fitted = SVC(**self._arguments()).fit(x, y, sample_weight)
        self.set_arrays(arrays_of(fitted) | {CLASSES: fitted.classes_})

    def scores(self, x: Array) -> Array:
        return super().scores(self.features(x))

    def features(self, x: Array) -> Array:
        """Return the input of the kernel."""
        from sklearn.preprocessing import normalize

        return normalize(x) if self.params.unit_length else x

    def estimator(self) -> Any:
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import Normalizer

        machine = self.classifier
        return make_pipeline(Normalizer(), machine) if self.params.unit_length else machine

    def arrays(self) -> dict[str, Array]:
        return arrays_of(self.classifier)

    def set_arrays(self, arrays: dict[str, Array]) -> None:
        import numpy as np

        known, vectors = len(arrays[CLASSES]), len(arrays["support_vectors"])
        # libsvm trusts these sizes: a wrong one would read out of bounds.
        require_shape(arrays["support"].shape, (vectors,))
        require_shape(arrays["n_support"].shape, (known,))
        require_shape(arrays["dual_coef"].shape, (known - 1, vectors))
        require_shape(arrays["intercept"].shape, (known * (known - 1) // 2,))
        if arrays["n_support"].min() < 0 or arrays["n_support"].sum() != vectors:
            raise ValueError("the numbers of support vectors do not add up")
        machine = self.classifier
        machine.classes_ = arrays[CLASSES]
        machine.support_, machine._n_support = arrays["support"], arrays["n_support"]
        machine.support_vectors_ = arrays["support_vectors"]
        machine._dual_coef_, machine._intercept_ = arrays["dual_coef"], arrays["intercept"]
        # For two classes scikit-learn exposes libsvm's numbers with the opposite sign.
        sign = -1 if known == 2 else 1
        machine.dual_coef_ = sign * machine._dual_coef_
        machine.intercept_ = sign * machine._intercept_
        machine._gamma = float(arrays["gamma"])
        machine._probA = machine._probB = np.empty(0)
        machine._sparse, machine._effective_probability = False, False
        machine.shape_fit_, machine.n_features_in_ = (vectors, self.n_features), self.n_features
        machine.fit_status_ = 0

    def parameters(self) -> int:
        fitted = self.classifier
        return int(fitted.support_vectors_.size + fitted.dual_coef_.size + fitted.intercept_.size)


def arrays_of(fitted: Any) -> dict[str, Array]:
    """Return the numbers of a fitted machine of scikit-learn or of scikit-learn-intelex."""
    import numpy as np

    found = {
        "support": fitted.support_.astype("int32"),
        "support_vectors": fitted.support_vectors_,
        "n_support": fitted.n_support_.astype("int32"),
        "dual_coef": fitted._dual_coef_,
        "intercept": fitted._intercept_,
    }
    found = {name: np.ascontiguousarray(each) for name, each in found.items()}
    return found | {"gamma": np.float64(fitted._gamma)}
