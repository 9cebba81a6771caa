"""One database connection per call: a notebook stays open for days."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from zoo import jobs, settings
from zoo.jobs import Database
from zoo.settings import Settings


@contextlib.contextmanager
def connect() -> Iterator[tuple[Database, Settings]]:
    """Read the settings and connect to the database; opening it takes half a millisecond."""
    chosen = settings.load()
    with contextlib.closing(jobs.connect(chosen.database)) as db:
        yield db, chosen
