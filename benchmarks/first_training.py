"""The first `zoo train dense-softmax` of a day: what it takes beside the framework and the fit."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.notes import Machine
from benchmarks.queue import Figure

IMPORT = "from zoo_keras.network import load_keras; load_keras()"
RUNS = 3
WARM_SECONDS = 8.0
"""Time in which a worker that was started by `zoo up` surely imports the framework."""


@contextmanager
def _used() -> Iterator[Machine]:
    """A home that has trained the model before, and whose services have ended."""
    machine = Machine()
    try:
        machine.zoo("train", "dense-softmax", "-p", "epochs=1")
        machine.run("down")
        yield machine
    finally:
        machine.end()


def _seconds_beside_the_fit(machine: Machine) -> float:
    start = time.perf_counter()
    job = machine.zoo("train", "dense-softmax")
    return time.perf_counter() - start - float(job["metrics"]["fit_seconds"])


def _import_seconds() -> float:
    found = []
    for _ in range(RUNS):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", IMPORT], check=True, capture_output=True)
        found.append(time.perf_counter() - start)
    return min(found)


def cold() -> float:
    """Return the seconds beside fit and import of Keras, with no service running."""
    with _used() as machine:
        return _seconds_beside_the_fit(machine) - _import_seconds()


def after_up() -> float:
    """Return the seconds beside the fit, some time after `zoo up`."""
    with _used() as machine:
        machine.run("up")
        time.sleep(WARM_SECONDS)
        return _seconds_beside_the_fit(machine)


FIGURES = [
    Figure(
        "first-cold",
        "cold zoo train dense-softmax, without its fit and the import of Keras",
        2,
        "s",
        cold,
        1,
    ),
    Figure("first-after-up", "the same after zoo up, without its fit", 1, "s", after_up, 1),
]
