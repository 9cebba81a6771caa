"""Run the checks of a model in a separate process, which may hang, exit or crash."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import sys
from collections.abc import Generator, Mapping
from typing import Any

from zoo import environment_variables, settings
from zoo.child_process import ReportingChild, reporting
from zoo.errors import ZooError
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
    done: list[str] = []
    # The same share of the machine as a job in a worker.
    chosen = settings.load()
    slots = chosen.slots or settings.cores()
    memory = settings.share_the_memory(chosen, slots)
    env = environment_variables.for_models(os.environ) | settings.share_the_cores(slots)
    for _ in range(MOST_DEATHS):
        given = model, dataset, json.dumps(dict(params or {}))
        other = ReportingChild("zoo.testing.isolation", *given, *done, is_quiet=is_quiet, env=env)
        victim = yield from _stretch(other, seconds, done, memory)
        if victim is None:
            return
        done.append(victim)
        if victim == IMPORT:
            return
    for check in map(checks.title, checks.ALL):
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


def main(model: str, dataset: str, params: str, done: list[str]) -> None:
    """In the separate process: run the checks that are not done, and report each."""
    with reporting() as send:
        try:
            from zoo.plugins import registry
            from zoo.testing.checks.fixtures import Bench

            bench = Bench(registry.model(model), json.loads(params), dataset)
            bench.sample  # noqa: B018 (a dataset that it does not take is one error, not one a check)
        except ZooError as error:
            send({"result": dataclasses.asdict(Result(IMPORT, "failed", str(error)))})
        else:
            for check in checks.ALL:
                if checks.title(check) not in done:
                    send({"begun": checks.title(check)})
                    send({"result": dataclasses.asdict(checks.run(check, bench))})
        send({"end": True})


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4:])
