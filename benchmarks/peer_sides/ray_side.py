"""Ray on one node with two CPUs: tasks, and Tune's trials with `--tune`."""

from __future__ import annotations

import sys
import threading
import time
from typing import Any

import ray

from benchmarks.peer_sides import kills, work

TASKS, TRIALS = 1000, 10


def _start() -> None:
    ray.init(
        num_cpus=work.PROCESSES,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
        object_store_memory=100 * 2**20,
        _temp_dir=str(work.FOLDER / "ray"),
    )


def noop() -> float:
    _start()
    act = ray.remote(work.noop)
    ray.get([act.remote(number) for number in range(50)])
    return work.rate(TASKS, lambda: ray.get([act.remote(n) for n in range(TASKS)]))


def start() -> float:
    _start()
    act = ray.remote(work.now)
    ray.get([act.remote() for _ in range(50)])
    return work.latency(lambda: ray.get(act.remote()))


def twenty() -> Any:
    _start()
    act = ray.remote(work.train)
    ray.get([act.remote() for _ in range(2 * work.PROCESSES)])
    return work.timed(lambda: ray.get([act.remote(seed) for seed in work.SEEDS]))


def kill() -> Any:
    _start()
    act = ray.remote(work.nap)
    sent: list[Any] = []

    def state(number: int) -> str:
        ready, _ = ray.wait([sent[number]], timeout=0)
        if not ready:
            return "stuck"
        try:
            ray.get(sent[number])
        except ray.exceptions.RayError:
            return "failed"
        return "done"

    return kills.kill_one(
        lambda: sent.extend(act.remote(n) for n in range(kills.JOBS)), state, None
    )


def _tune(act: Any, name: str, values: list[Any], failures: int = 0) -> list[Any]:
    """Return the results of a trial for each of the values, by value."""
    from ray import tune

    tuner = tune.Tuner(
        act,
        param_space={name: tune.grid_search(values)},
        tune_config=tune.TuneConfig(metric="accuracy", mode="max"),
        run_config=tune.RunConfig(
            storage_path=str(work.FOLDER / "tune"),
            verbose=0,
            failure_config=tune.FailureConfig(max_failures=failures),
        ),
    )
    found = {each.config[name]: each for each in tuner.fit()}
    return [found[value] for value in values]


def _report(value: float | None) -> None:
    from ray import tune

    tune.report({"accuracy": value or 0.0})


def tune_noop() -> float:
    _start()

    def act(config: dict[str, Any]) -> None:
        _report(None)

    return work.rate(TRIALS, lambda: _tune(act, "number", list(range(TRIALS))))


def tune_start() -> float:
    _start()

    def act(config: dict[str, Any]) -> None:
        _report(time.time())

    _tune(act, "number", [0])
    return work.latency(lambda: float(_tune(act, "number", [0])[0].metrics["accuracy"]), times=2)


def _trainings(name: str, values: list[Any]) -> Any:
    def act(config: dict[str, Any]) -> None:
        _report(work.train(**{name: config[name]}))

    return work.timed(lambda: [each.metrics["accuracy"] for each in _tune(act, name, values)])


def tune_twenty() -> Any:
    _start()
    return _trainings("seed", list(work.SEEDS))


def tune_sweep() -> Any:
    _start()
    return _trainings("learning_rate", work.RATES)


def tune_kill() -> Any:
    _start()
    found: dict[int, str] = {}

    def act(config: dict[str, Any]) -> None:
        _report(work.nap(config["number"]))

    def run() -> None:
        numbers = list(range(kills.JOBS))
        for number, each in enumerate(_tune(act, "number", numbers, 3 if work.CAREFUL else 0)):
            found[number] = "failed" if each.error else "done"

    thread = threading.Thread(target=run)
    return kills.kill_one(thread.start, lambda number: found.get(number, "stuck"), None)


TUNE = {
    "noop": tune_noop,
    "start": tune_start,
    "twenty": tune_twenty,
    "sweep": tune_sweep,
    "kill": tune_kill,
}
TASK = {"noop": noop, "start": start, "twenty": twenty, "kill": kill}

if __name__ == "__main__":
    work.main(TUNE if "--tune" in sys.argv else TASK)
    ray.shutdown()
