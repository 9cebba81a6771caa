"""The worker's runner processes: spawned, kept warm, one job at a time, replaced when they die."""

from __future__ import annotations

import contextlib
import math
import os
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

from zoo import environment_variables
from zoo.child_process import Child, ChildDied
from zoo_workers.channel import Desk

LOOK_AGAIN_SECONDS = 0.5
"""Interval at which the memory of an idle runner is measured."""

RunnerDied = ChildDied


class Runner:
    """One runner process and the pipe to it. Starting it is quick; it imports what a job needs."""

    def __init__(self, folder: Path | None = None, env: Mapping[str, str] | None = None) -> None:
        """`folder` is where what it writes has room; without `env` it is given what models are."""
        self.desk = Desk(folder)
        # Never forked: a framework that has started threads does not survive it.
        self._process = Child(
            "zoo_workers.runner_main",
            files=(self.desk.log.number, self.desk.progress.number),
            env=environment_variables.for_models(os.environ) if env is None else env,
            # A worker that a hook's command has started is to outlive it.
            is_tree=env is None,
        )
        self.is_idle = True
        self._known: psutil.Process | None = None
        self.jobs = 0
        self.is_spoilt = False
        """Whether a job has left it changed for those that follow."""
        self.looked = -math.inf
        """When it was last seen to be alive, and not too large, by `time.monotonic`."""
        self.models: set[str] = set()
        """What it has run before: its imports are done."""

    @property
    def pid(self) -> int:
        return self._process.pid

    def order(self, order: dict[str, Any]) -> None:
        """Send one order; raises RunnerDied if the process has ended."""
        self.is_idle = False
        self._process.send(order)

    def answer(self, timeout: float) -> dict[str, Any] | None:
        """Return the answer, or None after `timeout` seconds; raises RunnerDied."""
        answer = self._process.receive(timeout)
        if answer is not None:
            self.is_idle = True
        return answer

    def kill(self) -> None:
        """Kill the process and all that it started; a second call does nothing."""
        self._process.kill()

    def close(self) -> None:
        """End it, and forget what it has written."""
        self.kill()
        self.desk.close()

    def memory_mb(self, family: bool = False) -> float:
        """Resident memory, with the `family` of all that it started; 0 if it is gone."""
        try:
            own = self._known or psutil.Process(self.pid)
            self._known = own
            # To find children every process of the machine is looked at: 5 ms among 200.
            all_of_it = [own, *(own.children(recursive=True) if family else [])]
            return sum(float(each.memory_info().rss) for each in all_of_it) / 2**20
        except psutil.Error:
            return 0.0

    def is_alive(self) -> bool:
        return self._process.is_alive()


class Runners:
    """The runners of a worker, one per slot, made when first needed."""

    def __init__(self, folder: Path, *, jobs_per_runner: int, memory_mb: float) -> None:
        self._folder = folder
        self._jobs_per_runner = jobs_per_runner
        self._memory_mb = memory_mb
        self._lock = threading.Lock()
        self._idle: list[Runner] = []
        self._busy: set[Runner] = set()

    @contextlib.contextmanager
    def borrow(self, model: str) -> Any:
        """An idle runner, warm for the model if there is one; afterwards it is kept or replaced."""
        runner = self._take(model)
        try:
            yield runner
        finally:
            with self._lock:
                self._busy.discard(runner)
                keep = self._is_fit(runner)
                if keep:
                    self._idle.append(runner)
            if not keep:
                runner.close()

    def _take(self, model: str) -> Runner:
        with self._lock:
            self._idle = [each for each in self._idle if each.is_alive()]
            self._idle.sort(key=lambda each: model in each.models)
            runner = self._idle.pop() if self._idle else Runner(self._folder)
            self._busy.add(runner)
        runner.models.add(model)
        runner.jobs += 1
        return runner

    def _is_fit(self, runner: Runner) -> bool:
        if runner.is_spoilt or not runner.is_idle or runner.jobs >= self._jobs_per_runner:
            return False
        # To look costs as much as a tenth of a job of a moment, of which each adds little.
        if time.monotonic() < runner.looked + LOOK_AGAIN_SECONDS:
            return True
        runner.looked = time.monotonic()
        return runner.is_alive() and runner.memory_mb() < self._memory_mb

    def stop(self) -> None:
        """End every runner, whatever it does."""
        with self._lock:
            for runner in [*self._idle, *self._busy]:
                runner.kill()
            self._idle.clear()
