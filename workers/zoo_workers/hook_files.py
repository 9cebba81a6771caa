"""What the hooks of a job are handed, and what they leave: their process cannot reach the store."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import time
from collections.abc import Collection, Iterator
from pathlib import Path

from zoo import private_folder
from zoo.errors import ArtifactError
from zoo.jobs import Job
from zoo.settings import Settings
from zoo.storage import artifacts, job_files
from zoo_workers.runner_main import DONE, FILES

BEFORE = "hooks."
"""With this the names of the folders begin, beside those of attempts."""
OLD_SECONDS = 3600.0
"""A folder that no worker can still be at; the calls for a job take a minute."""


class Handed:
    """One job's folder, which the process of the hooks reads and writes; none if none is wanted."""

    def __init__(self, settings: Settings, job: str, folder: Path | None, has_files: bool) -> None:
        self._settings = settings
        self._job = job
        self._folder = folder
        self._has_files = has_files

    def order(self) -> dict[str, str | None]:
        """What the process of the hooks is told of it."""
        path = str(self._folder) if self._folder else None
        return {"folder": path, "files": f"{path}/{FILES}" if self._has_files else None}

    def keep(self) -> Iterator[tuple[str, str]]:
        """Store what each plugin has left; gives those whose files are not to be kept, and why.

        Raises ArtifactError if the store is away.
        """
        done = self._folder and self._folder / DONE
        for left in sorted(done.iterdir()) if done and done.is_dir() else []:
            try:
                job_files.check(left)
            except ArtifactError as error:
                yield left.name, str(error)
            else:
                job_files.keep(self._settings, self._job, left)


@contextlib.contextmanager
def prepared(
    settings: Settings, job: Job, takes: Collection[str], *, insist: bool
) -> Iterator[Handed]:
    """Fetch the job's files if a plugin takes them, and make room for what the plugins leave.

    Raises ArtifactError if they cannot be had; unless it is to `insist`, the hooks do without.
    """
    if not {"files", "extra"} & set(takes):
        yield Handed(settings, job.id, None, False)
        return
    work = private_folder.make(settings.home / "work")
    _sweep(work)
    with tempfile.TemporaryDirectory(prefix=BEFORE, dir=work, ignore_cleanup_errors=True) as made:
        folder = Path(made)
        has_files = "files" in takes and _fetch(settings, job, folder / FILES, insist)
        yield Handed(settings, job.id, folder, has_files)


def _fetch(settings: Settings, job: Job, into: Path, insist: bool) -> bool:
    if not job.artifact:
        return False
    into.mkdir()
    try:
        artifacts.get(settings.artifacts, job.artifact, str(job.artifact_sha256), into)
    except ArtifactError:
        if insist:
            raise
        return False
    return True


def _sweep(work: Path) -> None:
    """Remove what workers that were killed have left."""
    for folder in work.glob(f"{BEFORE}*"):
        with contextlib.suppress(OSError):
            if time.time() - folder.stat().st_mtime > OLD_SECONDS:
                shutil.rmtree(folder, ignore_errors=True)
