"""How far one database and one broker go, from measured costs.

Costs are read from `benchmarks/results/costs-*.json`, which `python -m benchmarks costs-sqlite
costs-postgresql` writes; nothing is guessed but how many cores a server has.
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
    """A server that jobs queue at, and the seconds of it that each thing takes."""

    name: str
    servers: int
    job: float
    """Of one job, from claim to end."""
    running: float = 0.0
    """Of a second of a running job: beats, and looks for a cancel."""
    worker: float = 0.0
    """Of a second of a worker, whatever it does."""

    def load(self, workers: float, slots: int, seconds: float, rate: float) -> float:
        """The part of its time that it works, if so many jobs a second pass."""
        running = min(rate * seconds, workers * slots)
        asked = rate * self.job + running * self.running + workers * self.worker
        return asked / self.servers

    def most_workers(self, slots: int, seconds: float) -> float:
        """How many busy workers it carries before it is the bottleneck."""
        each = slots * (self.job / seconds + self.running) + self.worker
        return self.servers / each


def costs(kind: str) -> dict[str, Any]:
    """What `python -m benchmarks costs-KIND` has measured."""
    found: dict[str, Any] = json.loads((RESULTS / f"costs-{kind}.json").read_text())
    return found


def stations(kind: str, *, database_cores: int) -> list[Station]:
    """The database and the broker, as measured."""
    found = costs(kind)
    job, nobody = found["job_in_bulk"], found["nobody_second"]
    beats, looks = (_per_second(found["running_second"], n) for n in ("beat (write)", "get (read)"))
    signs = sum(each["n"] for each in found["idle_second"]["transactions"].values())
    if kind == "sqlite":  # one writes at a time; readers wait for nobody
        held = found["looks_ms"]["sign"] / 1000
        lock = Station("write lock", 1, job["write_held"], beats * held, 0.1 * held)
        database = lock
    else:
        each = (job["database_cpu"] - nobody["database_cpu"] * job["at"]) / (
            job["reads"] + job["writes"]
        )
        used = (job["reads"] + job["writes"]) * each
        database = Station("PostgreSQL", database_cores, used, (beats + looks) * each, signs * each)
    # One worker's questions cost the broker less than can be measured: those of many do not.
    asked, many = found["idle_second"], found["listening_second"]
    each = (many["broker_cpu"] - nobody["broker_cpu"]) / many["broker_commands"]
    idle = (asked["broker_commands"] - nobody["broker_commands"]) * each
    sent = max(job["broker_cpu"] - nobody["broker_cpu"] * job["at"], 0.0)
    return [database, Station("Valkey", 1, sent, 0.0, idle)]


def _per_second(window: dict[str, Any], name: str) -> float:
    return float(window["transactions"].get(name, {"n": 0.0})["n"])


def simulate(
    visits: Sequence[Station], slots: int, delay: float, jobs: int, seed: int = 1
) -> float:
    """Jobs a second of so many slots, each of which visits every station and then sleeps.

    Stations serve in the order of arrival; service times are exponential.
    """
    draw = random.Random(seed)
    free = [[0.0] * station.servers for station in visits]
    # (when, slot, which visit comes next)
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
    # Once every slot is under way.
    begun = len(ended) // 4
    return (len(ended) - begun) / (ended[-1] - ended[begun - 1])


def this_machine(kind: str) -> tuple[list[Station], float]:
    """The stations of a benchmark, all on two cores, and what else a job takes by itself."""
    job = costs(kind)["job_in_bulk"]
    cores = Station("cores", 2, job["worker_cpu"] + job["runner_cpu"] + job["broker_cpu"])
    database, _ = stations(kind, database_cores=2)
    rest = job["at"] - cores.job - database.job
    return [database, cores], max(rest, 0.0)


def predicted(kind: str, slots: int, seconds: float) -> float:
    """How far below linear so many slots are, as in `benchmarks.scaling`."""
    visits, rest = this_machine(kind)
    one = simulate(visits, 1, rest + seconds, 400)
    return one * slots / simulate(visits, slots, rest + seconds, 400 * slots)
