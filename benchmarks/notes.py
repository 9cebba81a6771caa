"""A beginner's two scripts against complete `zoo train` commands."""

from __future__ import annotations

import atexit
import contextlib
import functools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.pairs import Row
from benchmarks.terminal import HERE

LOAD = """
import json, os, sys
import numpy as np
from tensorflow import keras
with np.load(os.environ["MNIST_NPZ"]) as arrays:  # mnist.load_data() without its download
    train_input, train_target = arrays["x_train"], arrays["y_train"]
    x_test, y_test = arrays["x_test"], arrays["y_test"]
train_scaled = (train_input / 255.0).reshape(-1, 28 * 28)
"""
LOGISTIC = f"""{LOAD}
from sklearn.linear_model import SGDClassifier
from sklearn.model_selection import cross_validate
sc = SGDClassifier(loss="log_loss", max_iter=5, random_state=42)
scores = cross_validate(sc, train_scaled, train_target, n_jobs=-1)
print(json.dumps(scores["test_score"].tolist()))
"""
DENSE = f"""{LOAD}
keras.utils.set_random_seed(int(os.environ.get("SEED", 42)))
dense = keras.layers.Dense(10, activation="softmax")
model = keras.Sequential([keras.Input((784,)), dense])
model.compile(loss="sparse_categorical_crossentropy", metrics=["accuracy"])
model.fit(train_scaled, train_target, epochs=5, verbose=0)
x_test_scl = (x_test / 255.0).reshape(-1, 28 * 28)
print(json.dumps([round(len(y_test) * model.evaluate(x_test_scl, y_test, verbose=0)[1])]))
"""
TRAININGS, SLOTS = 20, 2
SCRIPTS = 4
"""Number of scripts run, two at a time; their time is multiplied by five for the twenty."""


@functools.cache
def _npz() -> Path:
    from zoo.data.datasets import raw

    splits = raw("mnist").splits
    folder = Path(tempfile.mkdtemp(prefix="zoo-bench-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    arrays = {"x_train": splits["train"].inputs, "y_train": splits["train"].labels}
    arrays |= {"x_test": splits["test"].inputs, "y_test": splits["test"].labels}
    np.savez_compressed(folder / "mnist.npz", **arrays)
    return folder / "mnist.npz"


def _script(text: str) -> list[float]:
    env = os.environ | {"MNIST_NPZ": str(_npz()), "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "-W", "ignore", "-c", text]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    return list(json.loads(done.stdout.splitlines()[-1]))


def _their_time(text: str, file: Path) -> float:
    _npz()
    start = time.perf_counter()
    found = _script(text)
    seconds = time.perf_counter() - start
    np.savez(file, found=found)
    return seconds


class Machine:
    """A new home with a local worker of two slots."""

    def __init__(self) -> None:
        self.home = tempfile.mkdtemp(prefix="zoo-b-", dir="/tmp")
        gone = ("ZOO_BROKER_URL", "ZOO_DATABASE_URL", "ZOO_ARTIFACTS_URL")
        kept = {name: value for name, value in os.environ.items() if name not in gone}
        self.env = kept | {"ZOO_HOME": self.home, "ZOO_SLOTS": str(SLOTS)}

    def zoo(self, *words: str) -> Any:
        done = subprocess.run(
            [HERE / "zoo", *words, "--json"], env=self.env, capture_output=True, check=True
        )
        return json.loads(done.stdout)

    def run(self, *words: str) -> None:
        subprocess.run([HERE / "zoo", *words], env=self.env, capture_output=True, check=False)

    def end(self) -> None:
        self.run("down")
        shutil.rmtree(self.home, ignore_errors=True)


@functools.cache
def _warm() -> Machine:
    """Warm up: both runners train both models."""
    machine = Machine()
    atexit.register(machine.end)
    machine.zoo("train", "logistic", "--cv", "4")
    machine.zoo("train", "dense-softmax", "--seeds", "4")
    return machine


def _our_cv(file: Path) -> float:
    machine = _warm()
    start = time.perf_counter()
    group = machine.zoo("train", "logistic", "--cv", "5")
    seconds = time.perf_counter() - start
    np.savez(file, found=group["metrics"]["accuracy"]["values"])
    return seconds


def _our_dense(file: Path) -> float:
    machine = _warm()
    start = time.perf_counter()
    job = machine.zoo("train", "dense-softmax")
    seconds = time.perf_counter() - start
    np.savez(file, found=[round(10_000 * job["metrics"]["accuracy"])])
    return seconds


def _their_twenty(file: Path) -> float:
    _npz()
    start = time.perf_counter()
    with ThreadPoolExecutor(SLOTS) as pool:
        found = list(pool.map(_script, [DENSE] * SCRIPTS))
    seconds = time.perf_counter() - start
    np.savez(file, found=found[0])
    return seconds * TRAININGS / SCRIPTS


def _our_twenty(machine: Machine, file: Path) -> float:
    rates = ",".join(f"{0.001 * (1 + n / 10):g}" for n in range(TRAININGS))
    start = time.perf_counter()
    group = machine.zoo("sweep", "dense-softmax", "-p", f"learning_rate={rates}")
    seconds = time.perf_counter() - start
    found = {job["params"]["learning_rate"]: job["metrics"]["accuracy"] for job in group["jobs"]}
    assert len(found) == TRAININGS
    np.savez(file, found=[round(10_000 * found[0.001])])
    return seconds


def _twenty_cold(file: Path) -> float:
    """Time a command in a home with prepared data and no running services."""
    machine = Machine()
    with contextlib.ExitStack() as after:
        after.callback(machine.end)
        subprocess.run(
            [HERE / "zoo", "data", "prepare", "mnist"],
            env=machine.env,
            capture_output=True,
            check=True,
        )
        return _our_twenty(machine, file)


CV = "the notes' logistic script, `zoo train logistic --cv 5` warm"
ONE = "the notes' dense script, `zoo train dense-softmax` warm"
MANY = f"the dense script {TRAININGS} times, two at a time; a sweep of as many on {SLOTS} slots"
ROWS = [
    Row("notes-logistic", CV, 1 / 2.5, functools.partial(_their_time, LOGISTIC), _our_cv, 1),
    Row("notes-dense", ONE, 1 / 5, functools.partial(_their_time, DENSE), _our_dense, 1),
    Row("twenty-cold", f"{MANY}, cold", 1 / 8, _their_twenty, _twenty_cold, 1),
    Row(
        "twenty-warm", f"{MANY}, warm", 1 / 12, _their_twenty, lambda f: _our_twenty(_warm(), f), 1
    ),
]
