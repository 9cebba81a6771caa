"""The supervisor: take the most urgent job for a free slot, and see it through to its end."""

from __future__ import annotations

import functools
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future
from concurrent.futures import wait as wait_for

from zoo import jobs
from zoo.errors import ZooError
from zoo.jobs import Database
from zoo.settings import Settings
from zoo_workers.artifact_writer import Storer
from zoo_workers.execution import Watch
from zoo_workers.finalizer import MOST_ENDS, Ends
from zoo_workers.health import Health
from zoo_workers.heartbeat import LOOK_SECONDS
from zoo_workers.hooks import Hooks
from zoo_workers.runner_pool import Runners

logger = logging.getLogger("zoo.worker")


class Supervisor:
    """Runs jobs for one worker; a slot is a thread that is in `work_on`."""

    def __init__(
        self, db: Database, settings: Settings, runners: Runners, name: str, pool: str, slots: int
    ) -> None:
        self.db = db
        self.settings = settings
        self.runners = runners
        self.name = name
        self.pool = pool
        self.slots = slots
        self.models: dict[str, str] = {}
        """Every model that this worker can load, with its plugin's label."""
        self.datasets: list[str] = []
        self.hooks: Hooks | None = None
        """Set if a plugin of this machine wants to know of jobs that have ended."""
        self.drain_by: float | None = None
        """Set once the worker is to end: running jobs are given back at that time."""
        self.after_job: Callable[[], None] = lambda: None
        """What follows the end of a job: others are woken for those that have waited for it."""
        self.last_job = time.monotonic()
        self.health = Health(settings)
        self.room = threading.Event()
        """Set while a slot has no job: what need not be at once is done then."""
        self.room.set()
        self._taken = 0
        self.storer = Storer(settings.artifacts, settings.lease_seconds / 2)
        self._ends = Ends(db, slots, self.storer, self._ended, lambda: self.after_job())
        self._free = threading.BoundedSemaphore(slots)
        self._busy = 0
        self._lock = threading.Lock()

    @property
    def busy(self) -> int:
        """How many jobs are running, or at their end."""
        return self._busy

    def drain(self, seconds: float) -> None:
        """Take no further job; give the running ones back after `seconds`."""
        by = time.monotonic() + seconds
        self.drain_by = by if self.drain_by is None else min(by, self.drain_by)

    def await_idle(self, seconds: float) -> None:
        """Wait until no job is running, at most so long."""
        ends = time.monotonic() + seconds
        while self.busy and time.monotonic() < ends:
            time.sleep(0.05)

    def end(self) -> None:
        """End the processes beside the runners."""
        if self.hooks:
            self.hooks.end()
        self.storer.end()

    def must_stop(self) -> bool:
        """Whether running jobs are to be given back now."""
        return self.drain_by is not None and time.monotonic() > self.drain_by

    def look(self) -> None:
        """Have the free slots take jobs without a hint: one more looks for each that is found."""
        work = functools.partial(self.work_on, wait=False, found=self.look)
        threading.Thread(target=work, daemon=True, name="slot").start()

    def work_on(self, *, wait: bool = True, found: Callable[[], None] = lambda: None) -> None:
        """Run one job after the other in a slot, until there is none to claim.

        Unless it is to `wait` for a slot, nothing happens if none is free. `found` is called for
        each job.
        """
        if not self._free.acquire(blocking=wait):
            return
        self._take(1)
        endings: set[Future[None]] = set()
        try:
            # Celery would give a slot a hint a second at best.
            while (watch := self._claim()) or endings:
                if watch:
                    found()
                    self._run(watch)
                # Without a job, the next end may be what sets one free.
                endings = self._await_room(endings, watch)
                # To store and to commit is to wait for disks: the slot's runner need not.
                if watch:
                    endings.add(self._ends.add(watch))
        except ZooError as error:  # the database is away; the job's hint is sent again
            logger.warning("%s", error)
        except Exception:  # the slot is free again, and its next look tries once more
            logger.exception("a slot could not take a job")
        finally:
            self._take(-1)
            self._free.release()

    def _claim(self) -> Watch | None:
        """Claim the most urgent job."""
        models = self.health.fit_for(self.models)
        if self.drain_by is not None or not models:
            return None
        asked = time.monotonic()
        claimed = jobs.claim(
            self.db,
            pool=self.pool,
            models=models,
            datasets=self.datasets,
            worker=self.name,
            lease=self.settings.lease_seconds,
            avoid=self.health.avoided(),
        )
        if claimed is None:
            return None
        claim, job = claimed
        self._count(1)
        logger.info("job %s (%s on %s) begins", job.id[:8], job.model, job.dataset)
        stop, owes = self.must_stop, self.hooks is not None
        shared = (self.db, self.settings, self.runners)
        return Watch(*shared, claim, job, stop, asked, self.health, owes)

    def _run(self, watch: Watch) -> None:
        try:
            watch.run()
        except Exception:  # nobody beats for it any more: the job goes on elsewhere
            logger.exception("job %s could not be run", watch.job.id[:8])

    def _await_room(self, endings: set[Future[None]], watch: Watch | None) -> set[Future[None]]:
        """Wait until one more may be at its end; those that still are."""
        most = MOST_ENDS - 1 if watch else max(len(endings) - 1, 0)
        while len(endings) > most:
            done, endings = wait_for(endings, LOOK_SECONDS, FIRST_COMPLETED)
            if watch and not done:
                watch.pulse.ensure()
        return endings

    def _ended(self, watch: Watch) -> None:
        if watch.committed and self.hooks:
            self.hooks.tell(watch.job.id)
        self._count(-1)

    def _take(self, change: int) -> None:
        with self._lock:
            self._taken += change
            (self.room.set if self._taken < self.slots else self.room.clear)()

    def _count(self, change: int) -> None:
        with self._lock:
            self._busy += change
            self.last_job = time.monotonic()
