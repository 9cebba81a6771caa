"""The hooks of jobs that have ended: called in a process of their own, which may fail or hang."""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import threading
import time
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from zoo import jobs, variables
from zoo.errors import ZooError
from zoo.jobs import Database, Job
from zoo.settings import Settings
from zoo_workers import handover
from zoo_workers.runners import Runner, RunnerDied

logger = logging.getLogger("zoo.worker")

CALL_SECONDS = 60.0
"""What the hooks may take for one job; then their process is ended."""
OVERDUE_SECONDS = 30.0
"""Between two looks at what workers that are gone have left undone."""
FAREWELL_SECONDS = 5.0
"""What a stopping worker waits for the hooks under way; the rest stays in the outbox."""
MOST_TRIES = 3
"""For one job, where the process of the hooks dies or hangs each time."""
AT_ONCE = 20
"""Jobs between two transactions: called one after the other in less than a turn of the outbox."""
PATIENCE_SECONDS = 30.0
"""What hooks that may wait leave the cores to the jobs, before they take their share of them."""


class Hooks(threading.Thread):
    """Calls the hooks for the jobs that this worker has ended, and for those overdue."""

    def __init__(
        self,
        db: Database,
        settings: Settings,
        environ: Mapping[str, str],
        takes: Collection[str] = (),
        room: threading.Event | None = None,
    ) -> None:
        """`environ` is what the process of the hooks is told and runners are not.

        `takes` are the arguments of `job_finished` that some plugin takes. `room` is set while a
        slot has nothing to do, which the hooks wait for, if it is given.
        """
        super().__init__(daemon=True, name="hooks")
        self.db = db
        self.settings = settings
        self.environ = environ
        self.takes = takes
        self.room = room
        self._ended: queue.SimpleQueue[tuple[str | None, float]] = queue.SimpleQueue()
        self._process: Runner | None = None
        self._looked = time.monotonic()
        self._gave_up = False

    def tell(self, job_id: str) -> None:
        """Say that this job has ended, and stands in the outbox."""
        self._ended.put((job_id, time.monotonic()))

    def run(self) -> None:
        goes_on = True
        while goes_on:
            waiting = self._next()
            goes_on = None not in waiting
            try:
                ended = [each for each in waiting if each]
                # Behind a long line of jobs, another worker may have taken some over.
                self._call_all([(each, 1) for each in jobs.renew(self.db, ended)])
                if time.monotonic() - self._looked >= OVERDUE_SECONDS:
                    self._looked = time.monotonic()
                    self._call_all(jobs.overdue(self.db))
            except ZooError as error:  # the database is away: what is owed stays written down
                logger.warning("%s", error)
            except Exception:
                logger.exception("the hooks of a job could not be called")
        self._end_process()

    def end(self) -> None:
        """Call what is still to be called, but not for long."""
        self._ended.put((None, time.monotonic()))
        if self.room:
            self.room.set()
        self.join(FAREWELL_SECONDS)
        if self.is_alive():
            self._gave_up = True
            self._end_process()

    def _next(self) -> list[str | None]:
        """Wait for a job that has ended, and take those that came with it; none, after a while."""
        found: list[str | None] = []
        with contextlib.suppress(queue.Empty):
            job, ended = self._ended.get(timeout=OVERDUE_SECONDS)
            found.append(job)
            if self.room:  # one by one, as the next job may take the slot any moment
                self.room.wait(max(0.0, ended + PATIENCE_SECONDS - time.monotonic()))
                return found
            while len(found) < AT_ONCE:
                found.append(self._ended.get_nowait()[0])
        return found

    def _call_all(self, owed: Sequence[tuple[str, int]]) -> None:
        done = []
        for job, n in owed:
            if self._gave_up:  # else the next one would start a process while the worker ends
                break
            if self._call(job, is_last=n >= MOST_TRIES) or n >= MOST_TRIES:
                done.append(job)
        if done:
            jobs.settle(self.db, done)

    def _call(self, job_id: str, *, is_last: bool) -> bool:
        """Whether the hooks were called; one that raises was, and is not called again."""
        job = jobs.get(self.db, job_id)
        order = {"do": "hooks", "job": self._told(job), "environ": dict(self.environ)}
        try:
            with handover.prepared(self.settings, job, self.takes, insist=not is_last) as handed:
                called = self._obey(job_id, order | handed.order())
                # Also if one of them has hung: what the others have left is whole.
                for plugin, why in handed.keep():
                    logger.warning("job %s: what %s left is not kept: %s", job_id[:8], plugin, why)
            return called
        except (ZooError, OSError) as error:  # the store is away, or the disk full
            logger.warning("job %s: its hooks must wait: %s", job_id[:8], error)
            return False

    def _obey(self, job_id: str, order: dict[str, Any]) -> bool:
        """Have the process of the hooks call them; False if it dies or hangs."""
        try:
            if self._process is None:
                # A plugin may need a password of its own to tell somebody.
                self._process = Runner(env=variables.for_plugins(os.environ))
            self._process.order(order)
            raised = self._process.answer(CALL_SECONDS)
        except RunnerDied as death:
            self._process = None
            logger.warning("job %s: the process of the hooks ended (%s)", job_id[:8], death)
            return False
        if raised is None:
            self._end_process()
            logger.warning("job %s: its hooks took over %g s", job_id[:8], CALL_SECONDS)
            return False
        for plugin, error in raised.items():
            logger.warning("job %s: the hook of the plugin %s: %s", job_id[:8], plugin, error)
        return True

    def _told(self, job: Job) -> dict[str, Any]:
        """The job as JSON; with the last job of a group, the group's result."""
        group = None
        if job.group and jobs.ended_last(self.db, job.id):
            whole = jobs.get_group(self.db, job.group)
            group = whole.to_json() | {"jobs": [each.id for each in whole.jobs]}
        return job.to_json() | {"group_result": group}

    def _end_process(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
