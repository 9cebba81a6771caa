"""The end of attempts: their artifacts are stored and their outcomes committed.

Waiting for disks needs no slot, so the slot's runner starts the next job meanwhile. Short jobs that
end close together share one flush and one commit.
"""

from __future__ import annotations

import contextlib
import logging
import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from zoo import jobs
from zoo.child_process import ChildDied
from zoo.errors import PluginError, ZooError, reason
from zoo.jobs import Database
from zoo.settings import Settings
from zoo_workers.execution import Execution
from zoo_workers.runner_pool import Runner
from zoo_workers.workspace import Workspace

logger = logging.getLogger("zoo.worker")

MAX_PER_SLOT = 16
"""Attempts of one slot that are stored and committed at a time: mostly they wait for disks."""
BURST_SECONDS = 0.1
"""After an attempt that ended this recently, more are expected."""
GATHER_SECONDS = 0.01
"""Time to wait for further attempts during a burst: together they cost one flush and one commit."""


class Finalizer:
    """Stores and commits attempts that have run: short ones in batches, the others singly."""

    def __init__(
        self,
        db: Database,
        settings: Settings,
        slots: int,
        on_finished: Callable[[Execution], None],
        after_batch: Callable[[], None],
    ) -> None:
        """`on_finished` is called for each attempt; `after_batch` then for one or several."""
        self.writer = ArtifactWriter(settings.artifacts, settings.lease_seconds / 2)
        self._db = db
        self._on_finished = on_finished
        self._after_batch = after_batch
        self._pool = ThreadPoolExecutor(slots * MAX_PER_SLOT, thread_name_prefix="finalizer")
        self._lock = threading.Lock()
        self._waiting: list[tuple[Execution, Future[None]]] = []
        self._last_added = -math.inf

    def add(self, execution: Execution) -> Future[None]:
        """Finish an attempt in the background; the future is done when it is finished."""
        if not execution.is_short:
            return self._pool.submit(self._finish, [execution])
        done: Future[None] = Future()
        with self._lock:
            self._waiting.append((execution, done))
            is_first = len(self._waiting) == 1
            before, self._last_added = self._last_added, time.monotonic()
        if is_first:
            delay = GATHER_SECONDS if self._last_added - before < BURST_SECONDS else 0.0
            self._pool.submit(self._finish_waiting, delay)
        return done

    def close(self) -> None:
        """End the process that writes artifacts."""
        self.writer.close()

    def _finish_waiting(self, delay: float) -> None:
        time.sleep(delay)
        with self._lock:
            batch, self._waiting = self._waiting, []
        try:
            self._finish([execution for execution, _ in batch])
        finally:
            for _, done in batch:
                done.set_result(None)

    def _finish(self, batch: Sequence[Execution]) -> None:
        committed = self._commit_together(batch) if len(batch) > 1 else set()
        for execution in batch:
            job = execution.job.id[:8]
            with _logged(f"job {job} could not be ended"):
                logger.info("job %s %s", job, execution.finish(committed=execution in committed))
            self._on_finished(execution)
        with _logged("waiting jobs could not be announced"):
            self._after_batch()

    def _commit_together(self, batch: Sequence[Execution]) -> set[Execution]:
        """Return the attempts that were committed in one transaction.

        After any error the others, or all of them, are left to `Execution.finish`.
        """
        try:
            self.writer.store([each.workspace for each in batch if each.has_result])
            for execution in batch:
                execution.store()
            # The first flush makes the journal commit all that was moved; each flush still reports
            # the errors of its own files.
            for execution in batch:
                execution.flush()
            ends = {each: end for each in batch if (end := each.completion())}
            if not ends:
                return set()
            accepted = jobs.finish_all(self._db, list(ends.values()))
            return {each for each, is_accepted in zip(ends, accepted, strict=True) if is_accepted}
        except Exception as error:
            why = error if isinstance(error, ZooError) else reason(error)
            logger.warning("%d jobs are committed one by one: %s", len(batch), why)
            return set()


class ArtifactWriter:
    """A process that stores the artifacts of short jobs, so that the slots keep Python's lock.

    It starts at the first use and is used once it is ready. If it dies the worker stores artifacts
    itself.
    """

    def __init__(self, url: str, timeout: float) -> None:
        """Write to `url`, a folder of this machine; a reply that takes `timeout` s is too late."""
        self.timeout = timeout
        self._url = url
        self._process: Runner | None = None
        self._has_ended = False
        self._lock = threading.Lock()

    def store(self, workspaces: Sequence[Workspace]) -> None:
        """Store and flush the artifacts, and report to each workspace how that went."""
        with self._lock:
            process = self.ready()
            if process is None:
                return
            sent = []
            for workspace in workspaces:
                # A full disk, or files that are too large: Workspace.store reports it.
                with contextlib.suppress(OSError, PluginError):
                    sent.append((workspace, workspace.store_request()))
            replies: list[dict[str, Any]] = [{} for _ in sent]
            try:
                replies = self._request(process, [request for _, request in sent])
            finally:
                for (workspace, _), reply in zip(sent, replies, strict=True):
                    workspace.apply_store_reply(reply)

    def ready(self) -> Runner | None:
        """Return the process if it waits for a request; start it if there is none yet."""
        if self._has_ended:
            return None
        try:
            if self._process is None:
                self._process = Runner()
                self._process.send(self._message([]))  # it imports what it needs
            if not self._process.is_idle:
                self._process.receive(0)
        except ChildDied as death:
            self._give_up(f"ended ({death})")
            return None
        return self._process if self._process.is_idle else None

    def close(self) -> None:
        """End the process, whatever it does."""
        self._has_ended = True
        if self._process:
            self._process.close()

    def _request(self, process: Runner, requests: list[dict[str, Any]]) -> list[dict[str, Any]]:
        try:
            process.send(self._message(requests))
            reply = process.receive(self.timeout)
        except ChildDied as death:
            self._give_up(f"ended ({death})")
            reply = None
        else:
            if reply is None:  # before the leases end
                process.kill()
                self._give_up(f"took over {self.timeout:g} s")
        stored: list[dict[str, Any]] = reply["stored"] if reply else [{} for _ in requests]
        return stored

    def _message(self, requests: list[dict[str, Any]]) -> dict[str, Any]:
        return {"action": "store", "url": self._url, "artifacts": requests}

    def _give_up(self, why: str) -> None:
        if not self._has_ended:
            logger.warning("the process that writes artifacts %s: the worker writes them", why)
        self._has_ended = True


@contextlib.contextmanager
def _logged(what: str) -> Iterator[None]:
    """Log an error instead of raising it: reaping or the next check completes the work."""
    try:
        yield
    except ZooError as error:
        logger.warning("%s: %s", what, error)
    except Exception:
        logger.exception("%s", what)
