"""The worker's runner processes: spawned, warm, one job at a time, replaced when they die."""

from __future__ import annotations

import contextlib
import fcntl
import math
import os
import tempfile
import threading
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

from zoo import environment_variables
from zoo.child_process import Child, ChildDied
from zoo.jobs.worker_records import Gpu
from zoo.queue import gpus

MEMORY_CHECK_SECONDS = 0.5
"""Interval between two checks of a runner's memory after its jobs."""
IDLE_SECONDS = 60.0
"""Time without a job after which a runner that has grown is recycled."""
WARM_UP_SECONDS = 300.0
"""Time after which a runner that is still importing will not take the place of another one."""
GROWN_MB = 128.0
"""Own memory that its jobs have left in a runner, above which it is recycled."""


class OutputFile:
    """An open file without a name, which a child process inherits by its number."""

    def __init__(self, folder: Path | None) -> None:
        self.file: Any = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115
        # Appending, so that a writer starts at the beginning after the file was emptied.
        fcntl.fcntl(self.number, fcntl.F_SETFL, os.O_APPEND)

    @property
    def number(self) -> int:
        return int(self.file.fileno())

    def read(self, start: int, size: int) -> bytes:
        """Read at most `size` bytes; the position of the writers does not change."""
        return os.pread(self.number, size, start)

    def truncate(self, size: int) -> None:
        os.ftruncate(self.number, size)

    def size(self) -> int:
        """Return the size in bytes."""
        return os.fstat(self.number).st_size


class RunnerOutput:
    """Anonymous temporary files shared by runner and worker: log and progress.

    They belong to the runner and are emptied for each job: creating and removing two files per job
    costs more than a short job. Once both processes have ended the kernel removes them.
    """

    def __init__(self, folder: Path | None = None) -> None:
        """`folder` is on a disk with room for them; by default the system's temporary folder."""
        self.log = OutputFile(folder)
        self.progress = OutputFile(folder)

    def clear(self) -> None:
        for each in (self.log, self.progress):
            each.truncate(0)

    def close(self) -> None:
        for each in (self.log, self.progress):
            each.file.close()


class Runner:
    """A runner process and the pipe to it: one request, one reply, both JSON.

    Starting it is quick: it imports what a job needs when the job comes.
    """

    def __init__(
        self,
        folder: Path | None = None,
        env: Mapping[str, str] | None = None,
        gpu: Gpu | None = None,
    ) -> None:
        """Start the process.

        Args:
            folder: Folder on a disk with room for its output.
            env: Environment of the process; by default the one that models may see.
            gpu: The only GPU that models in it may use; None to hide all.
        """
        self.gpu = gpu
        self.output = RunnerOutput(folder)
        # Spawned, not forked: a framework that has started threads does not survive a fork.
        self._process = Child(
            "zoo_workers.runner_main",
            files=(self.output.log.number, self.output.progress.number),
            env=_for_models(gpu) if env is None else env,
            # A worker that was started by a hook's command keeps running after the hook.
            is_tree=env is None,
        )
        self.is_idle = True
        self._psutil: psutil.Process | None = None
        self.jobs = 0
        """Number of jobs it was borrowed for."""
        self.must_replace = False
        """Whether a job has left the process changed for those that follow."""
        self.checked = -math.inf
        """`time.monotonic` of the last check that it lives and is not too large."""
        self.idle_since = time.monotonic()
        """`time.monotonic` of the end of its last job, or of the last attempt to replace it."""
        self.models: set[str] = set()
        """Models it has run, or is warmed up for, whose imports are done."""
        self.warm_mb = 0.0
        """Its own memory in MB after it was warmed up; 0 if it was not."""
        self._is_warming_up = False

    @property
    def pid(self) -> int:
        return self._process.pid

    def send(self, request: dict[str, Any]) -> None:
        """Send one request; raise ChildDied if the process has ended."""
        self.is_idle = False
        self._process.send(request)

    def warm_up(self, models: Collection[str]) -> None:
        """Let the process import what the models need, while it waits for a job."""
        self._process.send({"action": "warm up", "models": sorted(models)})
        self.models.update(models)
        self._is_warming_up = True

    def is_warming_up(self) -> bool:
        """Return whether the process is still busy importing."""
        with contextlib.suppress(ChildDied):
            if self._is_warming_up and self._process.receive(0) is not None:
                self._end_warm_up()
        return self._is_warming_up

    def _end_warm_up(self) -> None:
        self._is_warming_up = False
        self.warm_mb = self.own_memory_mb()

    def receive(self, timeout: float) -> dict[str, Any] | None:
        """Wait up to `timeout` seconds for the reply; return None if there is none yet.

        Raises ChildDied if the process has ended instead.
        """
        reply = self._process.receive(timeout)
        if reply is not None and self._is_warming_up:  # that reply comes first
            self._end_warm_up()
            return None
        if reply is not None:
            self.is_idle = True
        return reply

    def kill(self) -> None:
        """Kill the process and all that it started; a second call does nothing."""
        self._process.kill()

    def close(self) -> None:
        """Kill the process and discard its output."""
        self.kill()
        self.output.close()

    def memory_mb(self, with_children: bool = False) -> float:
        """Return the resident memory in MB; 0 if the process is gone."""
        with contextlib.suppress(psutil.Error):
            own = self._watched()
            # Finding the children means reading every process of the machine: 5 ms among 200.
            processes = [own, *(own.children(recursive=True) if with_children else [])]
            return sum(float(each.memory_info().rss) for each in processes) / 2**20
        return 0.0

    def own_memory_mb(self) -> float:
        """Return the resident memory in MB without the pages of files; 0 if the process is gone."""
        with contextlib.suppress(psutil.Error):
            found = self._watched().memory_info()
            return (float(found.rss) - getattr(found, "shared", 0)) / 2**20
        return 0.0

    def _watched(self) -> psutil.Process:
        if self._psutil is None:
            self._psutil = psutil.Process(self.pid)
        return self._psutil

    def is_alive(self) -> bool:
        return self._process.is_alive()


