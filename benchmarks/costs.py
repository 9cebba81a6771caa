"""Costs of a job, a running job and an idle worker for database, broker and machine.

They are measured with one worker of one slot, so that nothing waits; the simulation reads them.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import redis.asyncio

from benchmarks import growth
from benchmarks.counting import Counted
from benchmarks.queue import Site, site

ALONE, BULK = 40, 300
WINDOW = 10.0
LISTENERS = 200
IDLE = 30.0
RUNNING = 1000
"""Number of running jobs while the reaper's query is timed."""
Totals = dict[str, float]


@dataclass
class Meter:
    """Counters of servers and processes, read before and after."""

    here: Site
    worker: int | None = None

    def read(self) -> Totals:
        found = self._broker() | {"at": time.time()}
        found |= self._machine(psutil.Process(self.worker)) if self.worker else {}
        return found if self.here.db.is_sqlite else found | self._database()

    def _broker(self) -> Totals:
        client: Any = redis.Redis.from_url(self.here.settings.broker)
        with client:
            info = client.info("everything")
        cpu = info["used_cpu_user_main_thread"] + info["used_cpu_sys_main_thread"]
        return {
            "broker_commands": info["total_commands_processed"],
            "broker_bytes": info["total_net_input_bytes"] + info["total_net_output_bytes"],
            "broker_cpu": cpu,
            "broker_connections": info["connected_clients"] - 1,
        }

    def _machine(self, worker: psutil.Process) -> Totals:
        runners = [child for child in worker.children() if child.is_running()]
        return {"worker_cpu": _cpu([worker]), "runner_cpu": _cpu(runners)}

    def _database(self) -> Totals:
        with self.here.db.read() as rows:
            folder = rows.value("SHOW data_directory")
            wal = rows.value("SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0') AS n")
            there = rows.value(
                "SELECT count(*) AS n FROM pg_stat_activity WHERE backend_type = 'client backend'"
            )
        server = psutil.Process(int((Path(folder) / "postmaster.pid").read_text().split()[0]))
        cpu = _cpu([server, *server.children()], ended=True)
        # Without the connection of this query.
        return {"database_cpu": cpu, "wal_bytes": float(wal), "database_connections": there - 1}


def _cpu(processes: list[psutil.Process], *, ended: bool = False) -> float:
    times = [each.cpu_times() for each in processes]
    own = sum(t.user + t.system for t in times)
    return own + sum(t.children_user + t.children_system for t in times) * ended


def measure(kind: str) -> dict[str, Any]:
    """Measure all costs on a database of this kind."""
    with site(kind) as here:
        # As in a worker with one slot per core: threads of a single job would compete for cores.
        here.env |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        file = here.log.with_name("transactions.json")
        spans = {}
        for name, act in {
            "nobody": lambda: time.sleep(WINDOW),
            "listening": lambda: _listen(here),
        }.items():
            before = Meter(here).read()
            act()
            spans[name] = (before, Meter(here).read())
        with here.worker(1, ("benchmarks.counting", str(file))) as pid:
            meter = Meter(here, pid)
            # Also starts the process that stores artifacts, at the first jobs that end together.
            here.submit(BULK)
            here.finish()
            acts: dict[str, Callable[[], object]] = {
                "alone": lambda: _one_by_one(here),
                "bulk": lambda: (here.submit(BULK), here.finish()),
                "running": lambda: _while_running(here, steps=1),
                "reporting": lambda: _while_running(here, steps=int(WINDOW * 20)),
                "idle": lambda: time.sleep(IDLE),
            }
            for name, act in acts.items():
                _forget_hints(here)
                before = meter.read()
                act()
                spans[name] = (before, meter.read())
        counted: list[Counted] = json.loads(file.read_text())
        gone = {name: _gone(*span, counted) for name, span in spans.items()}
    found = {
        "job_alone": _each(gone["alone"], ALONE),
        "job_in_bulk": _each(gone["bulk"], BULK),
        "running_second": _each(gone["running"], WINDOW),
        "reporting_second": _each(gone["reporting"], WINDOW),
        "idle_second": _each(gone["idle"], gone["idle"]["at"]),
        "nobody_second": _each(gone["nobody"], gone["nobody"]["at"]),
        "listening_second": _each(gone["listening"], gone["listening"]["at"]),
    }
    there = spans["idle"][1]
    found["connections"] = {k: v for k, v in there.items() if k.endswith("_connections")}
    return found | {"looks_ms": _looks(kind)}


