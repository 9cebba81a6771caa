"""The one process that holds trained models, so that no import of a framework stops the page."""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from zoo import environment_variables
from zoo.child_process import Child
from zoo.errors import ZooError
from zoo.job_spec import canonical, read_json

PATIENCE = 180.0
"""Seconds that one answer may take: the first one imports TensorFlow, maybe on a busy machine."""


class Models:
    """Loads trained models in a process of their own and asks them, one question after another."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._process: Child | None = None
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
        process = self._start()
        try:
            process.pipe.send_bytes(canonical(order).encode())
            heard: list[Any] = [process.pipe]
            heard += [] if process.ended is None else [process.ended]
            if ready := wait(heard, PATIENCE):
                if process.pipe not in ready:
                    raise EOFError
                answer: dict[str, Any] = read_json(process.pipe.recv_bytes())
                return answer
        except (OSError, EOFError):
            self._end()
            return {"error": f"The models' process has died. Its log is {self._log}."}
        self._end()
        return {"error": f"The models' process gave no answer within {PATIENCE:.0f} s."}

    def _start(self) -> Child:
        if self._process is not None and self._process.is_alive():
            return self._process
        self._end()
        # What the one before had loaded is gone.
        self.states = {job: state for job, state in self.states.items() if state != "ready"}
        # Never forked: a server with threads does not survive it.
        self._process = Child(
            "zoo_web.model_server", str(self._log), env=environment_variables.for_child(os.environ)
        )
        return self._process

    def load(self, jobs: list[str]) -> None:
        """Have these jobs' models loaded before anybody asks, if nobody has tried yet."""
        for job in jobs:
            if job not in self.states:
                self.states[job] = "waiting"
                self._line.submit(self._ask, {"do": "load", "job": job})

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()

    def close(self) -> None:
        """End the process, whatever it does."""
        self._line.shutdown(wait=False, cancel_futures=True)
        self._end()
