"""`logistic` on MNIST: scikit-learn in a script, and the model; fit and cross-validation."""

from __future__ import annotations

import multiprocessing
import os
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.pairs import Row, child, say
from zoo import cores

FOLDS = 5
SLOTS = 2


def their_fit(file: Path) -> float:
    return child("benchmarks.logistic", "plain-fit", file)


def our_fit(file: Path) -> float:
    return child("benchmarks.logistic", "zoo-fit", file, _one_slot())


def our_fit_alone(file: Path) -> float:
    alone = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    return child("benchmarks.logistic", "zoo-fit", file, alone)


def their_cv(file: Path) -> float:
    return child("benchmarks.logistic", "plain-cv", file)


def our_cv(file: Path) -> float:
    return child("benchmarks.logistic", "zoo-cv", file, _one_slot())


def _one_slot() -> dict[str, str]:
    """Number of cores for each runner of a worker with two slots."""
    return os.environ | {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // SLOTS))}


def plain_fit(file: Path) -> float:
    """Fit the baseline as a script does."""
    x, y = _plain_data()
    classifier = _baseline()
    start = time.perf_counter()
    classifier.fit(x, y)
    seconds = time.perf_counter() - start
    np.savez(file, coef=classifier.coef_, intercept=classifier.intercept_)
    return seconds


def zoo_fit(file: Path) -> float:
    """Fit the model as a job does, including its train_accuracy."""
    from zoo_sklearn.logistic import Logistic

    from zoo.data.preprocessing import prepare

    data = prepare("mnist", "train", "flat", "float64")
    model = Logistic(Logistic.Params.resolve({}), data.class_names, 42)
    start = time.perf_counter()
    model.fit(data.x, data.y, _ignore)
    seconds = time.perf_counter() - start
    np.savez(file, coef=model.classifier.coef_, intercept=model.classifier.intercept_)
    return seconds


def plain_cv(file: Path) -> float:
    """Cross-validate as a script does, on all cores."""
    from sklearn.model_selection import cross_validate

    x, y = _plain_data()
    start = time.perf_counter()
    found = cross_validate(_baseline(), x, y, n_jobs=-1, return_estimator=True)
    seconds = time.perf_counter() - start
    coefs = [(each.coef_, each.intercept_) for each in found["estimator"]]
    _keep(file, found["test_score"].tolist(), coefs)
    return seconds


def zoo_cv(file: Path) -> float:
    """Run the jobs of the folds, each from its spec to its files, in two warm processes.

    They lend each other cores as a worker's runners do.
    """
    context = multiprocessing.get_context("spawn")
    share = int(os.environ["OMP_NUM_THREADS"])
    with tempfile.TemporaryDirectory() as folder:
        first = [Path(folder) / f"first-{index}" for index in range(SLOTS)]
        places = [Path(folder) / str(index) for index in range(FOLDS)]
        lent = cores.lend(share, SLOTS * share)
        with lent, ProcessPoolExecutor(SLOTS, mp_context=context) as pool:
            list(pool.map(_warm_up, range(SLOTS), first, timeout=300))
            start = time.perf_counter()
            scores = list(pool.map(_fold, range(FOLDS), places))
            seconds = time.perf_counter() - start
        _keep(file, scores, [_weights(place) for place in places])
    return seconds


@cores.held()
def _fold(index: int, folder: Path) -> float:
    from zoo.job_spec import JobSpec
    from zoo.training.run import run_job

    folder.mkdir()
    spec = {"kind": "train", "model": "logistic", "params": {}, "dataset": "mnist"}
    fold = {"k": FOLDS, "index": index}
    job = JobSpec.model_validate(spec | {"fold": fold, "keep_weights": True})
    return float(run_job(job, folder, _ignore)["accuracy"])


def _weights(folder: Path) -> tuple[Any, Any]:
    with np.load(folder / "weights" / "weights.npz", allow_pickle=False) as arrays:
        return arrays["coef"], arrays["intercept"]


def _warm_up(index: int, folder: Path) -> None:
    """Run a first job, so that imports are done and data are in memory, as in a warm runner.

    The scripts also have their data in memory when their time begins.
    """
    _fold(index, folder)
    # Long enough for the other process to get a job, too.
    time.sleep(1)


def _plain_data() -> tuple[Any, Any]:
    from zoo.data.datasets import raw

    images, labels = raw("mnist").splits["train"]
    return images.reshape(-1, 784) / 255.0, labels


def _baseline() -> Any:
    from sklearn.linear_model import SGDClassifier

    return SGDClassifier(loss="log_loss", max_iter=5, random_state=42)


def _ignore(step: int, total: int, unit: str = "epoch", **metrics: float) -> None:
    pass


def _keep(file: Path, scores: list[float], weights: list[tuple[Any, Any]]) -> None:
    coef, intercept = zip(*weights, strict=True)
    np.savez(file, scores=scores, coef=coef, intercept=intercept)


ROWS = [
    Row("logistic-fit", "fit of logistic, 5 epochs, one thread", 1 / 2, their_fit, our_fit),
    Row(
        "logistic-fit-alone",
        "the same, the model on all cores",
        1 / 3,
        their_fit,
        our_fit_alone,
        pairs=1,
    ),
    Row(
        "logistic-cv",
        f"{FOLDS} folds of logistic: cross_validate(n_jobs=-1), {SLOTS} runners",
        1 / 3,
        their_cv,
        our_cv,
    ),
]

if __name__ == "__main__":
    sides = {"plain-fit": plain_fit, "zoo-fit": zoo_fit, "plain-cv": plain_cv, "zoo-cv": zoo_cv}
    say(sides[sys.argv[1]](Path(sys.argv[2])))
