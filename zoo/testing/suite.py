"""Test a model or a dataset against the contract, in the tests of its plugin.

    from zoo.testing import parametrize_with_checks

    @parametrize_with_checks([MyKnn])
    def test_contract(check):
        check()

    @parametrize_with_dataset_checks([MY_DATASET])
    def test_data(check):
        check()

`zoo plugins check` runs the same checks on an installed plugin, without a test.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any
from unittest import SkipTest

from zoo.model import Dataset, Model
from zoo.testing import checks
from zoo.testing.checks import Result
from zoo.testing.checks.fixtures import DATASET, Bench, Broken, DatasetBench

__all__ = [
    "Broken",
    "Result",
    "check_dataset",
    "check_model",
    "parametrize_with_checks",
    "parametrize_with_dataset_checks",
]

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
    return _judged(model.__name__, [checks.run(check, bench) for check in checks.ALL])


def check_dataset(dataset: Dataset, path: str = "") -> list[Result]:
    """Run every check on a dataset in this process and return the results.

    Args:
        dataset: The dataset, which need not be installed.
        path: The text after the colon, of a scheme.

    Returns:
        A result for each check, in order.

    Raises:
        Broken: A check failed; the message has a line for each failure.
    """
    bench = DatasetBench(dataset, path)
    return _judged(dataset.name, [checks.run(check, bench) for check in checks.OF_DATASETS])


def _judged(name: str, results: list[Result]) -> list[Result]:
    failed = [f"{each.check}: {each.detail}" for each in results if each.status == "failed"]
    if failed or not any(each.status == "passed" for each in results):
        raise Broken("\n".join([f"{name} fails.", *failed]))
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


def parametrize_with_dataset_checks(
    datasets: Iterable[Dataset | tuple[Dataset, str]],
) -> Callable[[Callable[..., Any]], Any]:
    """Parametrize a test function with one test per dataset and check.

    A dataset of a scheme comes with the text after the colon, as a tuple. The function calls its
    argument `check`. The checks of a dataset share two calls of `load`: they should run in one
    process, in this order.
    """
    import pytest

    cases = []
    for subject in datasets:
        dataset, path = subject if isinstance(subject, tuple) else (subject, "")
        bench = DatasetBench(dataset, path)
        cases += [
            pytest.param(_bound(check, bench), id=f"{dataset.name}-{check.__name__}")
            for check in checks.OF_DATASETS
        ]
    return pytest.mark.parametrize("check", cases)


def _bound(check: Callable[[checks.B], None], bench: checks.B) -> Callable[[], None]:
    def run() -> None:
        import pytest

        try:
            check(bench)
        except SkipTest as error:
            pytest.skip(str(error))

    return run
