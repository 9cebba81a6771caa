"""Memory of a worker and its processes: the sum of their proportional sets (PSS)."""

from __future__ import annotations

import functools
import time
from typing import Any, NamedTuple

from zoo_workers.runner_pool import IDLE_SECONDS

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
    return sum(float(each.memory_full_info().pss) for each in _processes(pid)) / 2**20


def _processes(pid: int) -> list[Any]:
    import psutil

    worker = psutil.Process(pid)
    return [worker, *worker.children(recursive=True)]


def _own_mebibytes(pid: int) -> float:
    """Return what would be free without these processes: all but the pages of files."""
    found = (each.memory_info() for each in _processes(pid))
    return sum(float(each.rss - each.shared) for each in found) / 2**20


def _all_models(here: Site) -> None:
    here.env["ZOO_PLUGINS"] = "sklearn,keras"


def idle() -> float:
    """Return the MiB of a worker and its processes on a home that has never had a job."""
    with site("sqlite") as here:
        _all_models(here)
        with here.worker() as pid:
            time.sleep(SETTLED_SECONDS)
            return _mebibytes(pid)


class AfterJobs(NamedTuple):
    """MiB of a worker of one slot and its processes; `own` is without the pages of files."""

    pss: float
    own: float
    own_gained: float
    """Since the first jobs."""
    pss_recycled: float
    own_recycled: float


@functools.cache
def _after_jobs() -> AfterJobs:
    """Return the memory after 990 jobs, and once the idle runner has been recycled.

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
            before = _own_mebibytes(pid)
            run(LAST - FIRST)
            pss, own = _mebibytes(pid), _own_mebibytes(pid)
            time.sleep(IDLE_SECONDS + SETTLED_SECONDS * 2)
            return AfterJobs(pss, own, own - before, _mebibytes(pid), _own_mebibytes(pid))


def _figure(name: str, what: str, target: float, part: str) -> Figure:
    return Figure(
        f"memory-{name}", what, target, "MiB", lambda: float(getattr(_after_jobs(), part)), 1
    )


FIGURES = [
    Figure("memory-idle", "worker and its processes, no job yet", 100, "MiB", idle),
    _figure("jobs", f"the same after {LAST} jobs of {len(PARAMS)} models, one slot", 1000, "pss"),
    _figure("own", "of it without the pages of files", 1000, "own"),
    _figure("gained", f"of that since the first {FIRST} jobs", 20, "own_gained"),
    _figure("recycled", "a minute and a half later, with the pages of files", 900, "pss_recycled"),
    _figure("own-recycled", "the same without", 500, "own_recycled"),
]
