"""Base class of models whose weights are a whole estimator of scikit-learn, kept by skops."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import zoo_sklearn.export as export
from zoo_sklearn.classifier import WeightedModel

if TYPE_CHECKING:
    from zoo.model import Array

FILE = "model.skops"
"""Name of the file with the weights."""


class SklearnModel(WeightedModel):
    """A classifier or pipeline of scikit-learn with probabilities; a subclass makes it.

    Loading runs no code of the file: it may hold what skops trusts by itself and `trusted`, no
    other type. `check` looks through what these types do not check themselves.
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
        kind = type(self.make())
        try:
            if type(found) is not kind:
                raise ValueError(f"it is no {kind.__name__}")
            if found.n_features_in_ != self.n_features:
                raise ValueError(f"{found.n_features_in_} features, not {self.n_features}")
            self.check_classes(found.classes_)
            self.check(found)
        except (ValueError, IndexError, AttributeError, TypeError) as error:
            raise self.mismatch(folder, error) from None
        self.classifier = found

    def check(self, estimator: Any) -> None:
        """Raise ValueError if what was loaded could read out of bounds; override it for trees."""
