"""The local worker, for whoever waits: it is at work, has died, or never came."""

from __future__ import annotations

import subprocess
import time

from zoo import jobs
from zoo.cli import output
from zoo.errors import ZooError
from zoo.jobs import Database
from zoo.settings import Settings

LOOK_SECONDS = 0.1
WORKER_SECONDS = 1.0
"""Between two looks at whether the local worker is still there."""


class Vigil:
    """What goes on beside the waiting: a local worker that dies is replaced, and patience ends."""

    def __init__(
        self,
        db: Database,
        settings: Settings,
        worker: subprocess.Popen[bytes] | None,
        timeout: float | None,
    ) -> None:
        self.db = db
        self.settings = settings
        self.worker = worker
        self.timeout = timeout
        self.began = self.looked = time.monotonic()

    def look(self) -> None:
        """Raises ZooError if the local worker does not come to work, or after `timeout` seconds."""
        now = time.monotonic()
        if self.settings.is_embedded and now - self.looked > WORKER_SECONDS:
            self.looked = now
            self.worker = living(self.db, self.settings, self.worker)
        if self.timeout is not None and now - self.began > self.timeout:
            raise ZooError(f"Not finished after {self.timeout:g} s.", "The jobs go on.")


def living(
    db: Database, settings: Settings, worker: subprocess.Popen[bytes] | None
) -> subprocess.Popen[bytes] | None:
    """The local worker, or another in its place if it has died; one that was ended is not."""
    from zoo import embedded

    ended_badly = worker is not None and bool(worker.poll())
    if not (ended_badly or embedded.worker_died(settings)):
        return worker
    known = jobs.workers(db, beat=settings.beat_seconds, gone=True)
    if worker is not None and all(each.pid != worker.pid for each in known):
        raise _worker_failed(settings)
    output.note("The local worker has died; another one takes over.")
    return embedded.ensure(settings)


def await_worker(settings: Settings, worker: subprocess.Popen[bytes] | None) -> None:
    """Wait until the local worker that was just started is at work.

    Raises ZooError if it ends instead.
    """
    db = jobs.connect(settings.database)
    with output.err.status("Starting the worker ..."):
        while worker is not None:
            if any(w.pid == worker.pid for w in jobs.workers(db, beat=settings.beat_seconds)):
                return
            if worker.poll() is not None:
                raise _worker_failed(settings)
            time.sleep(LOOK_SECONDS)


def _worker_failed(settings: Settings) -> ZooError:
    from zoo import embedded

    log = embedded.worker_log(settings)
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    reason = lines[-1] if lines else "it said nothing"
    return ZooError(
        f"The local worker did not start: {reason}",
        f"Its log is {log}; the job stays queued. "
        "Without a worker: pip install mnist-zoo-workers, or zoo train --in-process.",
    )
