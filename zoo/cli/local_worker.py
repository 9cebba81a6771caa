"""Wait for the local worker to start."""

from __future__ import annotations

import subprocess
import time

from zoo import jobs
from zoo.cli.render import console
from zoo.settings import Settings

LOOK_SECONDS = 0.1


def await_worker(settings: Settings, worker: subprocess.Popen[bytes] | None) -> None:
    """Wait until the local worker that was just started is registered.

    Raises ZooError if it exits instead.
    """
    from zoo.queue.waiting import worker_failed

    db = jobs.connect(settings.database)
    with console.live(console.err.status("Starting the worker ...")):
        while worker is not None:
            if any(w.pid == worker.pid for w in jobs.workers(db)):
                return
            if worker.poll() is not None:
                raise worker_failed(settings)
            time.sleep(LOOK_SECONDS)
