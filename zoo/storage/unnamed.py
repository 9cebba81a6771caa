"""Find what the artifact store holds and no row names, such as the files of killed workers."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from zoo import jobs
from zoo.errors import ArtifactError
from zoo.jobs import CHECKPOINTS, Database, StoredJob
from zoo.jobs.database import slices
from zoo.storage import artifacts

JOB = re.compile(r"[0-9a-f]{32}")
"""The name of a job's folder; others are never touched."""
UPLOAD_SECONDS = 86400.0
"""Age below which files may belong to an upload that has not ended."""
AT_ONCE = 500


class Unnamed(NamedTuple):
    """A folder of the store that no row names."""

    kind: str
    """`artifacts` of no job, or `attempts` and `checkpoints` of a job."""
    place: str
    size: int


def find(
    db: Database, url: str, *, age: float = UPLOAD_SECONDS, slow_after: float = 0.0
) -> Iterator[Unnamed | int]:
    """Yield the folders that no row names, and after each part the number of folders looked at.

    Args:
        db: The database that the store belongs to.
        url: The URL of the artifacts.
        age: What has changed in the last `age` seconds is left out.
        slow_after: On a remote store, look into the folders of jobs that succeeded at once only if
            they took longer than this, in seconds: each look is a request.

    Raises:
        ArtifactError: The store cannot be read.
    """
    fs, _ = artifacts.open_store(url)
    is_local = "file" in fs.protocol
    names = [name for name in artifacts.folders(url, "") if JOB.fullmatch(name)]
    done = 0
    for some in slices(names, AT_ONCE):
        known = jobs.stored_jobs(db, some)
        for name in some:
            job = known.get(name)
            if job is None or job.is_removed:
                yield from _if_old(url, "artifacts", name, age)
            elif job.is_over and (is_local or job.attempt > 1 or job.seconds > slow_after):
                yield from _within(url, job, age)
        done += len(some)
        yield done


def _within(url: str, job: StoredJob, age: float) -> Iterator[Unnamed]:
    """Yield the attempts and checkpoints in the folder of a job that its row does not name."""
    named = {job.artifact or "", job.checkpoint or ""}
    for name in artifacts.folders(url, job.id):
        place = f"{job.id}/{name}"
        if name.isdigit() and place not in named:
            yield from _if_old(url, "attempts", place, age)
        elif name == CHECKPOINTS and not any(each.startswith(f"{place}/") for each in named):
            yield from _if_old(url, "checkpoints", place, age)
    for name in artifacts.halves(url, job.id):
        yield from _if_old(url, "attempts", f"{job.id}/{name}", age)


def _if_old(url: str, kind: str, place: str, age: float) -> Iterator[Unnamed]:
    found = measure(url, place)
    if found is not None and time.time() - found[1] >= age:
        yield Unnamed(kind, place, found[0])


def measure(url: str, place: str) -> tuple[int, float] | None:
    """Return the bytes below a place and when it last changed; None if there is nothing.

    Raises ArtifactError if the store cannot be read.
    """
    fs, root = artifacts.open_store(url)
    if "file" in fs.protocol:
        return measure_folder(Path(root) / place)
    try:
        found: dict[str, dict[str, Any]] = fs.find(f"{root}/{place}", detail=True)
    except FileNotFoundError:
        return None
    except Exception as error:
        raise ArtifactError(f"The files of {place} cannot be listed: {error}.") from error
    sizes = [int(each.get("size") or 0) for each in found.values()]
    times = [_changed(each) for each in found.values()]
    return (sum(sizes), max(times)) if found else None


def _changed(entry: dict[str, Any]) -> float:
    """Return when an object was written; now if the store does not say."""
    at: Any = entry.get("LastModified") or entry.get("mtime") or entry.get("created")
    return float(at.timestamp() if hasattr(at, "timestamp") else at or time.time())


def measure_folder(folder: Path) -> tuple[int, float] | None:
    """Return the bytes below a folder and when it last changed; None if there is none.

    Raises ArtifactError if it cannot be read.
    """
    size, last = 0, 0.0
    try:
        paths = [folder, *folder.rglob("*")]
        for path in paths:
            about = path.lstat()
            # An import may set the time of a file, not that of its last change.
            last = max(last, about.st_mtime, about.st_ctime)
            size += 0 if path.is_dir() else about.st_size
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ArtifactError(f"{folder} cannot be read: {error.strerror}.") from error
    return size, last
