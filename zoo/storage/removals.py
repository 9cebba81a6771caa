"""Delete the files of removed jobs from the artifact store."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from zoo import jobs
from zoo.jobs import Database
from zoo.settings import Settings
from zoo.storage import artifacts

AT_ONCE = 20
Progress = Callable[[int, int], None]
"""Called with the number of places done and of all that are known."""


def serves(settings: Settings) -> bool:
    """Return whether the artifact store of this process is that of its database.

    A team's database and the folder in this machine's home, or the reverse, do not belong together:
    the files of one would count as unknown to the other.
    """
    return bool(settings.database_url) == bool(settings.artifacts_url)


def complete(
    db: Database,
    settings: Settings,
    *,
    seconds: float = math.inf,
    progress: Progress = lambda done, total: None,
) -> int:
    """Delete the files at the places that removed jobs have left; return the number of places.

    Stops after `seconds` and at most AT_ONCE more places. Raises ArtifactError if files cannot be
    deleted: the next call tries the other places first.
    """
    if not serves(settings):
        return 0
    done, end = 0, time.monotonic() + seconds
    while time.monotonic() < end and (places := jobs.list_removals(db, AT_ONCE)):
        errors = artifacts.remove_many(settings.artifacts, places)
        jobs.complete_removals(db, [each for each in places if each not in errors])
        if errors:
            jobs.postpone_removals(db, list(errors))
            raise next(iter(errors.values()))
        done += len(places)
        progress(done, done + jobs.count_removals(db))
    return done
