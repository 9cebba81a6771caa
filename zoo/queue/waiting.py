"""For whoever waits for jobs: why they do not go on, and whether the local worker is at work."""

from __future__ import annotations

import contextlib
import re
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping

from zoo import jobs
from zoo.errors import StoreError, ZooError
from zoo.jobs import Database
from zoo.queue import pending_reason
from zoo.settings import Settings
from zoo.storage import health

WORKER_SECONDS = 1.0
"""Between two looks at whether the local worker is still there."""

SILENT_SECONDS = 3.0
"""Who waits longer is told why."""
REASON_SECONDS = 2.0
"""Between two looks for the reason."""
SHARE = 20
"""To look takes at most one part in so many of the time."""
OUTAGE_SECONDS = 600.0
"""How long the database of a team may be away before a command that waits gives up."""
RETRY_SECONDS = 1.0
"""Between two attempts to reach it."""

Tell = Callable[[str], None]
"""Shows a sentence to the person who waits."""


class Vigil:
    """What goes on beside the waiting: a local worker that dies is replaced, and patience ends."""

    def __init__(
        self,
        db: Database,
        settings: Settings,
        worker: subprocess.Popen[bytes] | None,
        timeout: float | None,
        tell: Tell,
    ) -> None:
        self.db = db
        self.settings = settings
        self.worker = worker
        self.timeout = timeout
        self.tell = tell
        self.began = self.looked = time.monotonic()
        self._due = self.began + SILENT_SECONDS
        self._told = ""
        self._answered: float | None = None

    @contextlib.contextmanager
    def bearing(self) -> Iterator[None]:
        """Tolerate that the database of a team is away: restarts do not end who waits.

        Around the whole of one look, which is then done again. Raises StoreError if the database
        has not answered yet, is a file of this machine, or is away for too long.
        """
        try:
            yield
        except StoreError as error:
            self._bear(error)
        else:
            self._answered = time.monotonic()

    def _bear(self, error: StoreError) -> None:
        if self._answered is None or self.db.is_sqlite:
            raise error
        if time.monotonic() - self._answered > OUTAGE_SECONDS:
            raise error
        self._tell_once(f"{error.message} Trying again; accepted jobs are kept.")
        self._end_patience()
        time.sleep(RETRY_SECONDS)

    def look(self, statuses: Mapping[str, str]) -> None:
        """Tell why the jobs, by id, do not go on: after a few seconds, and when that changes.

        Raises ZooError if the local worker does not come to work, or after `timeout` seconds.
        """
        now = time.monotonic()
        if now >= self._due:
            self._tell_reason(statuses)
            self._due = max(REASON_SECONDS, SHARE * (time.monotonic() - now)) + time.monotonic()
        if self.settings.is_embedded and now - self.looked > WORKER_SECONDS:
            self.looked = now
            self.worker = living(self.db, self.settings, self.worker, self.tell)
        self._end_patience()

    def _end_patience(self) -> None:
        if self.timeout is not None and time.monotonic() - self.began > self.timeout:
            raise ZooError(f"Not finished after {self.timeout:g} s.", "The jobs go on.")

    def _tell_reason(self, statuses: Mapping[str, str]) -> None:
        self._tell_once(self._reason(statuses))

    def _tell_once(self, said: str) -> None:
        # Of the same reason, a number of seconds or jobs is no news.
        kind = re.sub(r"\d+", "", said)
        if said and kind != self._told:
            self.tell(said)
        self._told = kind

    def _reason(self, statuses: Mapping[str, str]) -> str:
        """Why nothing goes on; empty if a job runs, or is about to."""
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
        said = pending_reason.sentence(self.db, self.settings, job)
        return f"{job.id[:8]}: {said}" if said else ""


def living(
    db: Database, settings: Settings, worker: subprocess.Popen[bytes] | None, tell: Tell
) -> subprocess.Popen[bytes] | None:
    """The local worker, or another in its place if it has died; one that was ended is not."""
    from zoo.queue import local_services

    ended_badly = worker is not None and bool(worker.poll())
    if not (ended_badly or local_services.worker_died(settings)):
        return worker
    known = jobs.workers(db, beat=settings.beat_seconds, gone=True)
    if worker is not None and all(each.pid != worker.pid for each in known):
        raise worker_failed(settings)
    tell("The local worker has died; another one takes over.")
    return local_services.ensure(settings)


def worker_failed(settings: Settings) -> ZooError:
    """What to say of a local worker that ended before it was at work."""
    from zoo.queue import local_services

    log = local_services.worker_log(settings)
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    reason = lines[-1] if lines else "it said nothing"
    return ZooError(
        f"The local worker did not start: {reason}",
        f"Its log is {log}; the job stays queued. "
        "Without a worker: pip install mnist-zoo-workers, or zoo train --in-process.",
    )
