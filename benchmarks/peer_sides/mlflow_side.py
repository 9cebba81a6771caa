"""MLflow: a run for each job, in the two processes of a script; the runs are kept in SQLite."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import mlflow

from benchmarks.peer_sides import kills, work

RUNS = 100
PLACE = f"sqlite:///{work.FOLDER}/mlflow.db"
ACTS = {"noop": work.noop, "train": work.train, "nap": work.nap}


def _run(act: str, number: int, *more: float) -> Any:
    mlflow.set_tracking_uri(PLACE)
    with mlflow.start_run(run_name=str(number)):
        mlflow.log_param("number", number)
        value = ACTS[act](number, *more)
        mlflow.log_metric("accuracy", value or 0.0)
    return value


def _prepare() -> None:
    """Make the database, which two processes at once would do twice."""
    logging.disable(logging.INFO)
    mlflow.set_tracking_uri(PLACE)
    mlflow.search_runs(search_all_experiments=True, output_format="list")


def _all(pool: ProcessPoolExecutor, act: str, *numbers: Iterable[Any]) -> list[Any]:
    return list(pool.map(_run, [act] * len(list(numbers[0])), *numbers))


def noop() -> float:
    _prepare()
    with ProcessPoolExecutor(work.PROCESSES) as pool:
        _all(pool, "noop", range(10))
        return work.rate(RUNS, lambda: _all(pool, "noop", range(RUNS)))


def twenty() -> Any:
    _prepare()
    with ProcessPoolExecutor(work.PROCESSES) as pool:
        _all(pool, "train", range(2 * work.PROCESSES))
        return work.timed(lambda: _all(pool, "train", work.SEEDS))


def kill() -> Any:
    _prepare()
    broken = threading.Event()

    def run() -> None:
        with ProcessPoolExecutor(work.PROCESSES) as pool:
            try:
                _all(pool, "nap", range(kills.JOBS))
            except Exception:
                broken.set()  # BrokenProcessPool: the other process is ended, too

    def state(number: int) -> str:
        client = mlflow.MlflowClient()
        runs = client.search_runs(["0"], f"attributes.run_name = '{number}'")
        if any(each.info.status == "FINISHED" for each in runs):
            return "done"
        if runs:
            return "stuck"  # MLflow says that it runs
        return "failed" if broken.is_set() else "stuck"

    return kills.kill_one(threading.Thread(target=run).start, state, None)


if __name__ == "__main__":
    work.main({"noop": noop, "twenty": twenty, "kill": kill})
