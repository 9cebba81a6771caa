"""joblib: `Parallel` in a script."""

from __future__ import annotations

import threading
from typing import Any

from joblib import Parallel, delayed

from benchmarks.peer_sides import kills, work


def noop() -> float:
    with Parallel(work.PROCESSES) as pool:
        pool(delayed(work.noop)(number) for number in range(100))
        return work.rate(10_000, lambda: pool(delayed(work.noop)(n) for n in range(10_000)))


def start() -> float:
    with Parallel(work.PROCESSES) as pool:
        pool([delayed(work.now)(), delayed(work.now)()])
        return work.latency(lambda: pool([delayed(work.now)()])[0])


def twenty() -> Any:
    with Parallel(work.PROCESSES) as pool:
        pool(delayed(work.train)() for _ in range(work.PROCESSES))
        return work.timed(lambda: pool(delayed(work.train)(seed) for seed in work.SEEDS))


def sweep() -> Any:
    pool = Parallel(work.PROCESSES)
    return work.timed(lambda: pool(delayed(work.train)(42, rate) for rate in work.RATES))


def kill() -> Any:
    found: dict[int, str] = {}

    def run() -> None:
        try:
            pool = Parallel(work.PROCESSES)
            found.update(
                dict.fromkeys(pool(delayed(work.nap)(n) for n in range(kills.JOBS)), "done")
            )
        except Exception:
            # `Parallel` raises TerminatedWorkerError and returns nothing of what was done.
            found.update(dict.fromkeys(range(kills.JOBS), "failed"))

    thread = threading.Thread(target=run)
    return kills.kill_one(thread.start, lambda number: found.get(number, "stuck"), None)


if __name__ == "__main__":
    work.main({"noop": noop, "start": start, "twenty": twenty, "sweep": sweep, "kill": kill})
