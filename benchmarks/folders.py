"""Cost of a folder of 50,000 pictures: read once, then mapped by each job."""

from __future__ import annotations

import atexit
import functools
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.queue import Figure

COUNTS = {"train": 40_000, "test": 10_000}
SIDE, CLASSES = 32, 10
ARRAY_MIB = sum(COUNTS.values()) * SIDE * SIDE * 3 / 2**20

READ = r"""
import json, mmap, re, sys, time
from zoo.data import datasets
from zoo.plugins import registry
import numpy
registry.catalogue()
name, contents = sys.argv[1], sys.argv[2] or None
start = time.perf_counter()
found = datasets.raw(name, contents=contents)
seconds = time.perf_counter() - start
# Not ru_maxrss, which begins with the memory of the process that has started this one.
peak = int(re.search(r"VmHWM:\s+(\d+) kB", open("/proc/self/status").read())[1]) / 2**10
print(json.dumps({"seconds": seconds, "peak": peak, "fingerprint": found.fingerprint}))
"""


@functools.cache
def _pictures() -> Path:
    """Write the pictures, once per run: noise, which PNG cannot compress."""
    import numpy as np
    from PIL import Image

    temporary = tempfile.TemporaryDirectory(prefix="zoo-bench-")
    atexit.register(temporary.cleanup)
    root, random = Path(temporary.name), np.random.default_rng(0)
    for split, count in COUNTS.items():
        for label in range(CLASSES):
            (root / split / f"class-{label}").mkdir(parents=True)
        for index in range(count):
            pixels = random.integers(0, 256, (SIDE, SIDE, 3), "uint8")
            file = root / split / f"class-{index % CLASSES}" / f"{index:05}.png"
            Image.fromarray(pixels).save(file, compress_level=1)
    return root


def _read(home: str, contents: str = "") -> dict[str, Any]:
    command = [sys.executable, "-c", READ, f"folder:{_pictures()}", contents]
    env = os.environ | {"ZOO_HOME": home}
    done = subprocess.run(command, env=env, capture_output=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def first(what: str) -> float:
    """Read the pictures in a new home; return its `seconds`, or its `peak` memory in MiB."""
    with tempfile.TemporaryDirectory(prefix="zoo-bench-") as home:
        return float(_read(home)[what])


def again(*, pinned: bool) -> float:
    """Time a new process that opens what was read before, in milliseconds.

    `pinned`: by the fingerprint that a job has, else after a look at each file.
    """
    with tempfile.TemporaryDirectory(prefix="zoo-bench-") as home:
        fingerprint = _read(home)["fingerprint"]
        return 1000 * float(_read(home, fingerprint if pinned else "")["seconds"])


FIGURES = [
    Figure(
        "folder-first",
        "50,000 PNG files of 32 x 32 x 3, read",
        60,
        "s",
        lambda: first("seconds"),
        runs=1,
    ),
    Figure(
        "folder-peak",
        f"peak memory of that process; the array is {ARRAY_MIB:.0f} MiB",
        1.5 * ARRAY_MIB,
        "MiB",
        lambda: first("peak"),
        runs=1,
    ),
    Figure(
        "folder-mapped", "the same, mapped by a job", 5, "ms", functools.partial(again, pinned=True)
    ),
    Figure(
        "folder-checked",
        "the same, after a look at each file for changes",
        1000,
        "ms",
        functools.partial(again, pinned=False),
    ),
]
