"""What checkpoints cost: the same training with them and without, each through a worker.

Three figures: processor time of worker and runner, time of `fit`, and the time that `fit` spends on
saving, which is exact where the machine has other work and the first two are not. The weights must
be the same, and a training that is shorter than the interval must save nothing.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median
from typing import Any

import psutil

from benchmarks.queue import Site, site

SECONDS = 300.0
"""Length of the training."""
INTERVALS = 10
"""Intervals between checkpoints in a training: 30 s, the default, in five minutes."""
TARGET = 2.0
"""Largest accepted cost, in percent."""
# Runners import the plugins: this one times what they save.
TIMER = """
import contextlib, json, os, time
from zoo.training.checkpoints import Checkpoints

save = Checkpoints.save

@contextlib.contextmanager
def timed(self, step):
    start = time.perf_counter()
    try:
        with save(self, step) as folder:
            yield folder
    finally:
        with open(os.environ["ZOO_HOME"] + "/saves", "a") as file:
            file.write(json.dumps(time.perf_counter() - start) + "\\n")

Checkpoints.save = timed
"""
Side = dict[str, Any]


def measure(model: str, seconds: float, pairs: int) -> dict[str, Any]:
    """Measure pairs of trainings of about this length; raise AssertionError if weights differ."""
    interval, epochs, found = seconds / INTERVALS, 0, []
    with site("sqlite") as here:
        _prepare(here)
        for number in range(pairs):
            sides: dict[str, Side] = {}
            for side in ("without", "with") if number % 2 else ("with", "without"):
                with _worker(here, interval if side == "with" else 0) as pid:
                    short = _train(here, pid, model, 1)
                    # The first training of a runner waits for TensorFlow.
                    epochs = epochs or _epochs(_train(here, pid, model, 2), 2, seconds)
                    sides[side] = _train(here, pid, model, epochs) | {"short": short}
            _check(sides, interval)
            found.append(sides)
    costs = {
        "processor": [_percent(each, "processor_seconds") for each in found],
        "fit": [_percent(each, "fit_seconds") for each in found],
        "saving": [100 * each["with"]["saving"] / each["with"]["fit_seconds"] for each in found],
    }
    return {
        "model": model,
        "epochs": epochs,
        "interval": interval,
        "cost_percent": {name: median(values) for name, values in costs.items()},
        "target_percent": TARGET,
        "is_met": max(median(costs["processor"]), median(costs["saving"])) <= TARGET,
        "equal": True,
        "pairs": found,
    }


def _prepare(here: Site) -> None:
    """Take MNIST from the home of this user, if it is there, and the models of Keras."""
    from zoo import settings

    home = here.settings.home
    (home / "plugins" / "timer.py").write_text(TIMER)
    here.env |= {"ZOO_PLUGINS": "keras,timer"}
    raw = settings.load().home / "cache" / "raw" / "mnist"
    if raw.is_dir():
        shutil.copytree(raw, home / "cache" / "raw" / "mnist")


@contextmanager
def _worker(here: Site, interval: float) -> Iterator[int]:
    here.env |= {"ZOO_CHECKPOINT_SECONDS": str(interval)}
    with here.worker() as pid:
        yield pid


def _train(here: Site, pid: int, model: str, epochs: int) -> Side:
    """Train one model; return what it took, and the hashes of its weights."""
    from zoo import jobs
    from zoo.job_spec import JobSpec
    from zoo.queue import submit
    from zoo.storage import artifacts

    saves = here.settings.home / "saves"
    saves.unlink(missing_ok=True)
    spec = JobSpec(kind="train", model=model, params={"epochs": epochs}, dataset="mnist")
    before = _processor_seconds(pid)
    (ref,) = submit.submit(here.db, here.settings, [spec]).ids
    while not (job := jobs.get(here.db, ref)).is_terminal:
        time.sleep(0.5)
    assert job.status == "succeeded", job.error
    files = artifacts.files(here.settings.artifacts, str(job.artifact), str(job.artifact_sha256))
    lines = saves.read_text().splitlines() if saves.exists() else []
    return {
        "fit_seconds": job.number("fit_seconds"),
        "processor_seconds": _processor_seconds(pid) - before,
        "checkpoints": len(lines),
        "saving": sum(map(json.loads, lines)),
        "weights": {n: f["sha256"] for n, f in files.items() if n.startswith("weights/")},
    }


def _processor_seconds(pid: int) -> float:
    """Return the processor time of a worker, its runners and its processes that have ended."""
    worker = psutil.Process(pid)
    own = worker.cpu_times()
    total = own.user + own.system + own.children_user + own.children_system
    for each in worker.children(recursive=True):
        times = each.cpu_times()
        total += times.user + times.system
    return float(total)


def _epochs(short: Side, epochs: int, seconds: float) -> int:
    return max(1, round(seconds * epochs / short["fit_seconds"]))


def _check(sides: dict[str, Side], interval: float) -> None:
    plain, kept = sides["without"], sides["with"]
    assert plain["weights"] == kept["weights"], "checkpoints change the weights"
    assert kept["checkpoints"], "the training has saved no checkpoint"
    assert not plain["checkpoints"], "a training without checkpoints has saved one"
    short = kept["short"]
    is_short = short["fit_seconds"] < interval
    assert not (is_short and short["checkpoints"]), "a short training has saved a checkpoint"


def _percent(sides: dict[str, Side], name: str) -> float:
    return 100 * float(sides["with"][name] / sides["without"][name] - 1)
