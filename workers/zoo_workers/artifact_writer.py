"""A process beside the worker that stores what jobs of a moment have left."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Sequence
from typing import Any

from zoo_workers.artifact import Artifact
from zoo_workers.runner_pool import Runner, RunnerDied

logger = logging.getLogger("zoo.worker")


class Storer:
    """Stores artifacts in a process of its own, so that Python's lock is the slots' alone.

    It begins when first asked and is used once it is there; one that has died is not replaced.
    """

    def __init__(self, url: str, patience: float) -> None:
        """`url` is on this machine's disks; who takes longer than `patience`, in s, is ended."""
        self._url = url
        self._patience = patience
        self._process: Runner | None = None
        self._has_ended = False
        self._lock = threading.Lock()

    def store(self, several: Sequence[Artifact]) -> None:
        """Store and flush what it can of them; each is told how that went."""
        with self._lock:
            process = self._ready()
            if process is None:
                return
            asked = []
            for artifact in several:
                with contextlib.suppress(OSError):  # a full disk: its own worker will say so
                    asked.append((artifact, artifact.order()))
            told: list[dict[str, Any]] = [{} for _ in asked]
            try:
                told = self._ask(process, [order for _, order in asked])
            finally:
                for (artifact, _), answer in zip(asked, told, strict=True):
                    artifact.hear(answer)

    def end(self) -> None:
        """End the process, whatever it does."""
        self._has_ended = True
        if self._process:
            self._process.close()

    def _ready(self) -> Runner | None:
        """The process, once it is there; nobody waits for it to start."""
        if self._has_ended:
            return None
        try:
            if self._process is None:
                self._process = Runner()
                self._process.order(self._order([]))  # it imports what it needs
            if not self._process.is_idle:
                self._process.answer(0)
        except RunnerDied as death:
            self._do_without(f"ended ({death})")
            return None
        return self._process if self._process.is_idle else None

    def _ask(self, process: Runner, orders: list[dict[str, Any]]) -> list[dict[str, Any]]:
        try:
            process.order(self._order(orders))
            answer = process.answer(self._patience)
        except RunnerDied as death:
            self._do_without(f"ended ({death})")
            answer = None
        else:
            if answer is None:  # before others may have the jobs
                process.kill()
                self._do_without(f"took over {self._patience:g} s")
        told: list[dict[str, Any]] = answer["told"] if answer else [{} for _ in orders]
        return told

    def _order(self, orders: list[dict[str, Any]]) -> dict[str, Any]:
        return {"do": "store", "url": self._url, "artifacts": orders}

    def _do_without(self, why: str) -> None:
        if not self._has_ended:
            logger.warning("the process that stores %s: the worker does without", why)
        self._has_ended = True
