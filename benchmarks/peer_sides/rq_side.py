"""RQ: two `rq worker` processes, with their defaults."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from redis import Redis
from rq import Queue, Retry
from rq.exceptions import NoSuchJobError
from rq.job import Job

from benchmarks.peer_sides import kills, work

JOBS = 200
PRELOAD = "--preload" in sys.argv
"""Whether the worker imports scikit-learn before it forks a process for each job."""
WORKER = """
import sklearn.neural_network
from redis import Redis
from rq import Queue, Worker
connection = Redis.from_url({url!r})
Worker([Queue(connection=connection)], connection=connection).work()
"""


def _worker() -> subprocess.Popen[bytes]:
    command = [Path(sys.executable).parent / "rq", "worker", "--url", work.BROKER]
    if PRELOAD:
        command = [sys.executable, "-c", WORKER.format(url=work.BROKER)]
    if work.CAREFUL:
        command += ["--job-monitoring-interval", "5", "--maintenance-interval", "5"]
    with (work.FOLDER / "worker.log").open("ab") as log:
        return subprocess.Popen(command, stdout=log, stderr=log)


@contextlib.contextmanager
def _workers() -> Iterator[Queue]:
    workers = [_worker() for _ in range(work.PROCESSES)]
    queue = Queue(connection=Redis.from_url(work.BROKER))
    try:
        _results([queue.enqueue(work.nap, n) for n in range(2 * work.PROCESSES)])
        yield queue
    finally:
        for worker in workers:
            worker.terminate()
            worker.wait(30)


def _results(jobs: list[Job]) -> list[Any]:
    found = []
    for job in jobs:
        while job.get_status() != "finished":
            assert job.get_status(refresh=False) != "failed", job.latest_result()
            time.sleep(0.002 if len(jobs) == 1 else 0.02)
        found.append(job.return_value())
    return found


def noop() -> float:
    with _workers() as queue:
        return work.rate(JOBS, lambda: _results([queue.enqueue(work.noop, n) for n in range(JOBS)]))


def start() -> float:
    with _workers() as queue:
        return work.latency(lambda: _results([queue.enqueue(work.now)])[0])


def twenty() -> Any:
    with _workers() as queue:
        return work.timed(lambda: _results([queue.enqueue(work.train, s) for s in work.SEEDS]))


def kill() -> Any:
    connection = Redis.from_url(work.BROKER)
    queue = Queue(connection=connection)
    retry = Retry(max=3) if work.CAREFUL else None
    started: list[subprocess.Popen[bytes]] = []

    def start_worker() -> int:
        started.append(_worker())
        return started[-1].pid

    def submit() -> None:
        for number in range(kills.JOBS):
            queue.enqueue(work.nap, number, job_id=str(number), retry=retry)

    def state(number: int) -> str:
        try:
            status = str(Job.fetch(str(number), connection=connection).get_status().value)
        except NoSuchJobError:
            return "lost"
        return {"finished": "done", "failed": "failed"}.get(status, "stuck")

    try:
        return kills.kill_one(submit, state, start_worker)
    finally:
        for worker in started:
            worker.kill()
            worker.wait()


if __name__ == "__main__":
    work.main({"noop": noop, "start": start, "twenty": twenty, "kill": kill})
