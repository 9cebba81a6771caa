"""The slots of a worker: claim the most urgent job, run it, and hand it to the finalizer.

Four modules handle one attempt, from claim to commit: this one; `execution`, which runs it and
decides how it ended; `workspace`, its folder, output and artifact; `finalizer`, which has short
attempts stored and committed together. `heartbeat` keeps the lease meanwhile, and the job itself
runs in a process of `runner_pool`, whose main function is in `runner_main`.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future
from concurrent.futures import wait as wait_for

from zoo import jobs
from zoo.errors import ZooError
from zoo.jobs import Database
from zoo.jobs.queue_options import GPU
from zoo.jobs.worker_records import Gpu
from zoo.settings import Settings
from zoo_workers.execution import Execution
from zoo_workers.finalizer import MAX_PER_SLOT, Finalizer
from zoo_workers.health import Health
from zoo_workers.heartbeat import POLL_SECONDS
from zoo_workers.hooks import Hooks
from zoo_workers.runner_pool import RunnerPool

logger = logging.getLogger("zoo.worker")


class Supervisor:
    """Runs jobs for one worker; a slot is a thread inside `run_jobs`."""

    def __init__(
        self,
        db: Database,
        settings: Settings,
        runners: RunnerPool,
        name: str,
        pool: str,
        slots: int,
    ) -> None:
        self.db = db
        self.settings = settings
        self.runners = runners
        self.name = name
        self.pool = pool
        self.slots = slots
        self.models: dict[str, str] = {}
        """Models that this worker can load, with the labels of their plugins."""
        self.datasets: list[str] = []
        """Datasets that this worker can load."""
        self.gpus: Sequence[Gpu] = ()
        """GPUs, each owned by one slot."""
        self._busy_gpus: set[Gpu] = set()
        self.hooks: Hooks | None = None
        """Set if a plugin of this machine implements `job_finished`."""
        self.drain_by: float | None = None
        """Set while the worker drains: running jobs go back into the queue at that time."""
        self.after_job: Callable[[], None] = lambda: None
        """Called after jobs have ended: sends hints for jobs that waited for them."""
        self.on_begin: Callable[[Execution], None] = lambda _: None
        """Called when a job was claimed."""
        self.on_end: Callable[[Execution], None] = lambda _: None
        """Called when an attempt has ended, and its outcome is committed."""
        self.last_job = time.monotonic()
        """Time of the last start or end of a job."""
        self.health = Health(settings)
        self.finalizer = Finalizer(
            db, settings, slots, self._finished, after_batch=lambda: self.after_job()
        )
        self._free = threading.BoundedSemaphore(slots)
        self._occupied = 0
        self._executions: dict[Execution, None] = {}
        self._lock = threading.Lock()
        self._claim_lock = threading.Lock()

    @property
    def busy(self) -> int:
        """Number of jobs that run or are being committed."""
        return len(self._executions)

    @property
    def executions(self) -> list[Execution]:
        """The jobs that run or are being committed, the oldest first."""
        with self._lock:
            return list(self._executions)

    @property
    def free_slots(self) -> int:
        """Number of idle slots; background work runs while there are any."""
        return self.slots - self._occupied

    def drain(self, seconds: float) -> None:
        """Claim no further job; requeue the running ones after `seconds`."""
        by = time.monotonic() + seconds
        self.drain_by = by if self.drain_by is None else min(by, self.drain_by)

    def await_idle(self, seconds: float) -> None:
        """Wait until no job is running, at most `seconds`."""
        ends = time.monotonic() + seconds
        while self.busy and time.monotonic() < ends:
            time.sleep(0.05)

    def close(self) -> None:
        """End the processes of the hooks and of the artifacts."""
        if self.hooks:
            self.hooks.end()
        self.finalizer.close()

    def must_stop(self) -> bool:
        """Return whether running jobs go back into the queue now."""
        return self.drain_by is not None and time.monotonic() > self.drain_by

    def check_for_jobs(self) -> None:
        """Let a free slot claim jobs without a hint; each job found wakes one more slot."""
        run = functools.partial(self.run_jobs, wait=False, on_claim=self.check_for_jobs)
        threading.Thread(target=run, daemon=True, name="slot").start()

    def run_jobs(self, *, wait: bool = True, on_claim: Callable[[], None] = lambda: None) -> None:
        """Run jobs in one slot until there is none to claim.

        Args:
            wait: Wait for a free slot; otherwise return if there is none.
            on_claim: Called for each job.
        """
        if not self._free.acquire(blocking=wait):
            return
        self._count_occupied(1)
        finishing: set[Future[None]] = set()
        try:
            # A loop, because Celery would pass a hint to a slot once a second at most.
            while (execution := self._claim()) or finishing:
                if execution:
                    on_claim()
                    self._run(execution)
                # Without a job, an attempt that ends may be what another job waits for.
                finishing = self._await_finalizer(finishing, execution)
                if execution:
                    finishing.add(self.finalizer.add(execution))
                    if execution.job.pruner == "asha":
                        # Its end may promote a trial, which comes before the next new one.
                        wait_for(finishing)
        except ZooError as error:  # a database outage; the hint is sent again later
            logger.warning("%s", error)
        except Exception:  # the slot is free again and will be retried
            logger.exception("a slot could not claim a job")
        finally:
            self._count_occupied(-1)
            self._free.release()

    def _claim(self) -> Execution | None:
        models = self.health.usable_models(self.models)
        if self.drain_by is not None or not models:
            return None
        claimed_at = time.monotonic()
        # Of two slots that claim at once, only one may count on the last GPU.
        with self._claim_lock if self.gpus else contextlib.nullcontext():
            free = [gpu for gpu in self.gpus if gpu not in self._busy_gpus]
            claimed = jobs.claim(
                self.db,
                pool=self.pool,
                models=models,
                datasets=self.datasets,
                worker=self.name,
                lease=self.settings.lease_seconds,
                avoid=self.health.avoided_jobs(),
                has_gpu=bool(free),
            )
            if claimed is None:
                return None
            claim, job = claimed
            gpu = free[0] if job.device == GPU else None
            if gpu is not None:
                self._busy_gpus.add(gpu)
        logger.info("job %s (%s on %s) begins", job.id[:8], job.model, job.dataset)
        execution = Execution(
            self.db,
            self.settings,
            self.runners,
            self.health,
            claim,
            job,
            claimed_at=claimed_at,
            must_stop=self.must_stop,
            has_hooks=self.hooks is not None,
            gpu=gpu,
        )
        with self._lock:
            self._executions[execution] = None
            self.last_job = time.monotonic()
        self.on_begin(execution)
        return execution

    def _run(self, execution: Execution) -> None:
        try:
            execution.run()
        except Exception:  # its heartbeat ends, so the job runs elsewhere once its lease is over
            logger.exception("job %s could not be run", execution.job.id[:8])
        finally:
            if execution.gpu is not None:
                self._busy_gpus.discard(execution.gpu)

    def _await_finalizer(
        self, finishing: set[Future[None]], execution: Execution | None
    ) -> set[Future[None]]:
        """Wait until the finalizer can take one more; return the attempts it still works on."""
        limit = MAX_PER_SLOT - 1 if execution else max(len(finishing) - 1, 0)
        while len(finishing) > limit:
            done, finishing = wait_for(finishing, POLL_SECONDS, FIRST_COMPLETED)
            if execution and not done:
                execution.heartbeat.ensure()
        return finishing

    def _finished(self, execution: Execution) -> None:
        if execution.committed and self.hooks:
            self.hooks.add(execution.job.id)
        self.on_end(execution)
        with self._lock:
            self._executions.pop(execution, None)
            self.last_job = time.monotonic()

    def _count_occupied(self, change: int) -> None:
        with self._lock:
            self._occupied += change
