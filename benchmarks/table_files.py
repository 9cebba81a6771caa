"""A million rows of a table: pandas against the import, and a script against a first training."""

from __future__ import annotations

import atexit
import contextlib
import functools
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.notes import Machine
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

TRAIN = """
import sys
import pandas
from sklearn.linear_model import SGDClassifier
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
x = pandas.read_parquet(sys.argv[1])
y = x.pop("target")
x = pandas.get_dummies(x, columns=["city"], dtype=float)
train, test = train_test_split(range(len(x)), test_size=0.2, stratify=y, random_state=42)
train.sort()
classifier = SGDClassifier(loss="log_loss", max_iter=5, random_state=42)
model = make_pipeline(StandardScaler(), classifier).fit(x.iloc[train], y.iloc[train])
print(round(len(test) * model.score(x.iloc[test], y.iloc[test])))
"""
"""Sorted, so that both sides see the same rows in the same order."""


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
    score = sum(columns[f"x{index}"] for index in range(5)) + rng.normal(size=ROWS_IN_FILE)
    columns["target"] = np.where(score + columns["price"] / 5000 > 1, "yes", "no")
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


def _their_training(file: Path) -> float:
    command = [sys.executable, "-W", "ignore", "-c", TRAIN, str(_file())]
    start = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    seconds = time.perf_counter() - start
    np.savez(file, right=int(done.stdout))
    return seconds


def _our_training(file: Path, *, is_warm: bool) -> float:
    """Time `zoo train` in a home that has never seen the file; a warm one has trained on digits."""
    machine, dataset = Machine(), f"parquet:{_file()}"
    with contextlib.ExitStack() as after:
        after.callback(machine.end)
        if is_warm:
            machine.zoo("train", "logistic", "--dataset", "digits")
        start = time.perf_counter()
        job = machine.zoo("train", "logistic", "--dataset", dataset, "--preprocess", "standardize")
        seconds = time.perf_counter() - start
    metrics = job["metrics"]
    np.savez(file, right=round(metrics["n_images"] * metrics["accuracy"]))
    return seconds


TRAINING = "the same file: a script reads, splits, fits, scores; `zoo train` with its import"
ROWS = [
    Row(
        "table-import",
        "1,000,000 x 30 from parquet: pandas reads it, Zoo writes contents",
        1.2,
        functools.partial(_seconds, PANDAS),
        functools.partial(_seconds, IMPORT),
    ),
    Row(
        "table-train-warm",
        f"{TRAINING}, warm",
        1.1,
        _their_training,
        functools.partial(_our_training, is_warm=True),
    ),
    Row(
        "table-train-cold",
        f"{TRAINING} and the start of a worker",
        1.1,
        _their_training,
        functools.partial(_our_training, is_warm=False),
    ),
]
