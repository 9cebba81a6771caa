"""A process beside the worker that stores what jobs of a moment have left."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Sequence
from typing import Any

from zoo_workers.artifact import Artifact
from zoo_workers.runners import Runner, RunnerDied

logger = logging.getLogger("zoo.worker")

LOOK_SECONDS = 1.0
"""Between two looks whether the process still lives."""


class Storer:
    """Stores artifacts in a process of its own, so that Python's lock is the slots' alone.

    It begins when first asked and is used once it is there; one that has died is not replaced.
    """

    def __init__(self, url: str) -> None:
        """`url` is where artifacts are, on this machine's disks."""
        self.url = url
        self._process: Runner | None = None
        self._has_ended = False
        self._lock = threading.Lock()

    def store(self, several: Sequence[Artifact]) -> None:
        """Store and flush what it can of them; each is told how that went."""
        with self._lock:
            if not self._is_ready():
                return
            asked = []
            for artifact in several:
                with contextlib.suppress(OSError):  # a full disk: its own worker will say so
                    asked.append((artifact, artifact.order()))
            told = self._ask([order for _, order in asked])
        for (artifact, _), answer in zip(asked, told, strict=True):
            artifact.hear(answer)

    def end(self) -> None:
        """End the process."""
        with self._lock:
            self._has_ended = True
            if self._process:
                self._process.close()

    def _is_ready(self) -> bool:
        """Whether the process is there; nobody waits for it to start."""
        if self._has_ended:
            return False
        try:
            if self._process is None:
                self._process = Runner()
                self._process.order(self._order([]))  # it imports what it needs
            if not self._process.is_idle:
                self._process.answer(0)
        except RunnerDied as death:
            self._bury(death)
            return False
        return self._process.is_idle

    def _ask(self, orders: list[dict[str, Any]]) -> list[dict[str, Any]]:
        process = self._process
        assert process is not None
        try:
            process.order(self._order(orders))
            while (answer := process.answer(LOOK_SECONDS)) is None:
                pass
        except RunnerDied as death:
            self._bury(death)
            return [{} for _ in orders]
        told: list[dict[str, Any]] = answer["told"]
        return told

    def _order(self, orders: list[dict[str, Any]]) -> dict[str, Any]:
        return {"do": "store", "url": self.url, "artifacts": orders}

    def _bury(self, death: RunnerDied) -> None:
        logger.warning("the process that stores ended (%s): the worker does without", death)
        self._has_ended = True
