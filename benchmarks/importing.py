"""Cost of importing a dataset of one's own: memory of the process, and time once it is there."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from functools import cache, partial
from pathlib import Path

from benchmarks.queue import Figure

COUNT, SHAPE = 50_000, (32, 32, 3)
RAW_BYTES = COUNT * 32 * 32 * 3
WRITE = """
import sys
import numpy
path, form, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
random = numpy.random.default_rng(0)
x = random.integers(0, 256, (count, 32, 32, 3), dtype="uint8")
# Half of each image is flat, so that deflate has something to do.
x[:, 16:] = x[:, :1]
y = numpy.arange(count)[:, None] % 10
save = numpy.savez if form == "stored" else numpy.savez_compressed
if form == "floats":
    x = (x / 255).astype("float32")
save(path, x_train=x, y_train=y, x_test=x[:100], y_test=y[:100])
"""
OPEN = r"""
import json, re, sys, time
import numpy
from zoo.data import datasets, preprocessing
from zoo.plugins import registry
registry.catalogue()
start = time.perf_counter()
datasets.raw(sys.argv[1])
took = time.perf_counter() - start
if "prepare" in sys.argv:
    preprocessing.prepare(sys.argv[1], "train", "flat", "float32")
    preprocessing.clear_mapped()
    start = time.perf_counter()
    preprocessing.prepare(sys.argv[1], "train", "flat", "float32")
    took = time.perf_counter() - start
# Not ru_maxrss, which begins with the memory of the process that has started this one.
peak = int(re.search(r"VmHWM:\s+(\d+) kB", open("/proc/self/status").read())[1]) * 1024
print(json.dumps({"peak": peak, "seconds": took}))
"""


@cache
def _home() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="zoo-bench-")


@cache
def _file(form: str) -> Path:
    """Write an npz file of 50,000 colour images: `stored`, `deflated`, or deflated `floats`."""
    path = Path(_home().name) / f"{form}.npz"
    subprocess.run([sys.executable, "-c", WRITE, str(path), form, str(COUNT)], check=True)
    return path


def _open(form: str, home: str, *more: str) -> dict[str, float]:
    """Open the dataset in a new process; returns its peak memory in bytes, and seconds."""
    import json

    command = [sys.executable, "-W", "ignore", "-c", OPEN, f"npz:{_file(form)}", *more]
    env = os.environ | {"ZOO_HOME": home}
    done = subprocess.run(command, env=env, capture_output=True, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def peak_of_an_import(form: str) -> float:
    """Return the peak memory of the importing process as a multiple of the raw array."""
    with tempfile.TemporaryDirectory(prefix="zoo-bench-") as home:
        return _open(form, home)["peak"] / RAW_BYTES


def seconds_to_import(form: str) -> float:
    """Time an import in a new process, after its own start."""
    with tempfile.TemporaryDirectory(prefix="zoo-bench-") as home:
        return _open(form, home)["seconds"]


def milliseconds_to_map() -> float:
    """Time the mapping of the imported and prepared dataset by a new process."""
    with tempfile.TemporaryDirectory(prefix="zoo-bench-") as home:
        _open("stored", home, "prepare")
        return 1000 * _open("stored", home, "prepare")["seconds"]


WHAT = "50,000 x 32 x 32 x 3 from an npz file"
FIGURES = [
    *(
        Figure(
            f"import-peak-{form}",
            f"peak memory of importing {WHAT}, {form}, in raw arrays",
            1.5,
            "x",
            partial(peak_of_an_import, form),
            runs=1,
        )
        for form in ("stored", "deflated", "floats")
    ),
    *(
        Figure(
            f"import-{form}", f"importing {WHAT}, {form}", 6, "s", partial(seconds_to_import, form)
        )
        for form in ("stored", "deflated")
    ),
    Figure("import-mapped", f"mapping {WHAT}, prepared before", 5, "ms", milliseconds_to_map),
]
