"""Log lines about a database outage: the database's error is written once per outage."""

from __future__ import annotations

import logging
import threading

from zoo.errors import StoreError

STILL = "the database is still unavailable"
MAX_LINES = 1000
"""Number of lines remembered per outage."""


class OncePerOutage(logging.Filter):
    """Shorten the database's error where it was logged before, and drop equal lines."""

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()
        self._logged: set[str] = set()

    def end(self) -> None:
        """End the outage: the database replies, and the next error begins another one."""
        self._logged.clear()

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the line is to be written; its database error may be shortened."""
        args = record.args if isinstance(record.args, tuple) else ()
        errors = [each for each in args if isinstance(each, StoreError)]
        if not errors:
            return True
        # Drivers word the same reason differently: "connection failed: ...: No route to host".
        reasons = {each.message.rpartition(": ")[2].rstrip(".") for each in errors}
        with self._lock:
            if not self._logged or len(self._logged) > MAX_LINES:
                self._logged = reasons
                return True
            new = ", ".join(sorted(reasons - self._logged))
            self._logged |= reasons
            short = f"{STILL}: {new}" if new else STILL
            record.args = tuple(short if isinstance(each, StoreError) else each for each in args)
            line = record.getMessage()
            is_new = line != STILL and line not in self._logged
            self._logged.add(line)
        return is_new


DATABASE = OncePerOutage()
"""The filter for this worker's database."""
