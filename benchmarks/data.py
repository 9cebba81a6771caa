"""Savings of shared, prepared data: time to load it, and memory of further runners."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import tempfile
from functools import partial
from typing import Any

from benchmarks.queue import Figure

MAP = """
import time
import numpy
from zoo.data import preprocessing
from zoo.plugins import registry as plugins
plugins.catalogue()
start = time.perf_counter()
preprocessing.prepare("mnist", "train", "flat", "float32")
print(time.perf_counter() - start)
"""


def seconds_to_prepare(*, again: bool) -> float:
    """Time the loading of MNIST as float32 in a new process: unprepared, or prepared before."""
    with tempfile.TemporaryDirectory(prefix="zoo-bench-") as home:
        found = [_map(home) for _ in range(1 + again)]
    return found[-1]


def _map(home: str) -> float:
    env = os.environ | {"ZOO_HOME": home}
    command = [sys.executable, "-W", "ignore", "-c", MAP]
    return float(subprocess.run(command, env=env, capture_output=True, check=True).stdout)


def memory_of_a_further(dtype: str) -> float:
    """Return the private MiB of a process that reads all of MNIST while another has it mapped."""
    context = multiprocessing.get_context("spawn")
    first, second = (context.Pipe() for _ in range(2))
    readers = [context.Process(target=_read, args=(p[1], dtype)) for p in (first, second)]
    for reader, pipe in zip(readers, (first, second), strict=True):
        reader.start()
        taken = pipe[0].recv()
    for reader, pipe in zip(readers, (first, second), strict=True):
        pipe[0].send("end")
        reader.join()
    return float(taken)


def _read(pipe: Any, dtype: Any) -> None:
    import numpy as np
    import psutil

    from zoo.data.preprocessing import prepare
    from zoo.plugins import registry

    registry.catalogue()
    float(np.zeros(10, "float32").sum())
    before = psutil.Process().memory_full_info().uss
    parts = [prepare("mnist", split, "flat", dtype) for split in ("train", "test")]
    for part in parts:
        float(part.x.sum() + part.y.sum())
    pipe.send((psutil.Process().memory_full_info().uss - before) / 2**20)
    pipe.recv()


FIGURES = [
    Figure(
        "prepare-cold",
        "MNIST from its gz files",
        1.3,
        "s",
        partial(seconds_to_prepare, again=False),
    ),
    Figure(
        "prepare-mapped",
        "the same by a fresh process, prepared before",
        5,
        "ms",
        lambda: 1000 * seconds_to_prepare(again=True),
    ),
    Figure(
        "memory-float32",
        "own memory of a further reader of MNIST, float32",
        50,
        "MiB",
        partial(memory_of_a_further, "float32"),
    ),
    Figure(
        "memory-float64", "the same, float64", 50, "MiB", partial(memory_of_a_further, "float64")
    ),
]
