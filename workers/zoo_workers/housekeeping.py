"""The worker's housekeeping: its heartbeat, lost jobs, missing hints, and when to exit."""

from __future__ import annotations

import contextlib
import logging
import math
import socket
import threading
import time
from collections.abc import Callable

from zoo import jobs, process_tree
from zoo.data import added
from zoo.errors import ArtifactError, BrokerError, ZooError
from zoo.jobs import TERMINAL, Database
from zoo.jobs.worker_rows import SILENT_AFTER
from zoo.queue import local_services
from zoo.queue.broker import Broker
from zoo.queue.submit import ENOUGH_HINTS, resend
from zoo.settings import Settings
from zoo.storage import artifacts, removals
from zoo_workers import repeated_lines
from zoo_workers.consumer import MAX_ERRORS, PROVE_SECONDS
from zoo_workers.earlier_metrics import EarlierMetrics
from zoo_workers.slots import Supervisor
from zoo_workers.workspace import remove_old_folders

logger = logging.getLogger("zoo.worker")

SWEEP_SECONDS = 3600.0
"""Time between two looks for what interrupted commands have left."""
REMOVAL_SECONDS = 1.0
"""Time that one pass takes for removing jobs, and as long for deleting their files."""
BEHIND_SECONDS = 0.1
"""Time until the next pass if some are left: jobs that end must not leave more than it removes."""


class Housekeeper(threading.Thread):
    """Maintains the rows while the slots run jobs; any number of workers may do so at a time."""

    def __init__(
        self, broker: Broker, supervisor: Supervisor, worker_id: str, stop: Callable[[], None]
    ) -> None:
        super().__init__(daemon=True, name="housekeeping")
        self.broker = broker
        self.supervisor = supervisor
        self.db: Database = supervisor.db
        self.settings: Settings = supervisor.settings
        self.worker_id = worker_id
        self.stop_worker = stop
        self.exits_when_idle = False
        self.announce: Callable[[], None] = lambda: None
        """Adds this worker to the database again, which has lost it after a restore."""
        self._is_behind = False
        """Whether the last pass has left jobs or files that are to be removed."""
        self._is_over = False
        self._wake = threading.Event()
        self._reaped = -math.inf  # a machine may have started a moment ago
        self._swept = -math.inf
        self._without_checkpoints: set[str] = set()
        """Pruned jobs whose checkpoints this worker has removed."""
        self._was_sick = False
        self._broker_errors: set[str] = set()
        """Errors of the broker since hints were last sent."""
        self._error = ""
        self._last_beat = time.monotonic()
        self._earlier = EarlierMetrics(self.db, self.settings, lambda: supervisor.busy > 0)
        chosen = self.settings
        self._retention = jobs.Retention(
            days=chosen.keep_days, jobs=chosen.keep_jobs, keep_metrics=chosen.keep_metrics
        )
        self.health = supervisor.health
        self.health.on_change = self._wake.set

    def run(self) -> None:
        every = min(self.settings.beat_seconds, self.settings.reap_seconds)
        self._earlier.start()
        while True:
            self._wake.wait(min(every, BEHIND_SECONDS) if self._is_behind else every)
            self._wake.clear()
            if self._is_over:
                return
            try:
                self.run_once()
                repeated_lines.DATABASE.end()
                self._log_change(None)
            except Exception as error:
                # For example an outage of the database or the broker: the next pass tries again.
                self._log_change(error)

    def _log_change(self, error: Exception | None) -> None:
        """Log an error of a pass when it appears, changes or ends, not at each pass."""
        why = repr(error) if error else ""
        if isinstance(error, ZooError) and why != self._error:
            logger.warning("%s", error)
        elif error and why != self._error:
            logger.error("housekeeping failed", exc_info=error)
        elif self._error and not error:
            logger.info("housekeeping goes on")
        self._error = why

    def end(self) -> None:
        """Stop after the current pass."""
        self._is_over = True
        self._earlier.end()
        self._wake.set()
        self.join(10)

    def run_once(self) -> None:
        """Run one pass."""
        if self._is_homeless():
            self.stop_worker()
            return
        self.health.check()
        drain_requested = self._beat()
        if drain_requested:
            logger.info("this worker was requested to drain")
            self.stop_worker()
        if drain_requested is None and self.exits_when_idle:  # the home was replaced
            self.stop_worker()
        elif drain_requested is None:
            logger.warning("the database does not know this worker: it is announced again")
            self.announce()
        if time.monotonic() - self._reaped >= self.settings.reap_seconds:
            self._reaped = time.monotonic()
            if self.settings.is_embedded:
                local_services.rotate_logs(self.settings)
            self._reap()
            self._sweep()
            self._remove_jobs()
        elif self._is_behind:
            self._remove_jobs()
        self.supervisor.runners.recycle()
        if self.exits_when_idle and self._is_idle() and self._exit():
            self.stop_worker()

    def _beat(self) -> bool | None:
        busy = min(self.supervisor.busy, self.supervisor.slots)
        is_sick, trouble = self.health.is_sick, self.health.trouble or None
        if self._was_sick and not is_sick:
            # Hints received meanwhile were passed on to other workers.
            self.supervisor.check_for_jobs()
        self._was_sick = is_sick
        if time.monotonic() - self._last_beat > SILENT_AFTER * self.settings.beat_seconds:
            self._keep_name_apart()
        state = "sick" if is_sick else "online"
        drain_requested = jobs.record_heartbeat(
            self.db, self.worker_id, busy=busy, state=state, trouble=trouble
        )
        self._last_beat = time.monotonic()
        return drain_requested

    def _keep_name_apart(self) -> None:
        """Take another name if another worker has taken this one during a silence."""
        asked = self.supervisor.name
        self.supervisor.name = jobs.rename_if_taken(self.db, self.worker_id) or asked
        log_new_name(asked, self.supervisor.name)

    def _is_homeless(self) -> bool:
        """Return whether the home of the local worker was removed, and its database with it."""
        return self.exits_when_idle and not self.settings.home.exists()

    def _reap(self) -> None:
        hooks = self.supervisor.hooks
        wait = self.settings.backoff_seconds
        moved = jobs.reap(self.db, backoff=wait, with_hooks=hooks is not None)
        for job_id, status in moved:
            logger.warning("job %s lost its worker and is %s", job_id[:8], status)
            if hooks and status in TERMINAL:
                hooks.add(job_id)
        self._resend()
        if moved or self._broker_errors:  # a free slot here need not wait for the hint
            self.supervisor.check_for_jobs()
        remove_old_folders(self.db, self.settings.home / "work")

    def _remove_jobs(self) -> None:
        """Remove jobs that the settings do not keep, and delete the files of removed jobs."""
        self._is_behind = False
        if removed := self._retention.run_pass(self.db, REMOVAL_SECONDS):
            logger.info("retention has removed %d jobs", len(removed))
        with contextlib.suppress(ArtifactError):  # the next reaping tries again
            removals.complete(self.db, self.settings, seconds=REMOVAL_SECONDS)
            left = removals.serves(self.settings) and jobs.list_removals(self.db, 1)
            self._is_behind = bool(left) or self._retention.is_under_way

    def _sweep(self) -> None:
        """Remove what interrupted commands have left; if the store fails, the next pass does."""
        if time.monotonic() - self._swept >= SWEEP_SECONDS:
            self._swept = time.monotonic()
            jobs.delete_forgotten(self.db)
            with contextlib.suppress(ArtifactError):
                added.remove_leftovers(self.db, self.settings.artifacts)
                url, known = self.settings.artifacts, self._without_checkpoints
                remove_checkpoints_of_pruned(self.db, url, known)

    def _resend(self) -> None:
        """Send hints again for jobs that wait without one; log an error of the broker once."""
        try:
            # With a time limit: a silent broker must not delay the heartbeat of this worker.
            if resend(self.db, self.broker, self.settings, seconds=PROVE_SECONDS):
                self._broker_errors.clear()
        except BrokerError as error:
            if str(error) not in self._broker_errors and len(self._broker_errors) < MAX_ERRORS:
                logger.warning("%s", error)
                self._broker_errors.add(str(error))

    def _is_idle(self) -> bool:
        idle = time.monotonic() - self.supervisor.last_job
        return self.supervisor.busy == 0 and idle >= self.settings.idle_seconds

    def _exit(self) -> bool:
        others = [worker for worker in jobs.workers(self.db) if worker.id != self.worker_id]
        return local_services.leave(self.settings, self._is_needed, with_broker=not others)

    def _is_needed(self) -> bool:
        return jobs.has_work(self.db) or self.supervisor.busy > 0


