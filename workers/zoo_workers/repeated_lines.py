"""The worker's log lines about a database that is away: its sentence once per outage."""

from __future__ import annotations

import logging
import threading

from zoo.errors import StoreError

AGAIN = "the database is still away"
MOST_LINES = 1000
"""Remembered of one outage."""


class OncePerOutage(logging.Filter):
    """Shorten the sentence of the database where it was logged before, and drop equal lines."""

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()
        self._logged: set[str] = set()

    def end(self) -> None:
        """Note that the database answers: the next error begins another outage."""
        self._logged.clear()

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the line is to be written; its database error may be shortened."""
        args = record.args if isinstance(record.args, tuple) else ()
        errors = [each for each in args if isinstance(each, StoreError)]
        if not errors:
            return True
        # Drivers put the same reason differently: "connection failed: ...: No route to host".
        reasons = {each.message.rpartition(": ")[2].rstrip(".") for each in errors}
        with self._lock:
            if not self._logged or len(self._logged) > MOST_LINES:
                self._logged = reasons
                return True
            new = ", ".join(sorted(reasons - self._logged))
            self._logged |= reasons
            short = f"{AGAIN}: {new}" if new else AGAIN
            record.args = tuple(short if isinstance(each, StoreError) else each for each in args)
            line = record.getMessage()
            is_new = line != AGAIN and line not in self._logged
            self._logged.add(line)
        return is_new


DATABASE = OncePerOutage()
"""Of this worker's database."""
