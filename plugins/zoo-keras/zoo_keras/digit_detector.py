"""The digit detector: one class against all others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import zoo
from zoo.errors import UsageError, unknown
from zoo_keras.network import KerasModel, KerasParams, load_keras

if TYPE_CHECKING:
    from zoo.model import Array


class DigitDetectorParams(KerasParams):
    """The params of every network, and the class."""

    digit: int = zoo.param(0, ge=0, le=9, help="the digit to detect, or the index of a class")
    target: str | None = zoo.param(
        None, max_length=200, help="the class to detect, by its name; null: that of digit"
    )


class DigitDetector(KerasModel):
    """One sigmoid unit that separates one class, by default a digit, from all others."""

    name = "digit-detector"
    takes = ("image", "table")
    family = "neural network"
    Params = DigitDetectorParams
    loss = "binary_crossentropy"

    def classes(self, class_names: Sequence[str]) -> list[str]:
        if self.params.target is not None:
            return self._one_against_rest(class_names, self.params.target)
        digit = self.params.digit
        # The class of that name; where classes are not numbers, the class at that index.
        is_numbered = all(name.isdecimal() for name in class_names)
        known = list(class_names) if is_numbered else [str(i) for i in range(len(class_names))]
        if str(digit) not in known:
            raise UsageError(
                f"The dataset has {len(class_names)} classes, none of which is number {digit}.",
                f"Set digit to one of {', '.join(name for name in known if len(name) == 1)}.",
            )
        return self._one_against_rest(class_names, class_names[known.index(str(digit))])

    def _one_against_rest(self, class_names: Sequence[str], target: str) -> list[str]:
        if target not in class_names:
            raise unknown("class", target, class_names)
        self.index = list(class_names).index(target)
        return [f"not {target}", target]

    def labels(self, y: Array) -> Array:
        labels: Array = (y == self.index).astype("int64")
        return labels

    def layers(self) -> list[Any]:
        return [load_keras().layers.Dense(1, activation="sigmoid")]

    def probabilities(self, outputs: Array) -> Array:
        import numpy as np

        return np.concatenate([1 - outputs, outputs], axis=1)

    def weight_images(self) -> Array:
        import numpy as np

        kernel = self.kernel().T
        return np.concatenate([-kernel, kernel])
