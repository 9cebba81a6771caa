"""The one process that holds trained models, so that no import of a framework stops the page."""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from zoo.errors import ZooError
from zoo.spec import canonical, read_json
from zoo_web import child

PATIENCE = 180.0
"""Seconds that one answer may take: the first one imports TensorFlow, maybe on a busy machine."""


class Models:
    """Loads trained models in a process of their own and asks them, one question after another."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._process: Any = None
        self._pipe: Any = None
        # One thread: questions wait for each other here, and a page that left takes its away.
        self._line = ThreadPoolExecutor(1, "models")
        self._tasks: set[asyncio.Task[Any]] = set()
        self.states: dict[str, str] = {}
        """By job: "loading", "ready", or why it cannot be loaded."""

    async def ask(self, order: dict[str, Any]) -> dict[str, Any]:
        """The answer; raises ZooError if there will be none."""
        answer = await asyncio.get_running_loop().run_in_executor(self._line, self._ask, order)
        if "error" in answer:
            raise ZooError(answer["error"])
        return answer

    def _ask(self, order: dict[str, Any]) -> dict[str, Any]:
        job = order.get("job")
        if job and self.states.get(job) != "ready":
            self.states[job] = "loading"
        answer = self._answer(order)
        if job:
            self.states[job] = answer.get("error", "ready")
        return answer

    def _answer(self, order: dict[str, Any]) -> dict[str, Any]:
        self._start()
        try:
            self._pipe.send_bytes(canonical(order).encode())
            if wait([self._pipe, self._process.sentinel], PATIENCE):
                answer: dict[str, Any] = read_json(self._pipe.recv_bytes())
                return answer
        except (OSError, EOFError):
            self._end()
            return {"error": f"The models' process has died. Its log is {self._log}."}
        self._end()
        return {"error": f"The models' process gave no answer within {PATIENCE:.0f} s."}

    def _start(self) -> None:
        if self._process is not None and self._process.is_alive():
            return
        # What the one before had loaded is gone.
        self.states = {job: state for job, state in self.states.items() if state != "ready"}
        # Never forked: a server with threads does not survive it.
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        arguments = (theirs, str(self._log))
        self._process = context.Process(target=child.main, args=arguments, daemon=True)
        self._process.start()
        theirs.close()

    def load(self, jobs: list[str]) -> None:
        """Have these jobs' models loaded before anybody asks, if nobody has tried yet."""
        for job in jobs:
            if job not in self.states:
                self.states[job] = "waiting"
                self._line.submit(self._ask, {"do": "load", "job": job})

    def _end(self) -> None:
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.kill()
        self._process.join()
        self._pipe.close()
        self._process = None

    def close(self) -> None:
        """End the process, whatever it does."""
        self._line.shutdown(wait=False, cancel_futures=True)
        self._end()
