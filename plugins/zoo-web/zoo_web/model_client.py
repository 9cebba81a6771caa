"""Client of the model server: a process that holds trained models, apart from the page."""

from __future__ import annotations

import asyncio
import os
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from zoo import environment_variables
from zoo.child_process import Child, ChildDied
from zoo.errors import ZooError
from zoo.queue import gpus

ANSWER_SECONDS = 180.0
"""Time limit of one answer: the first one imports TensorFlow, maybe on a busy machine."""


class ModelClient:
    """Loads trained models in another process and queries them, one request after another."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._process: Child | None = None
        self._starting = threading.Lock()
        self._is_closed = False
        # One thread: requests queue here, and those of a closed page are cancelled.
        self._executor = ThreadPoolExecutor(1, "models")
        self._tasks: set[asyncio.Task[Any]] = set()
        self.states: dict[str, str] = {}
        """State of each job's model: "waiting", "loading", "ready", or why it cannot be loaded."""
        self.notes: dict[str, str] = {}
        """Warning of each job whose model is loaded by other code than trained it."""

    async def request(self, message: dict[str, Any]) -> dict[str, Any]:
        """Return the answer of the model server; raises ZooError."""
        answer = await asyncio.get_running_loop().run_in_executor(
            self._executor, self._request, message
        )
        if "error" in answer:
            raise ZooError(answer["error"])
        return answer

    def start(self, message: dict[str, Any]) -> Future[dict[str, Any]]:
        """Begin a request; its result is the answer, or has the key `error`."""
        return self._executor.submit(self._request, message)

    def _request(self, message: dict[str, Any]) -> dict[str, Any]:
        job = message.get("job")
        if job and self.states.get(job) != "ready":
            self.states[job] = "loading"
        answer = self._answer(message)
        if job:
            self.states[job] = answer.get("error", "ready")
            self.notes[job] = answer.pop("loader", "")
        return answer

    def _answer(self, message: dict[str, Any]) -> dict[str, Any]:
        try:
            process = self._start()
            process.send(message)
            answer = process.receive(ANSWER_SECONDS)
        except ChildDied:
            return {"error": f"The models' process has died. Its log is {self._log}."}
        if answer is None:
            process.kill()
            return {"error": f"The models' process gave no answer within {ANSWER_SECONDS:.0f} s."}
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
                    # One image takes no GPU, whose memory jobs of this machine may need.
                    env=environment_variables.for_child(os.environ) | gpus.environment(None, {}),
                )
            return self._process

    def load(self, jobs: list[str]) -> None:
        """Load the models of these jobs in advance; each is tried once."""
        for job in jobs:
            if job not in self.states:
                self.states[job] = "waiting"
                self._executor.submit(self._request, {"do": "load", "job": job})

    def close(self) -> None:
        """Kill the process, whatever it does, and start no other."""
        self._executor.shutdown(wait=False, cancel_futures=True)
        with self._starting:
            self._is_closed = True
            if self._process is not None:
                self._process.kill()