def _for_models(gpu: Gpu | None) -> dict[str, str]:
    found = environment_variables.for_models(os.environ)
    return found | gpus.environment(gpu, found)


class RunnerPool:
    """The runners of a worker, one per slot, started when first needed."""

    def __init__(self, folder: Path, *, jobs_per_runner: int, memory_mb: float) -> None:
        """Runners are replaced after `jobs_per_runner` jobs, or when they hold `memory_mb`."""
        self.memory_mb = memory_mb
        self._folder = folder
        self._jobs_per_runner = jobs_per_runner
        self._lock = threading.Lock()
        self._idle: list[Runner] = []
        self._busy: set[Runner] = set()
        self._successor: tuple[Runner, Runner] | None = None
        """An idle runner that has grown, and the one that will take its place."""

    def warm_up(self, models: Sequence[str]) -> None:
        """Start an idle runner for each of the models, and let it import what its jobs need."""
        for model in models:
            runner = self._warm_runner([model])
            with self._lock:
                self._idle.append(runner)

    def _warm_runner(self, models: Collection[str]) -> Runner:
        runner = Runner(self._folder)
        with contextlib.suppress(ChildDied):
            runner.warm_up(models)
        return runner

    def recycle(self) -> None:
        """Replace an idle runner that holds much more memory than before its jobs.

        Frameworks keep what their allocators have taken: TensorFlow as much as its largest batch
        needed. The successor imports what the jobs so far have needed, and takes the place of the
        old runner in a later call, so that no job waits for it.
        """
        with self._lock:
            if self._successor is None:
                old = next(filter(self._has_grown, self._idle), None)
                if old is not None:
                    old.idle_since = time.monotonic()  # if it fails, the next attempt comes later
                    with contextlib.suppress(OSError):  # the disk or the memory is full
                        self._successor = old, self._warm_runner(old.models)
                return
            old, new = self._successor
            is_wanted = old in self._idle and new.is_alive()
            is_ready = is_wanted and not new.is_warming_up()
            is_late = time.monotonic() >= old.idle_since + WARM_UP_SECONDS
            if is_wanted and not is_ready and not is_late:
                return
            self._successor = None
            if is_ready:
                self._idle[self._idle.index(old)] = new
        (old if is_ready else new).close()

    def _has_grown(self, runner: Runner) -> bool:
        is_long_idle = time.monotonic() >= runner.idle_since + IDLE_SECONDS
        # The memory of a GPU may be too small for both.
        if not is_long_idle or runner.gpu is not None or runner.is_warming_up():
            return False
        return runner.own_memory_mb() > runner.warm_mb + GROWN_MB

    @contextlib.contextmanager
    def borrow(self, model: str, gpu: Gpu | None = None) -> Iterator[Runner]:
        """Lend an idle runner, one that has run the model if possible; then keep or replace it.

        One with a GPU has run no other model: a framework keeps the memory that it has taken.
        """
        runner = self._take(model, gpu)
        try:
            yield runner
        finally:
            runner.idle_since = time.monotonic()
            with self._lock:
                self._busy.discard(runner)
                keep = self._is_reusable(runner)
                if keep:
                    self._idle.append(runner)
            if not keep:
                runner.close()

    def _take(self, model: str, gpu: Gpu | None) -> Runner:
        with self._lock:
            self._idle = [each for each in self._idle if each.is_alive()]
            able = [
                each
                for each in self._idle
                if each.gpu == gpu and (model in each.models or not each.is_warming_up())
            ]
            if gpu is not None:
                for other in (each for each in able if model not in each.models):
                    self._idle.remove(other)
                    other.close()
                able = [each for each in able if model in each.models]
            able.sort(key=lambda each: model in each.models)
            runner = able[-1] if able else Runner(self._folder, gpu=gpu)
            if able:
                self._idle.remove(runner)
            self._busy.add(runner)
        if model:
            runner.models.add(model)
        runner.jobs += 1
        return runner

    def _is_reusable(self, runner: Runner) -> bool:
        if runner.must_replace or not runner.is_idle or runner.jobs >= self._jobs_per_runner:
            return False
        # A check costs as much as a tenth of a short job, and each short job adds little memory.
        if time.monotonic() < runner.checked + MEMORY_CHECK_SECONDS:
            return True
        runner.checked = time.monotonic()
        return runner.is_alive() and runner.memory_mb() < self.memory_mb

    def stop(self) -> None:
        """Kill every runner, whatever it does."""
        with self._lock:
            for runner in [*self._idle, *self._busy, *(self._successor or [])]:
                runner.kill()
            self._idle.clear()