def _one_by_one(here: Site) -> None:
    for _ in range(ALONE):
        here.submit(1)
        here.finish()


def _listen(here: Site) -> None:
    """Poll for hints on many connections as workers do: the cost of one is too small to measure."""

    async def ask() -> None:
        # Like kombu: the four priorities of a queue, with a timeout of one second.
        keys = [f"default.nothing{step}" for step in ("", "\x06\x163", "\x06\x166", "\x06\x169")]
        client: Any = redis.asyncio.Redis.from_url(here.settings.broker)
        async with client:
            while time.monotonic() < until:
                await client.brpop(keys, timeout=1)

    async def everyone() -> None:
        await asyncio.gather(*(ask() for _ in range(LISTENERS)))

    until = time.monotonic() + WINDOW
    asyncio.run(everyone())


def _forget_hints(here: Site) -> None:
    """Count the unused hints of a bulk: a slot that was woken needs no further one."""
    client: Any = redis.Redis.from_url(here.settings.broker)
    with client:
        while [key for key in client.keys("default.*") if client.type(key) == b"list"]:
            client.delete(*client.keys("default.*"))
            time.sleep(1.5)


def _while_running(here: Site, steps: int) -> None:
    """Run one job that sleeps; the cost of its start and end is small compared to the window."""
    here.submit(1, seconds=WINDOW, steps=steps)
    here.finish()


def _gone(before: Totals, after: Totals, counted: list[Counted]) -> dict[str, Any]:
    gone: dict[str, Any] = {k: after[k] - before[k] for k in after if "connections" not in k}
    inside = [each for each in counted if before["at"] <= each[0] <= after["at"]]
    gone["transactions"] = {}
    for _, kind, name, waited, held in inside:
        one = gone["transactions"].setdefault(
            f"{name} ({kind})", {"n": 0, "wait": 0.0, "held": 0.0}
        )
        one["n"] += 1
        one["wait"] += waited
        one["held"] += held
    for kind in ("read", "write"):
        gone[f"{kind}s"] = sum(each[1] == kind for each in inside)
        gone[f"{kind}_held"] = sum(each[4] for each in inside if each[1] == kind)
    return gone


def _each(gone: dict[str, Any], n: float) -> dict[str, Any]:
    """Return the costs per job, or per second."""
    return {
        name: _each(value, n) if isinstance(value, dict) else value / n
        for name, value in gone.items()
    }


def _looks(kind: str) -> dict[str, float]:
    """Return the milliseconds of the periodic queries of workers, at 100,000 rows."""
    from zoo import jobs

    db = growth.place(kind, growth.MANY).db
    for _ in range(RUNNING):
        growth.place(kind, growth.MANY).claim()
    facts: dict[str, Any] = {"id": "w", "name": "w", "host": "h", "pid": 1, "pool": "default"}
    jobs.register_worker(db, jobs.NewWorker(**facts, slots=1, version="1", models=[]))
    return {
        "reap": _milliseconds(lambda: jobs.reap(db, backoff=1)),
        "stale": _milliseconds(lambda: jobs.take_stale_hints(db, after=1e9)),
        "sign": _milliseconds(lambda: jobs.record_heartbeat(db, "w", busy=1)),
        "claim": _milliseconds(growth.place(kind, growth.MANY).claim),
    }


def _milliseconds(act: Callable[[], object], times: int = 50) -> float:
    act()
    start = time.perf_counter()
    for _ in range(times):
        act()
    return 1000 * (time.perf_counter() - start) / times
