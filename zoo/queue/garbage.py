"""What no row names any more: on this machine, and in the artifact store of the database."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from zoo import jobs
from zoo.data import added, cache
from zoo.errors import UsageError
from zoo.jobs import Database
from zoo.queue import local_services
from zoo.settings import Settings
from zoo.storage import artifacts, removals, unnamed

DAY = 86400.0
HOOKS_SECONDS = 3600.0
"""Age from which on no hook uses a folder."""
MACHINE, STORE, ROWS = "this machine", "artifact store", "database"
FEW = 20
"""Number of unknown folders that may belong to the database, however few it knows."""


@dataclass(frozen=True)
class Garbage:
    """Something that can be removed."""

    kind: str
    where: str
    """MACHINE, STORE or ROWS."""
    name: str
    """A path, a place below the artifacts URL, or the name of a row."""
    size: int
    """In bytes; of a row 0."""
    remove: Callable[[], object]


@dataclass
class Found:
    """All that can be removed."""

    items: list[Garbage] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """What was not looked at, and why."""
    folders: int = 0
    """Number of folders of jobs in the store."""

    @property
    def is_strange(self) -> bool:
        """Whether the database knows so few folders of the store that it may be another's."""
        unknown = sum(item.kind == "artifacts" for item in self.items)
        return unknown > max(FEW, self.folders // 2)


Progress = Callable[[str, int], None]
"""Called with what is being looked at, and the number of what was looked at."""


def find(
    db: Database,
    settings: Settings,
    *,
    days: float,
    age: float = unnamed.UPLOAD_SECONDS,
    progress: Progress = lambda what, number: None,
) -> Found:
    """Find what can be removed; nothing is changed.

    Args:
        days: Prepared data that was not used, and checkpoints of jobs that ended, for so long.
        age: What has changed in the store in the last `age` seconds may be an upload, and stays.
        progress: Called while the store is listed.

    Raises:
        ArtifactError: The store cannot be read.
    """
    found = Found()
    progress("this machine", 0)
    found.items += _work_folders(db, settings)
    found.items += _runtime_folders(settings)
    found.items += _cached(settings, days)
    found.items += _rows(db)
    if not removals.serves(settings):
        found.notes.append(
            "The artifact store is left alone: only one of ZOO_DATABASE_URL and ZOO_ARTIFACTS_URL "
            "is set, so it may belong to another database."
        )
        return found
    found.items += _removed_jobs(db, settings)
    for job, (place, size) in jobs.list_old_checkpoints(db, days * DAY).items():
        remove = partial(_remove_checkpoint, db, settings, job, days * DAY)
        found.items.append(Garbage("checkpoints", STORE, place, size, remove))
    pending = set(jobs.list_removals(db, 10**6))
    url = settings.artifacts
    for each in unnamed.find(db, url, age=age, slow_after=settings.checkpoint_seconds):
        if isinstance(each, int):
            found.folders = each
            progress("folders of jobs", each)
        elif each.place not in pending:
            remove = partial(artifacts.remove_all, url, each.place)
            found.items.append(Garbage(each.kind, STORE, each.place, each.size, remove))
    progress("datasets", 0)
    found.items += _contents(db, url, age)
    return found


def check(found: Found) -> None:
    """Raise UsageError if the store seems to belong to another database."""
    if found.is_strange:
        unknown = sum(item.kind == "artifacts" for item in found.items)
        raise UsageError(
            f"{unknown:,} of {found.folders:,} folders in the artifact store are of jobs that the "
            "database does not know: one of the two may be another's.",
            "Check ZOO_DATABASE_URL and ZOO_ARTIFACTS_URL; --force removes them.",
        )


def _work_folders(db: Database, settings: Settings) -> Iterator[Garbage]:
    """Folders of attempts that have ended, or whose job was removed; and of killed hooks."""
    work = settings.home / "work"
    for folder in sorted(work.iterdir()) if work.is_dir() else []:
        measured = unnamed.measure_folder(folder)
        if measured is None:
            continue
        size, changed = measured
        job, _, rest = folder.name.partition("-")
        if folder.name.startswith("hooks."):
            is_over = time.time() - changed > HOOKS_SECONDS
        elif unnamed.JOB.fullmatch(job):
            is_over = _has_ended(db, job, rest.partition("-")[0], time.time() - changed)
        else:
            continue
        if is_over:
            remove = partial(shutil.rmtree, folder, ignore_errors=True)
            yield Garbage("work folders", MACHINE, str(folder), size, remove)


def _has_ended(db: Database, job: str, attempt: str, age: float) -> bool:
    """Whether an attempt has ended; one without a row may be of another database for a day."""
    ended = {str(each.n): each.ended_at is not None for each in jobs.attempts(db, job)}
    return ended.get(attempt, age > DAY)


def _runtime_folders(settings: Settings) -> Iterator[Garbage]:
    """Folders of sockets that no server uses, such as those of homes that were removed."""
    for base in {Path(tempfile.gettempdir()), settings.runtime.parent, Path("/tmp")}:
        for folder in sorted(base.glob(local_services.RUNTIME_PATTERN)):
            if folder != settings.runtime and local_services.is_dead(folder, DAY):
                measured = unnamed.measure_folder(folder)
                remove = partial(local_services.remove_runtime, folder)
                size = measured[0] if measured else 0
                yield Garbage("socket folders", MACHINE, str(folder), size, remove)


def _cached(settings: Settings, days: float) -> Iterator[Garbage]:
    base = settings.cache
    for path in cache.list_unused(base, days * DAY):
        yield Garbage(
            "unused data", MACHINE, str(path), cache.size(path), partial(cache.remove, path)
        )
    for path in cache.list_leftovers(base, DAY):
        size = cache.size(path) if path.is_dir() else path.stat().st_size
        yield Garbage("half-written data", MACHINE, str(path), size, partial(cache.remove, path))


def _rows(db: Database) -> Iterator[Garbage]:
    for name, version in jobs.list_forgettable(db):
        remove = partial(jobs.forget_dataset, db, name, version)
        yield Garbage("removed datasets", ROWS, f"{name}@{version}", 0, remove)
    for worker in jobs.list_forgotten(db):
        yield Garbage("silent workers", ROWS, worker, 0, partial(jobs.delete_forgotten, db))
    if size := jobs.free_bytes(db):
        yield Garbage("free pages", ROWS, db.name, size, partial(jobs.compact, db))


def _removed_jobs(db: Database, settings: Settings) -> Iterator[Garbage]:
    for place in jobs.list_removals(db, 10**6):
        measured = unnamed.measure(settings.artifacts, place)
        size = measured[0] if measured else 0
        remove = partial(removals.complete, db, settings)
        yield Garbage("removed jobs", STORE, place, size, remove)


def _remove_checkpoint(db: Database, settings: Settings, job: str, age: float) -> None:
    if jobs.remove_checkpoint(db, job, age):
        removals.complete(db, settings)


def _contents(db: Database, url: str, age: float) -> Iterator[Garbage]:
    """Contents of datasets that no version has, and what interrupted uploads have stored."""
    named = jobs.list_contents(db)
    for name in artifacts.folders(url, added.STORED):
        place = f"{added.STORED}/{name}"
        measured = unnamed.measure(url, place) if place not in named else None
        if measured and time.time() - measured[1] >= age:
            remove = partial(jobs.remove_contents, db, place, partial(artifacts.remove, url))
            yield Garbage("datasets", STORE, place, measured[0], remove)
