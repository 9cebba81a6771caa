"""Base class of models whose weights are a whole estimator of scikit-learn, kept by skops."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import zoo_sklearn.export as export
import zoo_sklearn.trees as trees
from zoo_sklearn.classifier import WeightedModel

if TYPE_CHECKING:
    from zoo.model import Array

FILE = "model.skops"
"""Name of the file with the weights."""


class SklearnModel(WeightedModel):
    """A classifier or pipeline of scikit-learn with probabilities; a subclass makes it.

    A subclass gives `name` and `make`; `self.params`, `self.seed`, `self.n_classes`. It takes
    weights of rows, which the last step of a pipeline gets; a subclass whose estimator cannot
    weigh rows has a `fit(self, x, y, report)` of its own. It saves no checkpoints; put
    `ResumableModel` before it for an estimator that learns in passes.

    Loading runs no code of the file: it may hold what skops trusts by itself and `trusted`, no
    other type. `trusted = zoo_sklearn.TREES` is for trees in the last step, which `check` looks
    through.
    """

    takes: ClassVar[tuple[str, ...]] = ("image", "table")
    layout = "flat"
    dtype: ClassVar[Literal["float32", "float64"]] = "float64"

    def probabilities(self, x: Array) -> Array:
        found: Array = self.classifier.predict_proba(x)
        return found

    def save(self, folder: Path) -> None:
        export.write_skops(self.classifier, folder / FILE)

    def load(self, folder: Path) -> None:
        found = export.read_skops(folder / FILE, self.trusted)
        expected = _types(self.make())
        try:
            if _types(found) != expected:
                raise ValueError(f"it is no {', '.join(kind.__name__ for kind in expected)}")
            if found.n_features_in_ != self.n_features:
                raise ValueError(f"{found.n_features_in_} features, not {self.n_features}")
            self.check_classes(found.classes_)
            self.check(found)
        except (ValueError, IndexError, AttributeError, TypeError) as error:
            raise self.mismatch(folder, error) from None
        self.classifier = found

    def check(self, estimator: Any) -> None:
        """Raise ValueError if what was loaded could read out of bounds.

        Override it for types in `trusted` other than trees in the last step.
        """
        trees.check(estimator)


def _types(estimator: Any) -> list[type]:
    """Return the types of an estimator and, of a pipeline, its steps."""
    steps = [step for _, step in getattr(estimator, "steps", ())]
    return [type(estimator), *(kind for step in steps for kind in _types(step))]
