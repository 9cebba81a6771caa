"""A command that is killed before its Nth step: `python dying_command.py N DAYS WORD...`.

A step is a statement of SQL, and each change of the file system. For the command it is DAYS later
than it is. The words are those of `zoo`, or `retention` alone: what a worker's housekeeping does.
"""

from __future__ import annotations

import math
import os
import signal
import sys
import time
from typing import Any

from zoo import jobs, settings
from zoo.cli.main import main
from zoo.jobs.database import Transaction
from zoo.queue import local_services
from zoo.storage import removals

FILES = ("os.remove", "os.rmdir", "os.rename", "os.mkdir", "os.truncate")
"""What Python reports before it changes a file system (`sys.addaudithook`)."""


class Steps:
    """Counts the steps of this process, and kills it before the last one."""

    def __init__(self, most: int) -> None:
        self.left = most

    def count(self) -> None:
        self.left -= 1
        if self.left <= 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def watch(self) -> None:
        sys.addaudithook(lambda event, _: self.count() if event in FILES else None)
        for name in ("run", "many", "each", "all"):
            setattr(Transaction, name, self._counted(getattr(Transaction, name)))

    def _counted(self, original: Any) -> Any:
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            self.count()
            return original(*args, **kwargs)

        return wrapper


def be_later(days: float) -> None:
    """Let Python's clock be ahead; sockets of other homes are left alone then."""
    real = time.time
    time.time = lambda: real() + 86400 * days
    local_services.RUNTIME_PATTERN = "none-of-these"


def retain() -> None:
    """Remove what the settings do not keep, as a worker does, until there is nothing left."""
    setup = settings.load()
    db = jobs.connect(setup.database)
    rules = {"days": setup.keep_days, "jobs": setup.keep_jobs}
    jobs.Retention(**rules, keep_metrics=setup.keep_metrics).run_pass(db, math.inf)
    removals.complete(db, setup)


if __name__ == "__main__":
    number, days, *words = sys.argv[1:]
    if float(days):
        be_later(float(days))
    Steps(int(number)).watch()
    if words == ["retention"]:
        retain()
    else:
        sys.argv = ["zoo", *words]
        main()
