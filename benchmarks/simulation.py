"""Simulate the limits of one database and one broker from measured costs.

Costs are read from `benchmarks/results/costs-*.json`, which `python -m benchmarks --keep
costs-sqlite costs-postgresql` writes; only the number of cores of a server is assumed.
"""

from __future__ import annotations

import heapq
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Station:
    """A server of the queueing model, and its seconds per operation."""

    name: str
    servers: int
    job: float
    """Seconds per job, from claim to end."""
    running: float = 0.0
    """Seconds per second of a running job: heartbeats and checks for cancellation."""
    worker: float = 0.0
    """Seconds per second of a worker, idle or busy."""

    def load(self, workers: float, slots: int, seconds: float, rate: float) -> float:
        """Return the utilization at `rate` jobs per second."""
        running = min(rate * seconds, workers * slots)
        asked = rate * self.job + running * self.running + workers * self.worker
        return asked / self.servers

    def most_workers(self, slots: int, seconds: float) -> float:
        """Return the number of busy workers at which it becomes the bottleneck."""
        each = slots * (self.job / seconds + self.running) + self.worker
        return self.servers / each


def costs(kind: str) -> dict[str, Any]:
    """Return the costs recorded by `python -m benchmarks --keep costs-KIND`."""
    found: dict[str, Any] = json.loads((RESULTS / f"costs-{kind}.json").read_text())
    return found


def write_lock() -> Station:
    """SQLite: one writer at a time; readers do not wait."""
    found = costs("sqlite")
    held = found["looks_ms"]["sign"] / 1000
    beats = _per_second(found["running_second"], "beat (write)") * held
    signs = _per_second(found["idle_second"], "sign (write)") * held
    return Station("SQLite's write lock", 1, found["job_in_bulk"]["write_held"], beats, signs)


def postgresql(cores: int, *, looks: bool = True) -> Station:
    """The server's cores, with or without the checks of running jobs for cancellation."""
    found = costs("postgresql")
    job, nobody = found["job_in_bulk"], found["nobody_second"]
    n = job["reads"] + job["writes"]
    each = (job["database_cpu"] - nobody["database_cpu"] * job["at"]) / n
    running = found["running_second"]
    beats = _per_second(running, "beat (write)") + looks * _per_second(running, "get (read)")
    signs = found["idle_second"]["reads"] + found["idle_second"]["writes"]
    return Station("PostgreSQL", cores, n * each, beats * each, signs * each)


def valkey() -> Station:
    """The broker, which is single-threaded."""
    found = costs("postgresql")
    job, nobody, idle = (found[name] for name in ("job_in_bulk", "nobody_second", "idle_second"))
    # The polls of one worker cost too little to measure: those of many are used.
    many = found["listening_second"]
    each = (many["broker_cpu"] - nobody["broker_cpu"]) / many["broker_commands"]
    asks = idle["broker_commands"] - nobody["broker_commands"]
    return Station("Valkey", 1, job["broker_commands"] * each, 0.0, asks * each)


def _per_second(window: dict[str, Any], name: str) -> float:
    return float(window["transactions"].get(name, {"n": 0.0})["n"])


def simulate(
    visits: Sequence[Station], slots: int, delay: float, jobs: int, seed: int = 1
) -> float:
    """Return the jobs per second of `slots` slots; each visits every station, then sleeps.

    Stations serve in the order of arrival; service times are exponential.
    """
    draw = random.Random(seed)
    free = [[0.0] * station.servers for station in visits]
    # (time, slot, index of the next visit)
    events = [(0.0, slot, 0) for slot in range(slots)]
    ended: list[float] = []
    while len(ended) < jobs:
        now, slot, n = heapq.heappop(events)
        if n == len(visits):
            ended.append(now)
            n = 0
        start = max(now, heapq.heappop(free[n]))
        done = start + draw.expovariate(1 / visits[n].job) if visits[n].job else start
        heapq.heappush(free[n], done)
        after = done + delay if n + 1 == len(visits) else done
        heapq.heappush(events, (after, slot, n + 1))
    # After every slot has started.
    begun = len(ended) // 4
    return (len(ended) - begun) / (ended[-1] - ended[begun - 1])


def this_machine() -> tuple[list[Station], float]:
    """Return the stations SQLite and two cores, and the remaining seconds of a job."""
    job = costs("sqlite")["job_in_bulk"]
    cores = Station("cores", 2, job["worker_cpu"] + job["runner_cpu"] + job["broker_cpu"])
    rest = job["at"] - cores.job - write_lock().job
    return [write_lock(), cores], max(rest, 0.0)


def rate(slots: int, seconds: float) -> float:
    """Return the jobs per second of `slots` slots, for jobs that sleep `seconds`."""
    visits, rest = this_machine()
    return simulate(visits, slots, rest + seconds, 400 * slots)


def below_linear(slots: int, seconds: float) -> float:
    """Return the rate under linear scaling from one slot, over the simulated rate."""
    return rate(1, seconds) * slots / rate(slots, seconds)
