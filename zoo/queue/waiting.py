"""Wait until jobs have ended: poll them, report why they do not start, replace a dead worker."""

from __future__ import annotations

import contextlib
import re
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

from zoo import jobs
from zoo.errors import StoreError, UsageError, ZooError
from zoo.jobs import TERMINAL, Database, Job
from zoo.plugins import packages
from zoo.queue import pending_reason
from zoo.settings import Settings
from zoo.storage import health, job_files
from zoo.storage.job_files import Listing

POLL_SECONDS = 0.1
WORKER_SECONDS = 1.0
"""Interval at which the local worker is checked."""
SILENT_SECONDS = 3.0
"""Time after which the reason for waiting is reported."""
REASON_SECONDS = 2.0
"""Interval at which the reason is looked up."""
SHARE = 20
"""Reading takes at most 1/SHARE of the time."""
OUTAGE_SECONDS = 600.0
"""Longest outage of a team's database that a waiting command tolerates."""
RETRY_SECONDS = 1.0
"""Interval of attempts to reach the database."""
PLUGIN_SECONDS = 60.0
"""Longest wait for the files that plugins make of a job that has just ended."""

Notify = Callable[[str], None]
"""Shows a message to the user."""


class JobWait:
    """Waits for jobs; reports why they do not start, and restarts a local worker that died."""

    def __init__(
        self,
        db: Database,
        settings: Settings,
        notify: Notify,
        worker: subprocess.Popen[bytes] | None = None,
        timeout: float | None = None,
    ) -> None:
        """`worker` is a local worker that was just started; `timeout` is in seconds."""
        self.db = db
        self.settings = settings
        self.worker = worker
        self.timeout = timeout
        self.notify = notify
        self.began = self.checked = time.monotonic()
        self._due = self.began + SILENT_SECONDS
        self._notified = ""
        self._answered: float | None = None

    def poll(
        self,
        ids: Sequence[str],
        read: Callable[[], Mapping[str, str]],
        *,
        seconds: float = POLL_SECONDS,
        share: int = SHARE,
    ) -> Iterator[Mapping[str, str]]:
        """Yield what `read` returns, until all jobs have ended.

        If a team's database is restarted meanwhile, `read` is called again.

        Args:
            ids: The jobs; the caller may append to them between two polls.
            read: Reads from the database; returns the status of each job.
            seconds: Shortest interval between two polls.
            share: Reading and showing take at most 1/`share` of the time; 0: no limit.

        Raises:
            StoreError: The database has not answered yet, is a local file, or is away too long.
            ZooError: The local worker does not start, or the time limit has passed.
        """
        while True:
            start = time.monotonic()
            statuses: Mapping[str, str] | None = None
            with self._tolerate_outages():
                statuses = read()
            if statuses is not None:
                yield statuses
                if all(statuses.get(each) in TERMINAL for each in ids):
                    return
                with self._tolerate_outages():
                    self._check(statuses)
            time.sleep(max(seconds, share * (time.monotonic() - start)))

    @contextlib.contextmanager
    def _tolerate_outages(self) -> Iterator[None]:
        try:
            yield
        except StoreError as error:
            if self._answered is None or self.db.is_sqlite:
                raise
            if time.monotonic() - self._answered > OUTAGE_SECONDS:
                raise
            self._notify_once(f"{error.message} Trying again; accepted jobs are kept.")
            self._check_time_limit()
            time.sleep(RETRY_SECONDS)
        else:
            self._answered = time.monotonic()

    def _check(self, statuses: Mapping[str, str]) -> None:
        """Report why the jobs wait, after a few seconds and when it changes; check the worker."""
        now = time.monotonic()
        if now >= self._due:
            self._notify_once(self._reason(statuses))
            self._due = max(REASON_SECONDS, SHARE * (time.monotonic() - now)) + time.monotonic()
        if self.settings.is_embedded and now - self.checked > WORKER_SECONDS:
            self.checked = now
            self.worker = replace_dead_worker(self.db, self.settings, self.worker, self.notify)
        self._check_time_limit()

    def _check_time_limit(self) -> None:
        if self.timeout is not None and time.monotonic() - self.began > self.timeout:
            raise ZooError(f"Not finished after {self.timeout:g} s.", "The jobs continue.")

    def _notify_once(self, text: str) -> None:
        # A reason is not repeated if only its numbers of seconds or jobs have changed.
        kind = re.sub(r"\d+", "", text)
        if text and kind != self._notified:
            self.notify(text)
        self._notified = kind

    def _reason(self, statuses: Mapping[str, str]) -> str:
        """Return why no job runs; empty if one runs or is about to start."""
        queued = [job for job, status in statuses.items() if status == "queued"]
        running = {job for job, status in statuses.items() if status == "running"}
        if not (queued or running):
            return ""
        if self.settings.is_embedded and (full := health.folder_fault(self.settings.home, 0)):
            return full
        silent = [job for job in jobs.list_silent(self.db) if job.id in running] if running else []
        if running and not silent:
            return ""
        job = silent[0] if silent else jobs.get(self.db, queued[0])
        reason = pending_reason.sentence(self.db, self.settings, job)
        return f"{job.id[:8]}: {reason}" if reason else ""


