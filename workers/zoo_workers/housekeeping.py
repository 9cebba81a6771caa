"""The worker's housekeeping: signs of life, lost jobs, missing hints, and when to leave."""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
import time
from collections.abc import Callable

from zoo import jobs, process_tree
from zoo.errors import BrokerError, ZooError
from zoo.jobs import TERMINAL, Database
from zoo.queue import broker, local_services
from zoo.queue.submit import ENOUGH_HINTS, resend
from zoo.settings import Settings
from zoo_workers import repeated_lines
from zoo_workers.consumer import PROVE_SECONDS
from zoo_workers.slots import Supervisor
from zoo_workers.workspace import sweep

logger = logging.getLogger("zoo.worker")


class Housekeeper(threading.Thread):
    """Looks after the rows while the slots work; any number of workers may do so at once."""

    def __init__(
        self, app: broker.App, supervisor: Supervisor, worker_id: str, stop: Callable[[], None]
    ) -> None:
        super().__init__(daemon=True, name="housekeeping")
        self.app = app
        self.supervisor = supervisor
        self.db: Database = supervisor.db
        self.settings: Settings = supervisor.settings
        self.worker_id = worker_id
        self.stop_worker = stop
        self.leaves_when_idle = False
        self.announce: Callable[[], None] = lambda: None
        """Enters this worker into the rows anew, which do not know it after a restore."""
        self._is_over = False
        self._wake = threading.Event()
        self._reaped = 0.0
        self._was_sick = False
        self._trouble = ""
        self._failure = ""
        self.health = supervisor.health
        self.health.changed = self._wake.set

    def run(self) -> None:
        every = min(self.settings.beat_seconds, self.settings.reap_seconds)
        while True:
            self._wake.wait(every)
            self._wake.clear()
            if self._is_over:
                return
            try:
                self.pass_once()
                repeated_lines.DATABASE.end()
                self._note(None)
            except Exception as error:
                # The database or the broker is away, for example: the next pass tries again.
                self._note(error)

    def _note(self, error: Exception | None) -> None:
        """Log what keeps this thread from its work when that changes, not at each pass."""
        why = repr(error) if error else ""
        if isinstance(error, ZooError) and why != self._failure:
            logger.warning("%s", error)
        elif error and why != self._failure:
            logger.error("housekeeping failed", exc_info=error)
        elif self._failure and not error:
            logger.info("housekeeping goes on")
        self._failure = why

    def end(self) -> None:
        """Stop after the pass under way."""
        self._is_over = True
        self._wake.set()
        self.join(10)

    def pass_once(self) -> None:
        """One round."""
        if self._is_homeless():
            self.stop_worker()
            return
        self.health.look()
        asked = self._sign()
        if asked:
            logger.info("this worker was asked to drain")
            self.stop_worker()
        if asked is None and self.leaves_when_idle:  # a new home stands where the old one was
            self.stop_worker()
        elif asked is None:
            logger.warning("the database does not know this worker: it is entered anew")
            self.announce()
        if time.monotonic() - self._reaped >= self.settings.reap_seconds:
            self._reaped = time.monotonic()
            self._reap()
        if self.leaves_when_idle and self._is_idle() and self._leave():
            self.stop_worker()

    def _sign(self) -> bool | None:
        busy = min(self.supervisor.busy, self.supervisor.slots)
        is_sick, trouble = self.health.is_sick, self.health.trouble or None
        if self._was_sick and not is_sick:
            # The hints that came meanwhile were sent to others.
            self.supervisor.look()
        self._was_sick = is_sick
        state = "sick" if is_sick else "online"
        return jobs.record_heartbeat(
            self.db, self.worker_id, busy=busy, state=state, trouble=trouble
        )

    def _is_homeless(self) -> bool:
        """Whether somebody has removed the home of the local worker, and all its rows with it."""
        return self.leaves_when_idle and not self.settings.home.exists()

    def _reap(self) -> None:
        hooks = self.supervisor.hooks
        wait = self.settings.backoff_seconds
        moved = jobs.reap(self.db, backoff=wait, with_hooks=hooks is not None)
        for job_id, status in moved:
            logger.warning("job %s lost its worker and is %s", job_id[:8], status)
            if hooks and status in TERMINAL:
                hooks.tell(job_id)
        self._resend()
        if moved or self._trouble:  # a free slot here need not wait for the hint
            self.supervisor.look()
        sweep(self.db, self.settings.home / "work")

    def _resend(self) -> None:
        """Hint again at jobs that wait without a hint; a broker that takes none is a trouble."""
        try:
            # A broker that is silent shall not have this worker be taken for dead.
            if resend(self.db, self.app, self.settings, seconds=PROVE_SECONDS):
                self._trouble = ""
        except BrokerError as error:
            if self._trouble != str(error):
                logger.warning("%s", error)
            self._trouble = str(error)

    def _is_idle(self) -> bool:
        idle = time.monotonic() - self.supervisor.last_job
        return self.supervisor.busy == 0 and idle >= self.settings.idle_seconds

    def _leave(self) -> bool:
        others = [
            worker
            for worker in jobs.workers(self.db, beat=self.settings.beat_seconds)
            if worker.id != self.worker_id
        ]
        return local_services.leave(self.settings, self._is_needed, with_broker=not others)

    def _is_needed(self) -> bool:
        return jobs.has_work(self.db) or self.supervisor.busy > 0


def take_over(db: Database) -> None:
    """Do not wait for the leases of dead workers of this machine: nobody will extend them."""
    known = {each.name: each for each in jobs.workers(db, beat=0, gone=True)}
    for name in {str(job.worker) for job in jobs.listing(db, statuses=["running"], limit=10_000)}:
        row = known.get(name)
        host, _, pid = name.rpartition("-")
        host, pid = (row.host, str(row.pid)) if row else (host, pid)
        if host == socket.gethostname() and pid.isdigit() and not process_tree.is_running(int(pid)):
            logger.warning(
                "worker %s is dead: its %d jobs are free", name, jobs.expire_leases(db, name)
            )


def wake_freed(db: Database, app: broker.App) -> None:
    """Send hints for jobs that have just come to be claimable; without a broker they wait."""
    hints = jobs.take_due_hints(db)
    if hints:
        with contextlib.suppress(BrokerError):
            broker.send(app, hints, unless=ENOUGH_HINTS)
