"""The one process that holds trained models, so that no import of a framework stops the page."""

from __future__ import annotations

import asyncio
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from zoo import environment_variables
from zoo.child_process import Child, ChildDied
from zoo.errors import ZooError

PATIENCE = 180.0
"""Seconds that one answer may take: the first one imports TensorFlow, maybe on a busy machine."""


class Models:
    """Loads trained models in a process of their own and asks them, one question after another."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._process: Child | None = None
        self._starting = threading.Lock()
        self._is_closed = False
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
        try:
            process = self._start()
            process.send(order)
            answer = process.receive(PATIENCE)
        except ChildDied:
            return {"error": f"The models' process has died. Its log is {self._log}."}
        if answer is None:
            process.kill()
            return {"error": f"The models' process gave no answer within {PATIENCE:.0f} s."}
        return answer

    def _start(self) -> Child:
        """Return the process, started anew if it has ended; raises ChildDied after `close`."""
        with self._starting:
            if self._is_closed:
                raise ChildDied(0)
            if self._process is None or not self._process.is_alive():
                if self._process is not None:
                    self._process.kill()  # also what it has started
                # The models that the previous process had loaded are gone.
                self.states = {job: s for job, s in self.states.items() if s != "ready"}
                # Never forked: a server with threads does not survive it.
                self._process = Child(
                    "zoo_web.model_server",
                    str(self._log),
                    env=environment_variables.for_child(os.environ),
                )
            return self._process

    def load(self, jobs: list[str]) -> None:
        """Have these jobs' models loaded before anybody asks, if nobody has tried yet."""
        for job in jobs:
            if job not in self.states:
                self.states[job] = "waiting"
                self._line.submit(self._ask, {"do": "load", "job": job})

    def close(self) -> None:
        """Kill the process, whatever it does, and start no other."""
        self._line.shutdown(wait=False, cancel_futures=True)
        with self._starting:
            self._is_closed = True
            if self._process is not None:
                self._process.kill()
