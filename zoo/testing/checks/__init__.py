"""The conformance checks: the requirements that models and datasets must meet."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar
from unittest import SkipTest

from zoo.errors import ZooError
from zoo.plugins import error_report
from zoo.testing.checks import behaviour, contract, fit_arguments, of_datasets, persistence
from zoo.testing.checks.fixtures import Bench, Broken, DatasetBench

Check = Callable[[Bench], None]
DatasetCheck = Callable[[DatasetBench], None]
B = TypeVar("B", Bench, DatasetBench)

ALL: tuple[Check, ...] = (
    contract.has_name_and_docstring,
    contract.imports_no_framework,
    contract.rejects_invalid_params,
    contract.params_round_trip_json,
    behaviour.fits_and_predicts,
    behaviour.leaves_input_unchanged,
    behaviour.reports_progress,
    behaviour.stops_when_report_raises,
    behaviour.predicts_inputs_independently,
    behaviour.is_reproducible,
    behaviour.learns,
    behaviour.works_with_2_classes,
    behaviour.works_with_10_classes,
    behaviour.handles_blank_images,
    behaviour.handles_single_class,
    fit_arguments.weighs_rows,
    fit_arguments.learns_nothing_from_validation_rows,
    fit_arguments.stops_with_a_result,
    fit_arguments.resumes_with_the_same_bits,
    persistence.handles_other_shapes,
    # Last: models trained since by other checks must not have changed this one.
    persistence.loads_saved_weights,
    persistence.saves_no_pickle,
    persistence.weights_are_small,
)

OF_DATASETS: tuple[DatasetCheck, ...] = (
    of_datasets.has_name_and_summary,
    contract.imports_no_framework,
    of_datasets.loads,
    of_datasets.has_classes_to_learn,
    of_datasets.names_only_classes_that_occur,
    of_datasets.is_deterministic,
    of_datasets.prints_nothing,
    of_datasets.closes_its_files,
    of_datasets.names_its_files,
)


@dataclass(frozen=True)
class Result:
    """The result of one check of one model or dataset."""

    check: str
    status: str
    """passed, failed or skipped."""
    detail: str = ""
    """Why it failed or was skipped, in a sentence."""
    seconds: float = 0.0


def title(check: Check | DatasetCheck) -> str:
    """Return the display name of a check."""
    return check.__name__.replace("_", " ")


def run(check: Callable[[B], None], bench: B) -> Result:
    """Run one check and return its result; any exception of the plugin is in the result."""
    start = time.perf_counter()
    status, detail = "passed", ""
    try:
        check(bench)
    except KeyboardInterrupt:
        raise
    except SkipTest as error:
        status, detail = "skipped", str(error)
    except BaseException as error:  # also SystemExit, which would end all checks
        status, detail = "failed", _sentence(error, bench)
    return Result(title(check), status, detail, time.perf_counter() - start)


def _sentence(error: BaseException, bench: Bench | DatasetBench) -> str:
    if isinstance(error, Broken | ZooError):
        return str(error)
    text = error_report.reason(error, bench.source)
    if "read-only" in text:
        text += "; inputs are shared by all jobs and read-only: copy them before changing them"
    return text + "."
