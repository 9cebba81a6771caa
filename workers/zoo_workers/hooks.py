"""The hooks of jobs that have ended: called in a process of their own, which may fail or hang."""

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
from zoo.errors import ZooError
from zoo.jobs import Database, Job
from zoo.settings import Settings
from zoo_workers import hook_files
from zoo_workers.runner_pool import Runner, RunnerDied

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
MOST_WAITING = 60
"""Jobs that wait for plugins to leave their files, which takes about a second each: the newest come
first, and those that waited longest are left out. Less than a turn of the outbox, or other workers
would join in."""
MOST_SKIPPED = 500
"""In one transaction."""
ASKED_SECONDS = 5.0
"""Between two looks for jobs that somebody has asked for."""
MAKERS, OTHERS = "makers", "others"
"""Plugins whose hook leaves files, which can be made later; and the rest, which is always told."""
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
        *,
        others: bool = True,
    ) -> None:
        """`environ` is what the process of the hooks is told and runners are not.

        `takes` are the arguments of `job_finished` that some plugin takes. `room` is set while a
        slot has nothing to do, which the hooks wait for, if it is given. `others`: whether some
        plugin leaves no files.
        """
        super().__init__(daemon=True, name="hooks")
        self.db = db
        self.settings = settings
        self.environ = environ
        self.takes = takes
        self.room = room
        self.others = others
        self._leaves_files = "extra" in takes
        self._waiting: deque[str] = deque()
        self._news = threading.Condition()
        self._since = 0.0
        """Since when some job has been waiting, by `time.monotonic`."""
        self._is_over = False
        self._skipped = 0
        self._process: Runner | None = None
        self._looked = time.monotonic()
        self._gave_up = False

    def tell(self, job_id: str) -> None:
        """Say that this job has ended, and stands in the outbox."""
        with self._news:
            if not self._waiting:
                self._since = time.monotonic()
            self._waiting.append(job_id)
            self._news.notify()

    def run(self) -> None:
        goes_on = True
        while goes_on:
            skipped, ended, goes_on = self._next()
            try:
                self._skip(jobs.begin_hooks(self.db, skipped) if skipped else [])
                if self._leaves_files:
                    self._call_asked()
                # Behind a long line of jobs, another worker may have taken some over.
                if ended:
                    self._call_all([(each, 1) for each in jobs.begin_hooks(self.db, ended)])
                if time.monotonic() - self._looked >= OVERDUE_SECONDS:
                    self._looked = time.monotonic()
                    if self._leaves_files:  # also of those that a dead worker has left
                        over = jobs.count_overdue_hooks(self.db) - MOST_WAITING
                        left = (
                            jobs.take_overdue_hooks(self.db, limit=min(over, MOST_SKIPPED))
                            if over > 0
                            else []
                        )
                        self._skip([job for job, _ in left])
                    self._call_all(jobs.take_overdue_hooks(self.db))
            except ZooError as error:  # the database is away: what is owed stays written down
                logger.warning("%s", error)
            except Exception:
                logger.exception("the hooks of a job could not be called")
        self._end_process()

    def end(self) -> None:
        """Call what is still to be called, but not for long."""
        with self._news:
            self._is_over = True
            self._news.notify()
        if self.room:
            self.room.set()
        self.join(FAREWELL_SECONDS)
        if self.is_alive():
            self._gave_up = True
            self._end_process()

    def _next(self) -> tuple[list[str], list[str], bool]:
        """Wait for jobs that have ended: gives those to skip, those to call, whether to go on."""
        with self._news:
            patience = min(OVERDUE_SECONDS, ASKED_SECONDS if self._leaves_files else math.inf)
            self._news.wait_for(lambda: self._waiting or self._is_over, patience)
            if not self._waiting:
                return [], [], not self._is_over
            since = self._since
        if self.room and not self._is_over:
            self.room.wait(max(0.0, since + PATIENCE_SECONDS - time.monotonic()))
        with self._news:
            most = MOST_WAITING if self._leaves_files else math.inf
            skipped = []
            while len(self._waiting) > most:
                skipped.append(self._waiting.popleft())
            # With room, one by one: the next job may take the slot any moment.
            few = range(1 if self.room else min(AT_ONCE, len(self._waiting)))
            newest_first = self._leaves_files and self.room
            ended = [self._waiting.pop() if newest_first else self._waiting.popleft() for _ in few]
            return skipped, ended, bool(self._waiting) or not self._is_over

    def _skip(self, own: Sequence[str]) -> None:
        """Leave out what can be made later, and say so."""
        for job in own:
            if self.others:
                self._call(job, is_last=False, which=OTHERS)
        if own:
            jobs.skip_hooks(self.db, own)
            self._skipped += len(own)
            told = f"{self._skipped} jobs so far, {own[-1][:8]} is the last"
            logger.warning("plugins leave no files, as too many jobs end: of %s", told)

    def _call_asked(self) -> None:
        for job, was_skipped in jobs.take_requested_hooks(self.db):
            if self._call(job, is_last=False, which=MAKERS if was_skipped else None):
                jobs.complete_hooks(self.db, [job])

    def _call_all(self, owed: Sequence[tuple[str, int]]) -> None:
        done = []
        for job, n in owed:
            if self._gave_up:  # else the next one would start a process while the worker ends
                break
            if self._call(job, is_last=n >= MOST_TRIES) or n >= MOST_TRIES:
                done.append(job)
        if done:
            jobs.complete_hooks(self.db, done)

    def _call(self, job_id: str, *, is_last: bool, which: str | None = None) -> bool:
        """Whether the hooks were called; one that raises was, and is not called again."""
        job = jobs.get(self.db, job_id)
        order = {"do": "hooks", "job": self._told(job), "environ": dict(self.environ)}
        order |= {"which": which} if which else {}
        try:
            with hook_files.prepared(self.settings, job, self.takes, insist=not is_last) as handed:
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
                self._process = Runner(env=environment_variables.for_plugins(os.environ))
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
