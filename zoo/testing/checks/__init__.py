"""The conformance checks: what a model must do to be worked with like every other."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from unittest import SkipTest

from zoo.errors import ZooError
from zoo.plugins import error_report
from zoo.testing.checks import behaviour, contract, persistence
from zoo.testing.checks.fixtures import Bench, Broken

Check = Callable[[Bench], None]

ALL: tuple[Check, ...] = (
    contract.has_a_name_and_a_sentence,
    contract.imports_no_framework,
    contract.refuses_bad_params,
    contract.has_params_that_survive_json,
    behaviour.fits_and_predicts,
    behaviour.changes_no_input,
    behaviour.reports_progress,
    behaviour.ends_when_report_raises,
    behaviour.predicts_each_image_by_itself,
    behaviour.repeats_itself,
    behaviour.learns,
    behaviour.works_with_2_classes,
    behaviour.works_with_10_classes,
    behaviour.bears_blank_images,
    behaviour.bears_a_single_class,
    # Last: by now other models of the class were trained, and none may have left a trace.
    persistence.loads_what_it_saved,
    persistence.saves_no_pickle,
    persistence.saves_little,
)


@dataclass(frozen=True)
class Result:
    """How one check of one model ended."""

    check: str
    status: str
    """passed, failed or skipped."""
    detail: str = ""
    """Why it failed or was skipped, in a sentence."""
    seconds: float = 0.0


def title(check: Check) -> str:
    """The name of a check as people read it."""
    return check.__name__.replace("_", " ")


def run(check: Check, bench: Bench) -> Result:
    """Run one check; whatever the model does is told in the result."""
    start = time.perf_counter()
    status, detail = "passed", ""
    try:
        check(bench)
    except KeyboardInterrupt:
        raise
    except SkipTest as error:
        status, detail = "skipped", str(error)
    except BaseException as error:  # also SystemExit: a model must not end the checks
        status, detail = "failed", _sentence(error, bench)
    return Result(title(check), status, detail, time.perf_counter() - start)


def _sentence(error: BaseException, bench: Bench) -> str:
    if isinstance(error, Broken | ZooError):
        return str(error)
    said = error_report.reason(error, bench.source)
    if "read-only" in said:
        said += "; images are shared by all jobs and read-only: copy what you change"
    return said + "."
