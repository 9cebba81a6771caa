"""Hooks of jobs that have ended, called in a separate process, which may fail or hang."""

from __future__ import annotations

import functools
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from zoo import environment_variables, jobs
from zoo.child_process import ChildDied
from zoo.errors import ZooError
from zoo.jobs import Database, HookTurn, Job, JobNotFound
from zoo.settings import Settings
from zoo_workers import hook_files
from zoo_workers.runner_pool import Runner

logger = logging.getLogger("zoo.worker")

PROCESS = ""
"""Stands for the plugin of an error if the process of the hooks has died or hung."""
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
SLOT_SECONDS = 0.5
"""Interval at which hooks that wait for a free slot look for one."""
MAKERS, NOTIFIERS = "makers", "notifiers"
"""Plugins whose hook makes files, which is possible later, too; and the rest, which is never
skipped."""
MAX_DELAY_SECONDS = 30.0
"""Time that hooks which are not urgent wait for a free slot, before they compete with the jobs."""
MAX_PROCESSES = 4
"""Processes of a worker that call hooks at a time."""
JOBS_PER_PROCESS = 3
"""Waiting jobs for which one more process is started: its imports take as long as a few calls."""


@dataclass(frozen=True)
class Listeners:
    """What is known of the plugins that implement `job_finished`."""

    takes: Collection[str] = ()
    """Arguments that some plugin takes."""
    are_urgent: bool = False
    """Whether some plugin notifies somebody: those that make no files are called at once."""
    has_notifiers: bool = True
    """Whether some plugin makes no files."""

    @property
    def make_files(self) -> bool:
        """Whether some plugin makes files."""
        return "extra" in self.takes


