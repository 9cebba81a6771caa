"""Models of scikit-learn, and the handwritten digits that it carries."""

from __future__ import annotations

from collections.abc import Callable

import zoo
from zoo_sklearn.digits import DIGITS
from zoo_sklearn.logistic import Logistic


@zoo.hookimpl
def register_models(register: Callable[[type[zoo.Model]], None]) -> None:
    """Bring the baseline."""
    register(Logistic)


@zoo.hookimpl
def register_datasets(register: Callable[[zoo.Dataset], None]) -> None:
    """Bring the dataset that needs no download."""
    register(DIGITS)
