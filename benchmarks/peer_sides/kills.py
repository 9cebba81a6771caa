"""Twenty jobs of half a second on two workers; kill -9 of one in the middle, and a new one.

What counts as the killed worker: the process that was started and all below it, as when a machine
goes; with a pool that has no such process, the pool's process that runs a job.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import psutil

from benchmarks.peer_sides import work

JOBS = 20
MIDDLE = 6
"""Number of ended jobs at which the worker is killed."""
EARLY, LIMIT = 30.0, 80.0
"""Seconds after the kill at which jobs are counted, the second time unless none can change."""
Start = Callable[[], int]
State = Callable[[int], str]
"""Returns done, failed (recorded or raised), stuck (waits or is said to run), or lost."""


def kill_one(submit: Callable[[], object], state: State, start: Start | None) -> dict[str, Any]:
    """Run the test: `start` starts a worker and returns its pid; None: the pool's own processes."""
    workers = [start(), start()] if start else []
    submit()
    victim = _victim(workers)
    for process in [*psutil.Process(victim).children(recursive=True), psutil.Process(victim)]:
        process.kill()
    killed = time.monotonic()
    if start:
        start()
    early = _settled(state, killed, EARLY)
    last = _settled(state, killed, LIMIT) if early["stuck"] else early
    return {"after_30_s": early, "at_last": last}


def _victim(workers: list[int]) -> int:
    """Wait for the middle; return the pid of a worker that runs a job, which is stopped."""
    deadline = time.monotonic() + 300
    seen: set[int] = set()
    while time.monotonic() < deadline:
        begun, ended = _marks()
        fresh = begun.keys() - ended.keys() - seen
        if len(ended) >= MIDDLE and seen and fresh:
            number = fresh.pop()
            runs = begun[number][-1]
            with contextlib.suppress(ProcessLookupError, psutil.NoSuchProcess):
                os.kill(runs, signal.SIGSTOP)
                if number not in _marks()[1]:
                    above = {runs, *(each.pid for each in psutil.Process(runs).parents())}
                    return next((pid for pid in workers if pid in above), runs)
                os.kill(runs, signal.SIGCONT)  # its job has just ended
        seen |= begun.keys()
        time.sleep(0.02)
    raise TimeoutError(f"{len(_marks()[1])} of {JOBS} jobs have ended in five minutes")


def _marks() -> tuple[dict[int, list[int]], dict[int, list[int]]]:
    """Return the pids that began and that ended each job."""
    found: dict[str, dict[int, list[int]]] = {"begin": {}, "end": {}}
    file = work.FOLDER / "marks"
    for line in file.read_text().splitlines() if file.exists() else ():
        what, number, pid = line.split()
        found[what].setdefault(int(number), []).append(int(pid))
    return found["begin"], found["end"]


def _settled(state: State, killed: float, limit: float) -> dict[str, Any]:
    """Wait until no job can change, or for the limit; count the jobs."""
    while True:
        states = Counter(state(number) for number in range(JOBS))
        seconds = time.monotonic() - killed
        if (not states["stuck"] and not states["lost"]) or seconds > limit:
            break
        time.sleep(0.25)
    begun, ended = _marks()
    found = {name: states[name] for name in ("done", "failed", "stuck", "lost")}
    again = sum(len(pids) > 1 for pids in begun.values())
    twice = sum(len(pids) > 1 for pids in ended.values())
    return found | {"run_again": again, "done_twice": twice, "seconds": round(seconds, 1)}
