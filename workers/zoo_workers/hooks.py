"""Hooks of jobs that have ended, called in a separate process, which may fail or hang."""

from __future__ import annotations

import logging
import math
import os
import threading
import time
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from zoo import environment_variables, jobs
from zoo.child_process import ChildDied
from zoo.errors import ZooError
from zoo.jobs import Database, Job, JobNotFound
from zoo.settings import Settings
from zoo_workers import hook_files
from zoo_workers.runner_pool import Runner

logger = logging.getLogger("zoo.worker")

CALL_SECONDS = 60.0
"""Time limit for the hooks of one job; then their process is killed."""
OVERDUE_SECONDS = 30.0
"""Interval at which calls that dead workers have left in the outbox are checked for."""
STOP_SECONDS = 5.0
"""Time that a stopping worker waits for its hooks; the rest stays in the outbox."""
MAX_TRIES = 3
"""Calls for one job, if the process of the hooks dies or hangs each time."""
BATCH = 20
"""Jobs per transaction: their calls take less time than the outbox allows one worker."""
MAX_WAITING = 60
"""Jobs that wait for plugins to make their files, which takes about a second each: the newest come
first, and the oldest are skipped. More would exceed the time that the outbox allows one worker."""
MAX_SKIPPED = 500
"""Jobs skipped per transaction."""
REQUEST_SECONDS = 5.0
"""Interval at which requests for the files of a job are checked for."""
MAKERS, NOTIFIERS = "makers", "notifiers"
"""Plugins whose hook makes files, which is possible later, too; and the rest, which is never
skipped."""
MAX_DELAY_SECONDS = 30.0
"""Time that hooks which are not urgent wait for a free slot, before they compete with the jobs."""