class Hooks(threading.Thread):
    """Calls the hooks for the jobs that this worker has ended, and for overdue ones.

    Urgent hooks are called by this thread, in the order in which the jobs have ended. The others
    wait for free slots, and are called in one process per free slot.
    """

    def __init__(
        self,
        db: Database,
        settings: Settings,
        environ: Mapping[str, str],
        listeners: Listeners = Listeners(),
        count_free_slots: Callable[[], int] | None = None,
    ) -> None:
        """Prepare the thread.

        Args:
            db: Database with the outbox.
            settings: The worker's settings.
            environ: Variables that the process of the hooks gets and runners do not.
            listeners: The plugins.
            count_free_slots: Returns the number of idle slots; None if hooks wait for none.
        """
        super().__init__(daemon=True, name="hooks")
        self.db = db
        self.settings = settings
        self.environ = environ
        self.listeners = listeners
        self._count_free_slots = count_free_slots
        self._urgent: deque[str] = deque()
        """Jobs that somebody is to be notified of."""
        self._waiting: deque[str] = deque()
        """Jobs whose hooks wait for a free slot."""
        self._taken: deque[HookTurn] = deque()
        """Jobs that were asked for, or that dead workers have left: they wait for no slot."""
        self._changed = threading.Condition()
        self._since = 0.0
        """`time.monotonic` since which a job has been waiting."""
        self._is_stopping = False
        self._skipped = 0
        self._calls: set[Future[None]] = set()
        self._under_way: set[str] = set()
        """Jobs of these calls."""
        self._pool = ThreadPoolExecutor(MAX_PROCESSES, thread_name_prefix="hooks")
        self._idle: list[Runner] = []
        self._busy: set[Runner] = set()
        self._checked = time.monotonic()
        self._requests_checked = 0.0
        self._is_killed = False

    def add(self, job_id: str) -> None:
        """Add a job that has ended and is in the outbox."""
        with self._changed:
            if self.listeners.are_urgent:
                self._urgent.append(job_id)
            else:
                self._append(job_id)
            self._changed.notify()

    def _append(self, job_id: str) -> None:
        if not self._waiting:
            self._since = time.monotonic()
        self._waiting.append(job_id)

    def run(self) -> None:
        while self._wait():
            for step in (self._notify, self._skip_oldest, self._take_requested, self._take_overdue):
                self._try(step)
            while self._may_call():
                if (turn := self._next()) is None:
                    break
                self._under_way.add(turn.job)
                call = self._pool.submit(self._try, functools.partial(self._call_one, turn))
                self._calls.add(call)
                call.add_done_callback(self._wake)
            self._keep_one_process()
        self._pool.shutdown()
        self._end_processes()

    def _try(self, step: Callable[[], None]) -> None:
        try:
            step()
        except ZooError as error:  # a database outage: the calls stay in the outbox
            logger.warning("%s", error)
        except Exception:
            logger.exception("the hooks of a job could not be called")

    def _wake(self, _: Future[None]) -> None:
        with self._changed:
            self._changed.notify()

    def end(self) -> None:
        """Finish the calls under way, for at most STOP_SECONDS."""
        with self._changed:
            self._is_stopping = True
            self._changed.notify()
        self.join(STOP_SECONDS)
        if self.is_alive():
            self._is_killed = True
            self._end_processes()

    # --- what is to be done ---

    def _wait(self) -> bool:
        """Wait until there may be something to do; return False at the end."""
        with self._changed:
            self._calls = {each for each in self._calls if not each.done()}
            if not self._is_due():
                timeout = REQUEST_SECONDS if self.listeners.make_files else OVERDUE_SECONDS
                self._changed.wait(SLOT_SECONDS if self._waiting else timeout)
                self._calls = {each for each in self._calls if not each.done()}
            has_work = self._urgent or self._waiting or self._taken or self._calls
            return not self._is_killed and bool(has_work or not self._is_stopping)

    def _is_due(self) -> bool:
        """Return whether there is something to do at once."""
        if self._urgent or (self._is_stopping and not self._calls):
            return True
        return bool(self._taken or self._waiting) and self._may_call()

    def _may_call(self) -> bool:
        """Return whether one more call may begin, besides those under way."""
        self._calls = {each for each in self._calls if not each.done()}
        free = MAX_PROCESSES if self._count_free_slots is None else self._count_free_slots()
        if not self._calls:
            late = time.monotonic() >= self._since + MAX_DELAY_SECONDS
            return bool(self._taken) or free > 0 or late or self._is_stopping
        waiting = len(self._waiting) + len(self._taken)
        return (
            waiting > JOBS_PER_PROCESS * len(self._calls)
            and len(self._calls) < min(free, MAX_PROCESSES)
            and self.listeners.make_files
        )

    def _next(self) -> HookTurn | None:
        """Return a job whose hooks no other worker has taken over: the newest of those waiting."""
        while True:
            with self._changed:
                if self._taken:
                    return self._taken.popleft()
                if not self._waiting:
                    return None
                newest_first = self.listeners.make_files
                job = self._waiting.pop() if newest_first else self._waiting.popleft()
            try:
                if jobs.begin_hooks(self.db, [job]):
                    return HookTurn(job, 1, self.listeners.are_urgent)
            except ZooError as error:  # it stays in the outbox
                logger.warning("%s", error)

    def _notify(self) -> None:
        """Call the hooks that cannot wait."""
        with self._changed:
            ended = [self._urgent.popleft() for _ in range(min(BATCH, len(self._urgent)))]
        if not ended:
            return
        turns = [HookTurn(job, 1, False) for job in jobs.begin_hooks(self.db, ended)]
        if not self.listeners.make_files:
            self._call_all(turns)
            return
        called = [turn.job for turn in turns if self.call(turn, which=NOTIFIERS)]
        if called:
            jobs.leave_only_files(self.db, called)
        with self._changed:
            for job in called:
                self._append(job)

    def _skip_oldest(self) -> None:
        """Skip those of too many waiting jobs that have ended first."""
        if not self.listeners.make_files:
            return
        with self._changed:
            surplus = len(self._waiting) - MAX_WAITING
            skipped = [self._waiting.popleft() for _ in range(min(surplus, MAX_SKIPPED))]
        if skipped:
            own = jobs.begin_hooks(self.db, skipped)
            self._skip([HookTurn(job, 1, self.listeners.are_urgent) for job in own])

    def _skip(self, own: Sequence[HookTurn]) -> None:
        """Call only the notifiers, and log that; files can be made later."""
        for turn in own:
            if self.listeners.has_notifiers and not turn.only_files:
                self.call(turn, which=NOTIFIERS)
        if own:
            jobs.skip_hooks(self.db, [turn.job for turn in own])
            self._skipped += len(own)
            text = f"{self._skipped} jobs so far, {own[-1].job[:8]} is the last"
            logger.warning("plugins make no files, because too many jobs end: %s", text)

    def _take_requested(self) -> None:
        now = time.monotonic()
        if self.listeners.make_files and now >= self._requests_checked + REQUEST_SECONDS:
            self._requests_checked = now
            self._taken.extendleft(reversed(jobs.take_requested_hooks(self.db)))

    def _take_overdue(self) -> None:
        """Take over jobs of dead workers; of too many of them the oldest are skipped."""
        if self._taken or time.monotonic() < self._checked + OVERDUE_SECONDS:
            return
        self._checked = time.monotonic()
        under_way = [*self._under_way]
        if self.listeners.make_files:
            over = jobs.count_overdue_hooks(self.db) - MAX_WAITING
            if over > 0:
                few = min(over, MAX_SKIPPED)
                self._skip(jobs.take_overdue_hooks(self.db, limit=few, besides=under_way))
        self._taken.extend(jobs.take_overdue_hooks(self.db, besides=under_way))

    # --- calls ---

    def _call_one(self, turn: HookTurn) -> None:
        try:
            self._call_all([turn])
        finally:
            self._under_way.discard(turn.job)

    def _call_all(self, turns: Sequence[HookTurn]) -> None:
        done = []
        for turn in turns:
            if self._is_killed:  # the next call would start a process while the worker stops
                break
            if self.call(turn) or turn.n >= MAX_TRIES:
                done.append(turn.job)
        if done:
            jobs.complete_hooks(self.db, done)

    def call(self, turn: HookTurn, *, which: str | None = None) -> bool:
        """Call the hooks for one job.

        Args:
            turn: The job. At the last try its hooks do without files that cannot be fetched.
            which: MAKERS or NOTIFIERS to call only these.

        Returns:
            Whether they were called; an error that a hook raises is recorded, and it is not
            repeated.
        """
        job_id, takes = turn.job, self.listeners.takes
        try:
            job = jobs.get(self.db, job_id)
        except JobNotFound:  # it was removed meanwhile
            return True
        request: dict[str, Any] = {"action": "hooks", "job": self._as_json(job)}
        request["environ"] = dict(self.environ)
        if "steps" in takes:
            request["steps"] = jobs.timed_steps(self.db, job_id)
        if which := which or (MAKERS if turn.only_files else None):
            request["which"] = which
        errors: dict[str, str | None] = {}
        try:
            insist = turn.n < MAX_TRIES
            with hook_files.prepared(self.settings, job, takes, insist=insist) as folder:
                errors = self._request(request | folder.request())
                # Also if one of them has hung: the files of the others are complete.
                for plugin, why in folder.keep() if self._has_its_files(job_id) else ():
                    errors[plugin] = f"its files are not kept: {why}"
        except (ZooError, OSError) as error:  # the store is unavailable, or the disk full
            logger.warning("job %s: its hooks must wait: %s", job_id[:8], error)
            return False
        if self._is_killed and PROCESS in errors:  # by this worker, which stops
            return False
        self._record(job_id, errors, turn.n)
        return PROCESS not in errors

    def _has_its_files(self, job_id: str) -> bool:
        """Return whether the job exists and its files were not removed while its hooks ran."""
        try:
            return not jobs.get(self.db, job_id).removal_note
        except JobNotFound:
            return False

    def _record(self, job_id: str, errors: Mapping[str, str | None], n: int) -> None:
        """Log and store the errors of hooks, by plugin; None for one that was called."""
        for plugin, error in errors.items():
            if error is not None:
                whose = f"the hook of the plugin {plugin}: " if plugin else ""
                logger.warning("job %s: %s%s", job_id[:8], whose, error)
        if n > 1 or any(error is not None for error in errors.values()):
            jobs.record_hook_errors(self.db, job_id, {PROCESS: None, **errors})

    def _request(self, request: dict[str, Any]) -> dict[str, str | None]:
        """Send a request to a process; return the errors by plugin, PROCESS if it dies or hangs."""
        with self._changed:
            process = self._idle.pop() if self._idle else None
        try:
            if process is None:
                # A plugin may need a password of its own to notify somebody.
                process = Runner(env=environment_variables.for_plugins(os.environ))
            with self._changed:
                self._busy.add(process)
            if self._is_killed:
                process.kill()
            process.send(request)
            called = process.receive(CALL_SECONDS)
        except ChildDied as death:
            self._drop(process)
            return {PROCESS: f"the process of the hooks ended ({death})"}
        if called is None:
            self._drop(process)
            return {PROCESS: f"its hooks took over {CALL_SECONDS:g} s"}
        with self._changed:
            self._busy.discard(process)
            self._idle.append(process)
        return called

    def _as_json(self, job: Job) -> dict[str, Any]:
        """Return the job as JSON; the last job of a group has the group's result."""
        group = None
        if job.group and jobs.ended_last(self.db, job.id):
            whole = jobs.get_group(self.db, job.group)
            group = whole.to_json() | {"jobs": [each.id for each in whole.jobs]}
        return job.to_json() | {"group_result": group}

    # --- processes ---

    def _drop(self, process: Runner | None) -> None:
        if process is not None:
            with self._changed:
                self._busy.discard(process)
            process.close()

    def _keep_one_process(self) -> None:
        """End the processes that were needed for many jobs only."""
        with self._changed:
            if self._calls or self._waiting or self._taken:
                return
            left, self._idle = self._idle[1:], self._idle[:1]
        for process in left:
            process.close()

    def _end_processes(self) -> None:
        with self._changed:
            left = [*self._idle, *self._busy]
        for process in left:
            process.kill()
