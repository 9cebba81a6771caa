"""A million rows of a table: `pandas.read_parquet` against the import into contents."""

from __future__ import annotations

import atexit
import functools
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.pairs import Row

ROWS_IN_FILE = 1_000_000
NUMBERS = 26
PANDAS = """
import sys, pandas
frame = pandas.read_parquet(sys.argv[1])
print(*frame.shape)
"""
IMPORT = """
import sys, tempfile
from pathlib import Path
from zoo.data import incoming
from zoo.data.readers import tables
from zoo.data.source_options import SourceOptions
options = SourceOptions(target="target")
with tempfile.TemporaryDirectory() as folder:
    found = tables.read_parquet(Path(sys.argv[1]), options)
    meta = incoming.write(Path(folder), "table", found, options.shares)
    print(sum(meta.counts.values()), len(meta.columns) + 1)
"""
"""Splits, labels, inputs and fingerprint: all that `zoo data add` keeps."""


@functools.cache
def _file() -> Path:
    """Thirty columns: 26 real numbers, two whole ones, a text, and the text of the class."""
    import pyarrow as pa
    from pyarrow import parquet

    rng = np.random.default_rng(0)
    columns = {f"x{index}": rng.normal(size=ROWS_IN_FILE) for index in range(NUMBERS)}
    columns["age"] = rng.integers(0, 100, ROWS_IN_FILE)
    columns["price"] = rng.integers(0, 10_000, ROWS_IN_FILE)
    columns["city"] = np.array(["berlin", "oslo", "rome", "seoul"])[columns["age"] % 4]
    columns["target"] = np.array(["no", "yes"])[rng.integers(0, 2, ROWS_IN_FILE)]
    folder = Path(tempfile.mkdtemp(prefix="zoo-bench-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    parquet.write_table(pa.table(columns), folder / "table.parquet")
    return folder / "table.parquet"


def _seconds(script: str, file: Path) -> float:
    """Time a whole process; its result, rows and columns, is saved afterwards."""
    command = [sys.executable, "-c", script, str(_file())]
    start = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    seconds = time.perf_counter() - start
    np.savez(file, shape=np.array(done.stdout.split(), "int64"))
    return seconds


ROWS = [
    Row(
        "table-import",
        "1,000,000 x 30 from parquet: pandas reads it, Zoo writes contents",
        1.2,
        functools.partial(_seconds, PANDAS),
        functools.partial(_seconds, IMPORT),
    )
]
