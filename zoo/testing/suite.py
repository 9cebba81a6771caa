"""Test a model against the contract, in the tests of its plugin.

    from zoo.testing import parametrize_with_checks

    @parametrize_with_checks([MyKnn])
    def test_contract(check):
        check()

`zoo plugins check` runs the same checks on an installed plugin, without a test.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any
from unittest import SkipTest

from zoo.model import Model
from zoo.testing import checks
from zoo.testing.checks import Result
from zoo.testing.checks.fixtures import DATASET, Bench, Broken

__all__ = ["Broken", "Result", "check_model", "parametrize_with_checks"]

Subject = type[Model] | tuple[type[Model], Mapping[str, Any]]
"""A model, or a model with the params to check it with."""


def check_model(
    model: type[Model], params: Mapping[str, Any] | None = None, dataset: str = DATASET
) -> list[Result]:
    """Run every check on a model in this process and return the results.

    Args:
        model: The model class.
        params: Params to check it with, by default its defaults.
        dataset: Name of the dataset.

    Returns:
        A result for each check, in order.

    Raises:
        Broken: A check failed, or none passed; the message has a line for each failure.
    """
    bench = Bench(model, params, dataset)
    results = [checks.run(check, bench) for check in checks.ALL]
    failed = [f"{each.check}: {each.detail}" for each in results if each.status == "failed"]
    if failed or not any(each.status == "passed" for each in results):
        raise Broken("\n".join([f"{model.__name__} fails.", *failed]))
    return results


def parametrize_with_checks(
    models: Iterable[Subject], dataset: str = DATASET
) -> Callable[[Callable[..., Any]], Any]:
    """Parametrize a test function with one test per model and check.

    The function calls its argument `check`. The checks of a model share one training: they should
    run in one process, in this order.
    """
    import pytest

    cases = []
    for subject in models:
        model, params = subject if isinstance(subject, tuple) else (subject, {})
        bench = Bench(model, params, dataset)
        parts = [model.__name__, *(f"{name}={value}" for name, value in params.items())]
        cases += [
            pytest.param(_bound(check, bench), id="-".join([*parts, check.__name__]))
            for check in checks.ALL
        ]
    return pytest.mark.parametrize("check", cases)


def _bound(check: checks.Check, bench: Bench) -> Callable[[], None]:
    def run() -> None:
        import pytest

        try:
            check(bench)
        except SkipTest as error:
            pytest.skip(str(error))

    return run