def replace_dead_worker(
    db: Database, settings: Settings, worker: subprocess.Popen[bytes] | None, notify: Notify
) -> subprocess.Popen[bytes] | None:
    """Return the local worker, or a new one if it has died; a stopped worker is not replaced."""
    from zoo.queue import local_services

    ended_badly = worker is not None and bool(worker.poll())
    if not (ended_badly or local_services.worker_died(settings)):
        return worker
    known = jobs.workers(db, gone=True)
    if worker is not None and all(each.pid != worker.pid for each in known):
        raise worker_failed(settings)
    notify("The local worker has died; another one takes over.")
    return local_services.ensure(settings)


def worker_failed(settings: Settings) -> ZooError:
    """Return the error for a local worker that ended before it was ready."""
    from zoo.queue import local_services

    log = local_services.worker_log(settings)
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    reason = lines[-1] if lines else "its log is empty"
    return ZooError(
        f"The local worker did not start: {reason}",
        f"Its log is {log}; the job stays queued. "
        "Without a worker: pip install mnist-zoo-workers, or zoo train --in-process."
        f"{packages.IN_A_CLONE}",
    )


def wait_for_files(
    db: Database, settings: Settings, job: Job, names: Sequence[str], notify: Notify
) -> Listing:
    """List all files of a job; wait for named ones that a plugin is still making.

    Raises UsageError if there is no file with one of the names in the end.
    """
    deadline, is_waiting = time.monotonic() + PLUGIN_SECONDS, False
    while True:
        # First, so that files stored before it are listed.
        is_owed = jobs.has_pending_hooks(db, job.id)
        every = job_files.listing(settings, job)
        try:
            job_files.named(every.files, names)
        except UsageError as error:
            # Request skipped files; move pending ones ahead of those of other jobs.
            is_owed = is_owed if is_waiting else jobs.request_hooks(db, job.id)
            if not is_owed:
                # It may be in a folder that cannot be read, or its plugin may have failed.
                problem = next(iter(every.problems), error)
                failed = [f"{e.plugin}: {e.error}" for e in jobs.hook_errors(db, job.id)]
                if problem is error and failed:
                    why = f"A plugin has failed to make its files: {'; '.join(failed)}."
                    raise UsageError(error.message, why) from None
                raise problem from None
            if time.monotonic() > deadline:
                wait = f"Plugins have not made their files of the job {job.id[:8]} yet; try later."
                raise UsageError(error.message, wait) from None
        else:
            return every
        if not is_waiting:
            notify(f"Waiting: plugins are making files of the job {job.id[:8]} ...")
            is_waiting = True
        time.sleep(0.2)
