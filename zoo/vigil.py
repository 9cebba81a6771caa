"""The local worker, for whoever waits for jobs: it is at work, has died, or never came."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable

from zoo import jobs
from zoo.errors import ZooError
from zoo.jobs import Database
from zoo.settings import Settings

WORKER_SECONDS = 1.0
"""Between two looks at whether the local worker is still there."""

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

    def look(self) -> None:
        """Raises ZooError if the local worker does not come to work, or after `timeout` seconds."""
        now = time.monotonic()
        if self.settings.is_embedded and now - self.looked > WORKER_SECONDS:
            self.looked = now
            self.worker = living(self.db, self.settings, self.worker, self.tell)
        if self.timeout is not None and now - self.began > self.timeout:
            raise ZooError(f"Not finished after {self.timeout:g} s.", "The jobs go on.")


def living(
    db: Database, settings: Settings, worker: subprocess.Popen[bytes] | None, tell: Tell
) -> subprocess.Popen[bytes] | None:
    """The local worker, or another in its place if it has died; one that was ended is not."""
    from zoo import embedded

    ended_badly = worker is not None and bool(worker.poll())
    if not (ended_badly or embedded.worker_died(settings)):
        return worker
    known = jobs.workers(db, beat=settings.beat_seconds, gone=True)
    if worker is not None and all(each.pid != worker.pid for each in known):
        raise worker_failed(settings)
    tell("The local worker has died; another one takes over.")
    return embedded.ensure(settings)


def worker_failed(settings: Settings) -> ZooError:
    """What to say of a local worker that ended before it was at work."""
    from zoo import embedded

    log = embedded.worker_log(settings)
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    reason = lines[-1] if lines else "it said nothing"
    return ZooError(
        f"The local worker did not start: {reason}",
        f"Its log is {log}; the job stays queued. "
        "Without a worker: pip install mnist-zoo-workers, or zoo train --in-process.",
    )
