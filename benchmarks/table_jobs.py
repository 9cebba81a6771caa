"""Jobs on a million rows of an added table, against fit and predict of the same estimator."""

from __future__ import annotations

import atexit
import functools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.notes import SLOTS, Machine
from benchmarks.pairs import Row

TRAIN, TEST, NUMBERS = 800_000, 200_000, 20
DATASET = "million"
SCRIPT = """
import json, sys, time, warnings
import numpy as np
from {module} import {estimator}
warnings.simplefilter("ignore")
with np.load(sys.argv[1]) as arrays:
    x, y, x_test = arrays["x_train"], arrays["y_train"], arrays["x_test"]
classifier = {estimator}({params})
start = time.perf_counter()
predicted = classifier.fit(x, y).predict(x_test)
seconds = time.perf_counter() - start
np.savez(sys.argv[2], predicted=predicted)
print(json.dumps(seconds))
"""
LOGISTIC = SCRIPT.format(
    module="sklearn.linear_model",
    estimator="SGDClassifier",
    params='loss="log_loss", max_iter=5, random_state=42',
)
BOOSTING = SCRIPT.format(
    module="sklearn.ensemble",
    estimator="HistGradientBoostingClassifier",
    params="random_state=42",
)
WARM = {"logistic": {}, "hist-gradient-boosting": {"max_iter": 2}}
"""The models, with the params of the first jobs of a runner."""


@functools.cache
def _file() -> Path:
    """Write two classes that a sum and a product of real numbers, and noise, tell apart."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(TRAIN + TEST, NUMBERS))
    score = x[:, :5].sum(axis=1) + x[:, 5] * x[:, 6] + rng.normal(size=len(x))
    y = (score > 0).astype("int64")
    folder = Path(tempfile.mkdtemp(prefix="zoo-bench-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    arrays = {"x_train": x[:TRAIN], "y_train": y[:TRAIN], "x_test": x[TRAIN:], "y_test": y[TRAIN:]}
    np.savez(folder / "million.npz", **arrays)
    return folder / "million.npz"


@functools.cache
def _machine() -> Machine:
    """Add the table, and have both runners train both models on it."""
    machine = Machine()
    atexit.register(machine.end)
    machine.zoo("data", "add", DATASET, str(_file()))
    for model, params in WARM.items():
        given = [word for name, value in params.items() for word in ("-p", f"{name}={value}")]
        machine.zoo("train", model, "--dataset", DATASET, *given, "--seeds", str(SLOTS))
    return machine


def _theirs(script: str, file: Path) -> float:
    """Time fit and predict alone, with as many threads as a slot has."""
    threads = str(max(1, (os.cpu_count() or 1) // SLOTS))
    command = [sys.executable, "-c", script, str(_file()), str(file)]
    env = os.environ | {"OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    return float(json.loads(done.stdout))


def _ours(model: str, file: Path, *, is_whole: bool) -> float:
    """Time the job from its claim to its recorded end, or the whole command."""
    machine = _machine()
    start = time.perf_counter()
    job = machine.zoo("train", model, "--dataset", DATASET)
    seconds = time.perf_counter() - start
    if not is_whole:
        seconds = job["finished_at"] - job["started_at"]
    with tempfile.TemporaryDirectory() as folder:
        machine.zoo("files", job["id"], "predictions.npz", "--output", folder)
        with np.load(Path(folder) / "predictions.npz") as arrays:
            np.savez(file, predicted=arrays["predicted"])
    return seconds


def _rows(name: str, model: str, script: str) -> list[Row]:
    theirs = functools.partial(_theirs, script)
    job = f"{model} on {TRAIN:,} + {TEST:,} rows of {NUMBERS} numbers: fit and predict, a warm job"
    return [
        Row(name, job, 1.05, theirs, functools.partial(_ours, model, is_whole=False)),
        Row(
            f"{name}-command",
            "the same, `zoo train` from start to end",
            1.25,
            theirs,
            functools.partial(_ours, model, is_whole=True),
        ),
    ]


ROWS = [
    *_rows("table-logistic", "logistic", LOGISTIC),
    *_rows("table-boosting", "hist-gradient-boosting", BOOSTING),
]
