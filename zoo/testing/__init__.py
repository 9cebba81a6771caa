"""The conformance suite that plugin authors run: `from zoo.testing import check_model`."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zoo.testing.suite import Broken as Broken
    from zoo.testing.suite import Result as Result
    from zoo.testing.suite import check_dataset as check_dataset
    from zoo.testing.suite import check_model as check_model
    from zoo.testing.suite import parametrize_with_checks as parametrize_with_checks
    from zoo.testing.suite import (
        parametrize_with_dataset_checks as parametrize_with_dataset_checks,
    )

__all__ = [
    "Broken",
    "Result",
    "check_dataset",
    "check_model",
    "parametrize_with_checks",
    "parametrize_with_dataset_checks",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'zoo.testing' has no attribute '{name}'")
    return getattr(import_module("zoo.testing.suite"), name)
