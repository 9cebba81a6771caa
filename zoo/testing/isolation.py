"""Run the checks of a plugin in a separate process, which may hang, exit or crash."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import sys
from collections.abc import Callable, Generator, Mapping, Sequence
from functools import partial
from typing import Any

from zoo import environment_variables, settings
from zoo.child_process import ReportingChild, reporting
from zoo.errors import ZooError, unknown
from zoo.testing import checks
from zoo.testing.checks import Result

SECONDS = 60.0
"""Time limit of one check."""
MOST_DEATHS = 2
"""After this number of checks that ended or hung their process the others are skipped."""
IMPORT = "can be loaded"
"""The check before all others: the process can load the model."""


def run(
    model: str,
    dataset: str,
    params: Mapping[str, Any] | None = None,
    seconds: float = SECONDS,
    is_quiet: bool = True,
) -> Generator[Result]:
    """Check an installed model by its name; yields each result when it is known.

    One warm process runs all checks, as importing TensorFlow for each would take minutes. It is
    replaced when a check kills it or takes longer than `seconds`. The model's output is dropped
    (`is_quiet`) or goes to stderr.
    """
    given = "model", model, dataset, json.dumps(dict(params or {}))
    return _results(given, [*map(checks.title, checks.ALL)], seconds, is_quiet)


def run_dataset(dataset: str, seconds: float = SECONDS, is_quiet: bool = True) -> Generator[Result]:
    """Check an installed dataset, `NAME` or `SCHEME:PATH`, as `run` checks a model."""
    name, _, path = dataset.partition(":")
    given = "dataset", name, path, ""
    return _results(given, [*map(checks.title, checks.OF_DATASETS)], seconds, is_quiet)


def _results(
    given: tuple[str, ...], titles: Sequence[str], seconds: float, is_quiet: bool
) -> Generator[Result]:
    done: list[str] = []
    # The same share of the machine as a job in a worker.
    chosen = settings.load()
    slots = chosen.slots or settings.cores()
    memory = settings.share_the_memory(chosen, slots)
    env = environment_variables.for_models(os.environ) | settings.share_the_cores(slots)
    for _ in range(MOST_DEATHS):
        other = ReportingChild("zoo.testing.isolation", *given, *done, is_quiet=is_quiet, env=env)
        victim = yield from _stretch(other, seconds, done, memory)
        if victim is None:
            return
        done.append(victim)
        if victim == IMPORT:
            return
    for check in titles:
        if check not in done:
            yield Result(check, "skipped", f"{MOST_DEATHS} earlier checks ended their process")


class _TooLarge(Exception):
    pass


def _stretch(
    other: ReportingChild, seconds: float, done: list[str], memory_mb: float = math.inf
) -> Generator[Result, None, str | None]:
    """Yield the results of one process; return the check that ended it, if one did."""
    check, how = IMPORT, ""

    def check_memory() -> None:
        if other.memory_mb() > memory_mb:
            raise _TooLarge

    try:
        while message := other.receive(seconds, check_memory):
            if "begun" in message:
                check = message["begun"]
            elif "result" in message:
                result = Result(**message["result"])
                done.append(result.check)
                yield result
            else:
                return None
    except TimeoutError:
        how = f"Stopped after {seconds:g} s: see -p and --timeout."
    except _TooLarge:
        how = f"Stopped above {memory_mb:.0f} MB, the share of a job: see ZOO_JOB_MEMORY_MB."
    finally:
        ended = other.end()
    yield Result(check, "failed", how or f"It ended its process: {ended}.", seconds)
    return check


def main(kind: str, name: str, data: str, params: str, *done: str) -> None:
    """In the separate process: run the checks that are not done, and report each.

    `data` is the dataset of a model, or the path of a scheme.
    """
    with reporting() as send:
        try:
            is_dataset = kind == "dataset"
            pending = _of_dataset(name, data) if is_dataset else _of_model(name, data, params)
        except ZooError as error:
            send({"result": dataclasses.asdict(Result(IMPORT, "failed", str(error)))})
        else:
            for title, check in pending:
                if title not in done:
                    send({"begun": title})
                    send({"result": dataclasses.asdict(check())})
        send({"end": True})


Pending = list[tuple[str, Callable[[], Result]]]


def _of_model(name: str, dataset: str, params: str) -> Pending:
    from zoo.plugins import registry
    from zoo.testing.checks.fixtures import Bench

    bench = Bench(registry.model(name), json.loads(params), dataset)
    bench.sample  # noqa: B018 (a dataset that it does not take is one error, not one a check)
    return [(checks.title(each), partial(checks.run, each, bench)) for each in checks.ALL]


def _of_dataset(name: str, path: str) -> Pending:
    from zoo.plugins import registry
    from zoo.testing.checks.fixtures import DatasetBench

    found = registry.catalogue().datasets
    if name not in found:
        raise unknown("dataset", name, found, "zoo plugins")
    bench = DatasetBench(found[name], path)
    return [(checks.title(each), partial(checks.run, each, bench)) for each in checks.OF_DATASETS]


if __name__ == "__main__":
    main(*sys.argv[1:])