class Hooks(threading.Thread):
    """Calls the hooks for the jobs that this worker has ended, and for overdue ones."""

    def __init__(
        self,
        db: Database,
        settings: Settings,
        environ: Mapping[str, str],
        takes: Collection[str] = (),
        has_free_slot: threading.Event | None = None,
        *,
        has_notifiers: bool = True,
    ) -> None:
        """Prepare the thread.

        Args:
            db: Database with the outbox.
            settings: The worker's settings.
            environ: Variables that the process of the hooks gets and runners do not.
            takes: Arguments of `job_finished` that some plugin takes.
            has_free_slot: Event that the hooks wait for; None if they are urgent.
            has_notifiers: Whether some plugin makes no files.
        """
        super().__init__(daemon=True, name="hooks")
        self.db = db
        self.settings = settings
        self.environ = environ
        self.takes = takes
        self.has_free_slot = has_free_slot
        self.has_notifiers = has_notifiers
        self._makes_files = "extra" in takes
        self._waiting: deque[str] = deque()
        self._changed = threading.Condition()
        self._since = 0.0
        """`time.monotonic` since which a job has been waiting."""
        self._is_stopping = False
        self._skipped = 0
        self._process: Runner | None = None
        self._checked = time.monotonic()
        self._is_killed = False

    def add(self, job_id: str) -> None:
        """Add a job that has ended and is in the outbox."""
        with self._changed:
            if not self._waiting:
                self._since = time.monotonic()
            self._waiting.append(job_id)
            self._changed.notify()

    def run(self) -> None:
        continues = True
        while continues:
            skipped, ended, continues = self._next()
            try:
                self._skip(jobs.begin_hooks(self.db, skipped) if skipped else [])
                if self._makes_files:
                    self._call_requested()
                # After a long wait, another worker may have taken some over.
                if ended:
                    self._call_all([(each, 1) for each in jobs.begin_hooks(self.db, ended)])
                if time.monotonic() - self._checked >= OVERDUE_SECONDS:
                    self._checked = time.monotonic()
                    if self._makes_files:  # also for the jobs of dead workers
                        over = jobs.count_overdue_hooks(self.db) - MAX_WAITING
                        left = (
                            jobs.take_overdue_hooks(self.db, limit=min(over, MAX_SKIPPED))
                            if over > 0
                            else []
                        )
                        self._skip([job for job, _ in left])
                    self._call_all(jobs.take_overdue_hooks(self.db))
            except ZooError as error:  # a database outage: the calls stay in the outbox
                logger.warning("%s", error)
            except Exception:
                logger.exception("the hooks of a job could not be called")
        self._end_process()

    def end(self) -> None:
        """Finish the calls under way, for at most STOP_SECONDS."""
        with self._changed:
            self._is_stopping = True
            self._changed.notify()
        if self.has_free_slot:
            self.has_free_slot.set()
        self.join(STOP_SECONDS)
        if self.is_alive():
            self._is_killed = True
            self._end_process()

    def _next(self) -> tuple[list[str], list[str], bool]:
        """Wait for jobs; return those to skip, those to call, and whether to continue."""
        with self._changed:
            timeout = min(OVERDUE_SECONDS, REQUEST_SECONDS if self._makes_files else math.inf)
            self._changed.wait_for(lambda: self._waiting or self._is_stopping, timeout)
            if not self._waiting:
                return [], [], not self._is_stopping
            since = self._since
        if self.has_free_slot and not self._is_stopping:
            self.has_free_slot.wait(max(0.0, since + MAX_DELAY_SECONDS - time.monotonic()))
        with self._changed:
            limit = MAX_WAITING if self._makes_files else math.inf
            skipped = []
            while len(self._waiting) > limit:
                skipped.append(self._waiting.popleft())
            # One by one unless they are urgent: the next job may take the slot at any moment.
            batch = range(1 if self.has_free_slot else min(BATCH, len(self._waiting)))
            newest_first = self._makes_files and self.has_free_slot
            ended = [
                self._waiting.pop() if newest_first else self._waiting.popleft() for _ in batch
            ]
            return skipped, ended, bool(self._waiting) or not self._is_stopping

    def _skip(self, own: Sequence[str]) -> None:
        """Call only the notifiers, and log that; files can be made later."""
        for job in own:
            if self.has_notifiers:
                self.call(job, is_last=False, which=NOTIFIERS)
        if own:
            jobs.skip_hooks(self.db, own)
            self._skipped += len(own)
            text = f"{self._skipped} jobs so far, {own[-1][:8]} is the last"
            logger.warning("plugins make no files, because too many jobs end: %s", text)

    def _call_requested(self) -> None:
        for job, was_skipped in jobs.take_requested_hooks(self.db):
            if self.call(job, is_last=False, which=MAKERS if was_skipped else None):
                jobs.complete_hooks(self.db, [job])

    def _call_all(self, overdue: Sequence[tuple[str, int]]) -> None:
        done = []
        for job, n in overdue:
            if self._is_killed:  # the next call would start a process while the worker stops
                break
            if self.call(job, is_last=n >= MAX_TRIES) or n >= MAX_TRIES:
                done.append(job)
        if done:
            jobs.complete_hooks(self.db, done)

    def call(self, job_id: str, *, is_last: bool, which: str | None = None) -> bool:
        """Call the hooks for one job.

        Args:
            job_id: The job.
            is_last: Do without the job's files if they cannot be fetched.
            which: MAKERS or NOTIFIERS to call only these.

        Returns:
            Whether they were called; an error that a hook raises is logged, and it is not repeated.
        """
        try:
            job = jobs.get(self.db, job_id)
        except JobNotFound:  # it was removed meanwhile
            return True
        request = {"action": "hooks", "job": self._as_json(job), "environ": dict(self.environ)}
        request |= {"which": which} if which else {}
        try:
            with hook_files.prepared(self.settings, job, self.takes, insist=not is_last) as folder:
                called = self._request(job_id, request | folder.request())
                # Also if one of them has hung: the files of the others are complete.
                for plugin, why in folder.keep() if self._has_its_files(job_id) else ():
                    logger.warning("job %s: files of %s are not kept: %s", job_id[:8], plugin, why)
            return called
        except (ZooError, OSError) as error:  # the store is unavailable, or the disk full
            logger.warning("job %s: its hooks must wait: %s", job_id[:8], error)
            return False

    def _has_its_files(self, job_id: str) -> bool:
        """Return whether the job exists and its files were not removed while its hooks ran."""
        try:
            return not jobs.get(self.db, job_id).removal_note
        except JobNotFound:
            return False

    def _request(self, job_id: str, request: dict[str, Any]) -> bool:
        """Send a request to the process of the hooks; return False if it dies or hangs."""
        try:
            if self._process is None:
                # A plugin may need a password of its own to notify somebody.
                self._process = Runner(env=environment_variables.for_plugins(os.environ))
            self._process.send(request)
            raised = self._process.receive(CALL_SECONDS)
        except ChildDied as death:
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

    def _as_json(self, job: Job) -> dict[str, Any]:
        """Return the job as JSON; the last job of a group has the group's result."""
        group = None
        if job.group and jobs.ended_last(self.db, job.id):
            whole = jobs.get_group(self.db, job.group)
            group = whole.to_json() | {"jobs": [each.id for each in whole.jobs]}
        return job.to_json() | {"group_result": group}

    def _end_process(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
