"""Base class of models that wrap a classifier of scikit-learn."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import zoo
import zoo_sklearn.export as export
import zoo_sklearn.passes as passes
from zoo import weights
from zoo.errors import ArtifactError, UsageError

if TYPE_CHECKING:
    from zoo.model import Array, Validation

CLASSES = "classes"
"""Name of the array with the labels of the training data, in the weights of each model."""

LECUN = "LeCun et al. 1998, Gradient-based learning applied to document recognition"


class FitArguments(NamedTuple):
    """What `fit` was given beside inputs and labels; None where the model did not ask for it."""

    sample_weight: Array | None = None
    checkpoint: zoo.Checkpoint | None = None
    validation: Validation | None = None


class ClassifierModel(zoo.Model):
    """A classifier of scikit-learn; a subclass makes it, and keeps its weights."""

    formats: ClassVar[tuple[str, ...]] = export.FORMATS
    trusted: ClassVar[tuple[str, ...]] = ()
    """Types in the trained classifier that skops does not trust by itself."""

    def __init__(self, params: zoo.Params, class_names: Sequence[str], seed: int) -> None:
        super().__init__(params, class_names, seed)
        # Import scikit-learn now, so that it does not count as time of `fit`.
        self.classifier = self.make()

    def make(self) -> Any:
        """Make an unfitted classifier."""
        raise NotImplementedError

    def fit(self, x: Array, y: Array, report: zoo.Report) -> None:
        """Fit the classifier; raises UsageError if all inputs are of one class."""
        self.train(x, y, report)

    def train(self, x: Array, y: Array, report: zoo.Report, **given: Any) -> None:
        """Make the classifier and let it learn; `given` are those of FitArguments.

        Raises UsageError if all inputs are of one class.
        """
        from sklearn.exceptions import ConvergenceWarning

        if (y == y[0]).all():
            raise UsageError(
                "The training inputs are all of one class: there is nothing to tell apart.",
                "`zoo data show` counts those of each class.",
            )
        with warnings.catch_warnings():
            # Stopping after `max_iter` steps is intended.
            warnings.simplefilter("ignore", ConvergenceWarning)
            self.classifier = self.make()
            self.learn(x, y, report, FitArguments(**given))

    def learn(self, x: Array, y: Array, report: zoo.Report, given: FitArguments) -> None:
        """Fit the classifier; override it to do more before, or to report progress."""
        self.classifier.fit(x, y)
        report(1, 1, "fit")

    def scores(self, x: Array) -> Array:
        """Return a score for each class of the training data, (n, classes); the highest wins.

        For two classes it may be one score, (n,): above 0 means the second class.
        """
        scores: Array = self.classifier.decision_function(x)
        return scores

    def probabilities(self, x: Array) -> Array:
        """Return probabilities of the training data's classes: by default softmax of the scores."""
        import numpy as np
        from scipy.special import softmax

        scores = self.scores(x)
        if scores.ndim == 1:
            scores = np.stack([np.zeros_like(scores), scores], axis=1)
        probabilities: Array = softmax(scores, axis=1)
        return probabilities

    def predict_proba(self, x: Array) -> Array:
        return export.expand_classes(
            self.probabilities(x), self.classifier.classes_, self.n_classes
        )

    def estimator(self) -> Any:
        """Return the trained model as a plain estimator of scikit-learn, for export."""
        return self.classifier

    def export(self, format: str, path: Path) -> None:
        if format == "skops":
            export.write_skops(self.estimator(), path)
            return
        is_softmax = type(self).probabilities is ClassifierModel.probabilities
        export.write_onnx(
            self.estimator(),
            path,
            n_features=self.n_features,
            dtype=self.dtype,
            classes=self.classifier.classes_.tolist(),
            n_classes=self.n_classes,
            kind="softmax" if is_softmax else "own",
        )

    def predict_exported(self, format: str, path: Path, x: Array) -> tuple[Array, Array | None]:
        return export.predict_skops(path, x, self.n_classes, self.trusted)

    def check_classes(self, classes: Array) -> None:
        """Raise ValueError unless these are two or more classes of the dataset, in order."""
        known = classes.tolist()
        if known != sorted(set(known) & set(range(self.n_classes))) or len(known) < 2:
            raise ValueError(f"classes {known}")

    def mismatch(self, folder: Path, error: Exception) -> ArtifactError:
        """Return the error for weights that do not belong to this model."""
        return ArtifactError(
            f"The weights in {folder} are not those of {self.n_classes} classes: {error}.",
            "Train the model again.",
        )


