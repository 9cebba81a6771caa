"""Celery: a plain task each, results in Redis, workers with their defaults."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from celery import Celery
from redis import Redis

from benchmarks.peer_sides import kills, work

JOBS = 1000
app = Celery("peers", broker=work.BROKER, backend=work.BROKER)
if work.CAREFUL:
    app.conf.update(
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        worker_prefetch_multiplier=1,
        broker_transport_options={"visibility_timeout": 10},
    )
noop_task = app.task(work.noop, name="noop")
now_task = app.task(work.now, name="now")
nap_task = app.task(work.nap, name="nap")
train_task = app.task(work.train, name="train")


def _worker(processes: int) -> subprocess.Popen[bytes]:
    celery = Path(sys.executable).parent / "celery"
    module = "benchmarks.peer_sides.celery_side"
    # Each has a name of its own, as on machines of their own.
    name = f"w{len(list(work.FOLDER.glob('*.log')))}@%h"
    command = [celery, "-A", module, "worker", "-c", str(processes), "-n", name]
    with (work.FOLDER / f"{name}.log").open("ab") as log:
        return subprocess.Popen(command, stdout=log, stderr=log)


@contextlib.contextmanager
def _workers() -> Iterator[None]:
    worker = _worker(work.PROCESSES)
    try:
        _results([nap_task.delay(number) for number in range(2 * work.PROCESSES)])
        yield
    finally:
        worker.terminate()
        worker.wait(30)


def _results(sent: list[Any]) -> list[Any]:
    return [each.get(timeout=120) for each in sent]


def noop() -> float:
    with _workers():
        return work.rate(JOBS, lambda: _results([noop_task.delay(n) for n in range(JOBS)]))


def start() -> float:
    with _workers():
        return work.latency(lambda: now_task.delay().get(timeout=60))


def twenty() -> Any:
    with _workers():
        _results([train_task.delay() for _ in range(2 * work.PROCESSES)])
        return work.timed(lambda: _results([train_task.delay(seed) for seed in work.SEEDS]))


def kill() -> Any:
    started: list[subprocess.Popen[bytes]] = []
    sent: list[Any] = []
    redis: Any = Redis.from_url(work.BROKER)

    def start_worker() -> int:
        started.append(_worker(1))
        return started[-1].pid

    def state(number: int) -> str:
        result = sent[number]
        if result.state in ("SUCCESS", "FAILURE"):
            return "done" if result.state == "SUCCESS" else "failed"
        # PENDING says nothing: is there a message of it, in the queue or with a worker?
        held = [json.loads(each)[0] for each in redis.hvals("unacked")]
        held += [json.loads(each) for each in redis.lrange("celery", 0, -1)]
        ids = {each["headers"]["id"] for each in held}
        return "stuck" if result.id in ids else "lost"

    try:
        return kills.kill_one(
            lambda: sent.extend(nap_task.delay(number) for number in range(kills.JOBS)),
            state,
            start_worker,
        )
    finally:
        for worker in started:
            worker.terminate()
            worker.wait(30)


if __name__ == "__main__":
    work.main({"noop": noop, "start": start, "twenty": twenty, "kill": kill})
