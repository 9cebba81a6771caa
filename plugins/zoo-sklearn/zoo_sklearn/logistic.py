"""The logistic baseline: a linear classifier trained by stochastic gradient descent."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import model_validator

import zoo
import zoo_sklearn.by_class as by_class
import zoo_sklearn.export as export
import zoo_sklearn.sparse as sparse
import zoo_sklearn.threads as threads
from zoo import weights
from zoo.errors import ArtifactError, UsageError

if TYPE_CHECKING:
    from zoo.model import Array

Loss = Literal["log_loss", "modified_huber", "hinge", "squared_hinge", "perceptron"]
Schedule = Literal["optimal", "constant", "invscaling", "adaptive", "pa1", "pa2"]


class LogisticParams(zoo.Params):
    """Params of `SGDClassifier`; all but two defaults are those of scikit-learn."""

    loss: Loss = zoo.param("log_loss", help="log_loss is logistic regression, hinge a linear SVM")
    penalty: Literal["l2", "l1", "elasticnet"] | None = zoo.param("l2", help="regularisation")
    alpha: float = zoo.param(0.0001, ge=0, le=1e6, help="strength of the penalty")
    l1_ratio: float = zoo.param(0.15, ge=0, le=1, help="part of l1 in the penalty elasticnet")
    fit_intercept: bool = zoo.param(True, help="learn an intercept for each class")
    max_iter: int = zoo.param(5, ge=1, le=100_000, help="most epochs")
    tol: float | None = zoo.param(
        0.001, ge=0, le=1e6, help="stop when the loss falls by less; null: run all epochs"
    )
    shuffle: bool = zoo.param(True, help="shuffle the inputs before each epoch")
    schedule: Schedule = zoo.param("optimal", help="how the learning rate changes over time")
    learning_rate: float = zoo.param(
        0.01, gt=0, le=1e6, help="first learning rate (eta0); the schedule optimal sets its own"
    )
    power_t: float = zoo.param(0.5, ge=-10, le=10, help="exponent of the schedule invscaling")
    early_stopping: bool = zoo.param(False, help="stop by the accuracy on held-back inputs")
    validation_fraction: float = zoo.param(
        0.1, gt=0, lt=1, help="part held back for early_stopping"
    )
    n_iter_no_change: int = zoo.param(
        5, ge=1, le=100_000, help="epochs without improvement before it stops"
    )
    average: int = zoo.param(
        0, ge=0, le=10**9, help="average the weights from this many inputs on; 0: never"
    )
    class_weight: Literal["balanced"] | None = zoo.param(
        None, help="balanced: a rare class counts as much as a frequent one"
    )

    @model_validator(mode="after")
    def _check(self) -> LogisticParams:
        if self.schedule == "optimal" and self.alpha == 0:
            raise ValueError(
                "The schedule 'optimal' computes its learning rate from alpha, which is 0; "
                "set alpha above 0, or another schedule."
            )
        if self.schedule in ("pa1", "pa2") and self.loss != "hinge":
            raise ValueError(
                f"The schedule '{self.schedule}' works with the loss 'hinge' alone, "
                f"not with '{self.loss}'."
            )
        return self


class Logistic(zoo.Model):
    """Logistic regression by stochastic gradient descent (scikit-learn's SGDClassifier)."""

    name = "logistic"
    takes = ("image", "table")
    family = "linear"
    paper = "Bottou 2010, Large-Scale Machine Learning with SGD, doi:10.1007/978-3-7908-2604-3_16"
    layout = "flat"
    dtype = "float64"
    formats = export.FORMATS
    Params = LogisticParams

    def __init__(self, params: zoo.Params, class_names: Sequence[str], seed: int) -> None:
        super().__init__(params, class_names, seed)
        # Import scikit-learn now, so that it does not count as time of `fit`.
        self.classifier = self._classifier()

    def fit(
        self,
        x: Array,
        y: Array,
        report: zoo.Report,
        *,
        sample_weight: Array | None = None,
        checkpoint: zoo.Checkpoint | None = None,
    ) -> None:
        """Fit the classifier; two classes are one fit, which no checkpoint interrupts."""
        from sklearn.exceptions import ConvergenceWarning

        # Classes are fitted independently: threads change only the time.
        with warnings.catch_warnings(), threads.granted_jobs() as n_jobs:
            # Few epochs are intended: the 5 of the baseline never converge.
            warnings.simplefilter("ignore", ConvergenceWarning)
            warnings.filterwarnings("ignore", module="joblib")  # that tasks were left
            classifier = self.classifier.set_params(n_jobs=n_jobs)
            with by_class.reported(classifier, report, checkpoint):
                sparse.fit(classifier, x, y, sample_weight)
        total = len(classifier.coef_)
        unit = by_class.UNIT if total > 1 else "fit"
        report(total, total, unit, epochs=classifier.n_iter_, train_accuracy=self._accuracy(x, y))

    def predict(self, x: Array) -> Array:
        labels: Array = self.classifier.predict(x)
        return labels

    def predict_proba(self, x: Array) -> Array | None:
        """Return probabilities, or None for losses other than log_loss and modified_huber."""
        if not hasattr(self.classifier, "predict_proba"):
            return None
        found = self.classifier.predict_proba(x)
        return export.expand_classes(found, self.classifier.classes_, self.n_classes)

    def export(self, format: str, path: Path) -> None:
        if format == "skops":
            export.write_skops(self.classifier, path)
            return
        if self.params.loss == "modified_huber":
            raise UsageError(
                "With the loss modified_huber there is no ONNX: skl2onnx knows the probabilities "
                "of log_loss alone.",
                "Export it as skops or npz.",
            )
        export.write_onnx(
            self.classifier,
            path,
            n_features=self.n_features,
            dtype=self.dtype,
            classes=self.classifier.classes_.tolist(),
            n_classes=self.n_classes,
            kind="shares" if self.params.loss == "log_loss" else "none",
        )

    def predict_exported(self, format: str, path: Path, x: Array) -> tuple[Array, Array | None]:
        return export.predict_skops(path, x, self.n_classes)

    def save(self, folder: Path) -> None:
        fitted = self.classifier
        arrays = {
            "coef": fitted.coef_,
            "intercept": fitted.intercept_,
            "classes": fitted.classes_,
        }
        weights.save(folder, arrays)

    def load(self, folder: Path) -> None:
        expected = {
            "coef": ("float64", (None, self.n_features)),
            "intercept": ("float64", (None,)),
            "classes": ("int64", (None,)),
        }
        arrays = weights.load(folder, expected)
        self._check_rows(folder, **arrays)
        self.classifier = self._classifier()
        self.classifier.coef_ = arrays["coef"]
        self.classifier.intercept_ = arrays["intercept"]
        self.classifier.classes_ = arrays["classes"]
        self.classifier.n_features_in_ = arrays["coef"].shape[1]

    def parameters(self) -> int:
        return int(self.classifier.coef_.size + self.classifier.intercept_.size)

    def weight_images(self) -> Array | None:
        """Return the weights of each class and pixel; None for a table, which is no picture."""
        import numpy as np

        if len(self.input_shape) == 1:
            return None
        coef = self.classifier.coef_
        # Two classes share one row, which speaks for the second.
        rows = np.concatenate([-coef, coef]) if len(coef) == 1 else coef
        images = np.zeros((self.n_classes, coef.shape[1]))
        images[self.classifier.classes_] = rows
        return images

    def _classifier(self) -> Any:
        from sklearn.linear_model import SGDClassifier

        params = self.params.model_dump()
        return SGDClassifier(
            eta0=params.pop("learning_rate"),
            learning_rate=params.pop("schedule"),
            # scikit-learn does not accept 0.
            average=params.pop("average") or False,
            random_state=self.seed,
            **params,
        )

    def _accuracy(self, x: Array, y: Array) -> float:
        from sklearn import config_context

        with config_context(assume_finite=True):  # `fit` has just looked
            return float((self.predict(x) == y).mean())

    def _check_rows(self, folder: Path, coef: Array, intercept: Array, classes: Array) -> None:
        found = classes.tolist()
        # Two classes share one row: it separates the second from the first.
        rows = len(found) if len(found) > 2 else 1
        known = sorted(set(found) & set(range(self.n_classes)))
        if len(found) < 2 or found != known or not len(coef) == len(intercept) == rows:
            raise ArtifactError(
                f"The weights in {folder} are not those of {self.n_classes} classes.",
                "Train the model again.",
            )
