"""What the models share whose work a classifier of scikit-learn does: fit, probabilities, files."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import zoo
import zoo_sklearn.export as export
from zoo import weights
from zoo.errors import ArtifactError, UsageError

if TYPE_CHECKING:
    from zoo.model import Array

CLASSES = "classes"
"""The array of the labels that the training data had, in every model's weights."""

LECUN = "LeCun et al. 1998, Gradient-based learning applied to document recognition"


class ClassifierModel(zoo.Model):
    """A classifier of scikit-learn: a subclass makes it, and names the arrays that suffice.

    The weights are arrays alone: `load` puts them on a classifier that was never fitted.
    """

    formats: ClassVar[tuple[str, ...]] = export.FORMATS
    stored: ClassVar[weights.Expected]
    """Dtype and shape of each array that `arrays` gives."""

    def __init__(self, params: zoo.Params, class_names: Sequence[str], seed: int) -> None:
        super().__init__(params, class_names, seed)
        # Here, so that the import of scikit-learn does not count as time of `fit`.
        self.classifier = self.make()

    def make(self) -> Any:
        """Make the classifier, not fitted."""
        raise NotImplementedError

    def arrays(self) -> dict[str, Array]:
        """Give the fitted arrays, but for the classes."""
        raise NotImplementedError

    def put(self, arrays: dict[str, Array]) -> None:
        """Put what `arrays` gave, and the classes, on the classifier, which is not fitted.

        Raises ValueError if the arrays do not belong together.
        """
        raise NotImplementedError

    def fit(self, x: Array, y: Array, report: zoo.Report) -> None:
        """Fit the classifier; raises UsageError if all images are of one class."""
        from sklearn.exceptions import ConvergenceWarning

        if (y == y[0]).all():
            raise UsageError(
                "The training images are all of one class: there is nothing to tell apart.",
                "`zoo data show` counts the images of each class.",
            )
        with warnings.catch_warnings():
            # To stop after `max_iter` steps is what the params ask for.
            warnings.simplefilter("ignore", ConvergenceWarning)
            self.classifier = self.make()
            self.learn(x, y, report)

    def learn(self, x: Array, y: Array, report: zoo.Report) -> None:
        """Fit the classifier; override it where there is something to do before or to report."""
        self.classifier.fit(x, y)
        report(1, 1, "fit")

    def scores(self, x: Array) -> Array:
        """Give a number for each class of the training data, (n, classes); the highest wins.

        Of two classes the classifier may give one number instead, (n,): above 0, it is the second.
        """
        scores: Array = self.classifier.decision_function(x)
        return scores

    def probabilities(self, x: Array) -> Array:
        """Give what `predict_proba` does, of the training data's classes: softmax of the scores."""
        import numpy as np
        from scipy.special import softmax

        scores = self.scores(x)
        if scores.ndim == 1:
            scores = np.stack([np.zeros_like(scores), scores], axis=1)
        probabilities: Array = softmax(scores, axis=1)
        return probabilities

    def predict_proba(self, x: Array) -> Array:
        return export.spread(self.probabilities(x), self.classifier.classes_, self.n_classes)

    def estimator(self) -> Any:
        """Give the trained model as an estimator of scikit-learn alone, for other tools."""
        return self.classifier

    def export(self, format: str, path: Path) -> None:
        if format == "skops":
            export.write_skops(self.estimator(), path)
            return
        is_softmax = type(self).probabilities is ClassifierModel.probabilities
        export.write_onnx(
            self.estimator(),
            path,
            dtype=self.dtype,
            classes=self.classifier.classes_.tolist(),
            n_classes=self.n_classes,
            kind="softmax" if is_softmax else "own",
        )

    def predict_exported(self, format: str, path: Path, x: Array) -> tuple[Array, Array | None]:
        return export.predict_skops(path, x, self.n_classes)

    def save(self, folder: Path) -> None:
        weights.save(folder, self.arrays() | {CLASSES: self.classifier.classes_})

    def load(self, folder: Path) -> None:
        arrays = weights.load(folder, {**self.stored, CLASSES: ("int64", (None,))})
        known = arrays[CLASSES].tolist()
        self.classifier = self.make()
        try:
            if known != sorted(set(known) & set(range(self.n_classes))) or len(known) < 2:
                raise ValueError(f"classes {known}")
            self.put(arrays)
        except (ValueError, IndexError) as error:
            raise ArtifactError(
                f"The weights in {folder} are not those of {self.n_classes} classes: {error}.",
                "Train the model again.",
            ) from None


def rows(n_classes: int) -> int:
    """Rows of a linear classifier's weights: two classes share one."""
    return n_classes if n_classes > 2 else 1


def require(shape: tuple[int, ...], expected: tuple[int, ...]) -> None:
    """Raise ValueError if a stored array has not the shape that the other ones demand."""
    if shape != expected:
        raise ValueError(f"an array is {shape}, not {expected}")


def put_linear(linear: Any, arrays: dict[str, Array]) -> None:
    """Put `coef`, `intercept` and the classes on a linear classifier that is not fitted.

    Raises ValueError if they are of another number of classes.
    """
    n_rows = rows(len(arrays[CLASSES]))
    require(arrays["coef"].shape[:1], (n_rows,))
    require(arrays["intercept"].shape, (n_rows,))
    linear.coef_, linear.intercept_ = arrays["coef"], arrays["intercept"]
    linear.classes_ = arrays[CLASSES]
    linear.n_features_in_ = arrays["coef"].shape[1]
