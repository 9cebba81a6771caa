"""Memory of a worker and its processes: the sum of their proportional sets (PSS)."""

from __future__ import annotations

import functools
import time

from benchmarks.queue import Figure, Site, site

SETTLED_SECONDS = 10.0
"""Time after which a worker without a job has imported all that it imports."""
FIRST, LAST = 100, 990
EPOCH = {"epochs": 1}
BATCHES = EPOCH | {"batch_size": 256}
PARAMS: dict[str, dict[str, int]] = {
    "logistic": {},
    "knn": {},
    "pairwise-linear": {},
    "svm": {},
    "mlp": {"max_iter": 5},
    "random-forest": {"n_estimators": 10},
    "boosted-stumps": {"max_iter": 3},
    "hist-gradient-boosting": {"max_iter": 3},
    "pca-quadratic": {"max_iter": 5},
    "rbf-network": {"centres": 50},
    "dense-softmax": EPOCH,
    "digit-detector": EPOCH,
    "lenet-1": BATCHES,
    "lenet-4": BATCHES,
    "lenet-5": BATCHES,
    "cnn": BATCHES,
}
"""Each model of zoo-sklearn and zoo-keras, with params for a short fit."""


def _mebibytes(pid: int) -> float:
    import psutil

    worker = psutil.Process(pid)
    found = [worker, *worker.children(recursive=True)]
    return sum(float(each.memory_full_info().pss) for each in found) / 2**20


def _all_models(here: Site) -> None:
    here.env["ZOO_PLUGINS"] = "sklearn,keras"


def idle() -> float:
    """Return the MiB of a worker and its processes on a home that has never had a job."""
    with site("sqlite") as here:
        _all_models(here)
        with here.worker() as pid:
            time.sleep(SETTLED_SECONDS)
            return _mebibytes(pid)


@functools.cache
def _after_jobs() -> tuple[float, float]:
    """Return the MiB of a worker of one slot and its processes after 100 and 990 jobs.

    The jobs are of all models in turn, all in one runner: it is replaced after a thousand.
    """
    from zoo.job_spec import JobSpec
    from zoo.queue import submit

    def run(number: int) -> None:
        specs = []
        for place in range(number):
            name = list(PARAMS)[place % len(PARAMS)]
            specs.append(
                JobSpec(kind="train", model=name, params=PARAMS[name], dataset="digits", seed=place)
            )
        submit.submit(here.db, here.settings, specs)
        here.finish()

    with site("sqlite") as here:
        _all_models(here)
        with here.worker(slots=1) as pid:
            run(FIRST)
            before = _mebibytes(pid)
            run(LAST - FIRST)
            return before, _mebibytes(pid)


FIGURES = [
    Figure("memory-idle", "worker and its processes, no job yet", 100, "MiB", idle),
    Figure(
        "memory-jobs",
        f"the same after {LAST} jobs of {len(PARAMS)} models, one slot",
        1000,
        "MiB",
        lambda: _after_jobs()[1],
    ),
    Figure(
        "memory-gained",
        f"of it since the first {FIRST}",
        50,
        "MiB",
        lambda: _after_jobs()[1] - _after_jobs()[0],
    ),
]