def remove_checkpoints_of_pruned(db: Database, url: str, removed: set[str]) -> None:
    """Remove the checkpoints of trials that were pruned lately: they never go on.

    `removed` has the ids of those whose checkpoints this worker has removed. Raises ArtifactError.
    """
    for job in jobs.listing(db, statuses=["pruned"], sort="-finished_at", limit=1000):
        if job.checkpoint and job.id not in removed:
            artifacts.remove(url, f"{job.id}/{jobs.CHECKPOINTS}")
            removed.add(job.id)


def log_new_name(asked: str, name: str) -> None:
    """Log that a worker got another name than it asked for."""
    if name != asked:
        logger.warning("another worker has the name %s: this one is %s", asked, name)


def take_over(db: Database) -> None:
    """Release the jobs of dead workers of this machine, without waiting for their leases."""
    known = {each.name: each for each in jobs.workers(db, gone=True)}
    for name in {str(job.worker) for job in jobs.listing(db, statuses=["running"], limit=10_000)}:
        row = known.get(name)
        host, _, pid = name.rpartition("-")
        host, pid = (row.host, str(row.pid)) if row else (host, pid)
        if host == socket.gethostname() and pid.isdigit() and not process_tree.is_running(int(pid)):
            logger.warning(
                "worker %s is dead: its %d jobs are released", name, jobs.expire_leases(db, name)
            )


def announce_freed(db: Database, broker: Broker) -> None:
    """Send hints for jobs that became claimable; without a broker they wait for a check."""
    hints = jobs.take_due_hints(db)
    if hints:
        with contextlib.suppress(BrokerError):
            broker.send(hints, unless=ENOUGH_HINTS)
