"""The work that all sides do. Neither Zoo nor a peer is imported here."""

from __future__ import annotations

import json
import os
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

FOLDER = Path(os.environ.get("PEERS_FOLDER", "."))
"""A folder of this side and test: data, marks, databases."""
BROKER = os.environ.get("PEERS_BROKER", "")
CAREFUL = bool(os.environ.get("PEERS_CAREFUL"))
"""Whether the peer's settings against lost work are on."""
PROCESSES = 2
TRAININGS = 20
SEEDS = range(TRAININGS)
RATES = [round(0.0005 * (1 + step), 4) for step in range(TRAININGS)]
EPOCHS = 15
STARTS = 50
NAP = 0.5


def noop(number: int = 0) -> None:
    """Do nothing."""


def now(number: int = 0) -> float:
    return time.time()


def train(seed: int = 42, learning_rate: float = 0.001) -> float:
    """Train a perceptron on digits; return its accuracy on the test rows."""
    import numpy as np
    from sklearn.neural_network import MLPClassifier

    with np.load(os.environ["PEERS_DATA"], allow_pickle=False) as found:
        data = dict(found)
    network = MLPClassifier(max_iter=EPOCHS, learning_rate_init=learning_rate, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it has not converged
        network.fit(data["x"], data["y"])
    return float(network.score(data["x_test"], data["y_test"]))


def nap(number: int) -> int:
    """Sleep, and mark beginning and end where the test counts them."""
    mark("begin", number)
    time.sleep(NAP)
    mark("end", number)
    return number


def mark(what: str, number: int) -> None:
    with (FOLDER / "marks").open("a") as file:  # a line at a time: O_APPEND keeps them apart
        file.write(f"{what} {number} {os.getpid()}\n")


def rate(jobs: int, act: Callable[[], object]) -> float:
    """Return the jobs a second of `act`, which does all of them."""
    start = time.perf_counter()
    act()
    return jobs / (time.perf_counter() - start)


def latency(begin: Callable[[], float], times: int = STARTS) -> float:
    """Return the median milliseconds from a submission to the time that `begin` returns."""
    found = []
    for _ in range(times):
        submitted = time.time()
        found.append(1000 * (begin() - submitted))
    return median(found)


def timed(act: Callable[[], Any]) -> dict[str, Any]:
    start = time.perf_counter()
    values = list(act())
    return {"seconds": time.perf_counter() - start, "values": values}


def main(tests: dict[str, Callable[[], Any]]) -> None:
    """Run the test named on the command line and print its result as JSON."""
    found = tests[sys.argv[1]]()
    sys.stdout.write(f"\n{json.dumps(found)}\n")
    sys.stdout.flush()