class WeightedModel(ClassifierModel):
    """A classifier whose estimator weighs rows."""

    def fit(
        self, x: Array, y: Array, report: zoo.Report, *, sample_weight: Array | None = None
    ) -> None:
        """Fit the classifier; raises UsageError if all inputs are of one class."""
        self.train(x, y, report, sample_weight=sample_weight)

    def learn(self, x: Array, y: Array, report: zoo.Report, given: FitArguments) -> None:
        """Fit the classifier; override it to do more before, or to report progress."""
        self.classifier.fit(x, y, **weighted(self.classifier, given.sample_weight))
        report(1, 1, "fit")


class ResumableModel(WeightedModel):
    """A classifier that goes on from a checkpoint, see `passes.reported`."""

    def fit(
        self,
        x: Array,
        y: Array,
        report: zoo.Report,
        *,
        sample_weight: Array | None = None,
        checkpoint: zoo.Checkpoint | None = None,
    ) -> None:
        """Fit the classifier; raises UsageError if all inputs are of one class."""
        self.train(x, y, report, sample_weight=sample_weight, checkpoint=checkpoint)

    def learn(self, x: Array, y: Array, report: zoo.Report, given: FitArguments) -> None:
        """Fit the classifier, from the newest checkpoint on."""
        with passes.reported(self.classifier, report, given.checkpoint):
            self.classifier.fit(x, y, **weighted(self.classifier, given.sample_weight))


class ValidatedModel(ResumableModel):
    """A classifier that goes on from a checkpoint, and may look at validation rows."""

    def fit(
        self,
        x: Array,
        y: Array,
        report: zoo.Report,
        *,
        sample_weight: Array | None = None,
        checkpoint: zoo.Checkpoint | None = None,
        validation: Validation | None = None,
    ) -> None:
        """Fit the classifier; raises UsageError if all inputs are of one class."""
        given = {"sample_weight": sample_weight, "checkpoint": checkpoint}
        self.train(x, y, report, **given, validation=validation)


class ArraysModel(ClassifierModel):
    """A classifier whose weights are plain arrays; a subclass lists those that restore it.

    `load` sets them on a classifier that was not fitted.
    """

    def stored(self) -> weights.Expected:
        """Return dtype and shape of each array that `arrays` returns."""
        raise NotImplementedError

    def arrays(self) -> dict[str, Array]:
        """Return the fitted arrays, without the classes."""
        raise NotImplementedError

    def set_arrays(self, arrays: dict[str, Array]) -> None:
        """Set the result of `arrays`, and the classes, on the unfitted classifier.

        Raises ValueError if the arrays are inconsistent.
        """
        raise NotImplementedError

    def save(self, folder: Path) -> None:
        weights.save(folder, self.arrays() | {CLASSES: self.classifier.classes_})

    def load(self, folder: Path) -> None:
        arrays = weights.load(folder, {**self.stored(), CLASSES: ("int64", (None,))})
        self.classifier = self.make()
        try:
            self.check_classes(arrays[CLASSES])
            self.set_arrays(arrays)
        except (ValueError, IndexError) as error:
            raise self.mismatch(folder, error) from None


def weighted(estimator: Any, sample_weight: Array | None) -> dict[str, Array]:
    """Return the arguments of `fit` that weigh the rows; those of a pipeline's last step.

    Raises UsageError for weights that the estimator does not take.
    """
    from sklearn.utils.validation import has_fit_parameter

    if sample_weight is None:
        return {}
    last, prefix = passes.last_step(estimator)
    if not has_fit_parameter(last, "sample_weight"):
        raise UsageError(
            f"{type(last).__name__} of scikit-learn takes no weights of rows.",
            "A model says so by a `fit` without `sample_weight`: def fit(self, x, y, report).",
        )
    return {f"{prefix}sample_weight": sample_weight}


def row_count(n_classes: int) -> int:
    """Return the number of rows of a linear classifier's weights: two classes share one."""
    return n_classes if n_classes > 2 else 1


def require_shape(shape: tuple[int, ...], expected: tuple[int, ...]) -> None:
    """Raise ValueError unless a stored array has the shape that the others imply."""
    if shape != expected:
        raise ValueError(f"an array is {shape}, not {expected}")


def set_linear_arrays(linear: Any, arrays: dict[str, Array]) -> None:
    """Set `coef`, `intercept` and the classes on an unfitted linear classifier.

    Raises ValueError if they are for another number of classes.
    """
    n_rows = row_count(len(arrays[CLASSES]))
    require_shape(arrays["coef"].shape[:1], (n_rows,))
    require_shape(arrays["intercept"].shape, (n_rows,))
    linear.coef_, linear.intercept_ = arrays["coef"], arrays["intercept"]
    linear.classes_ = arrays[CLASSES]
    linear.n_features_in_ = arrays["coef"].shape[1]
