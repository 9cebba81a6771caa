"""The files that hooks read and make; their process cannot reach the artifact store."""

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

PREFIX = "hooks."
"""Prefix of the folders' names, which lie beside those of attempts."""
OLD_SECONDS = 3600.0
"""Age after which no worker can still use a folder; the hooks of a job take a minute."""


class HookFolder:
    """The folder of one job's hooks, if any hook takes files."""

    def __init__(self, settings: Settings, job: str, folder: Path | None, has_files: bool) -> None:
        self._settings = settings
        self._job = job
        self._folder = folder
        self._has_files = has_files

    def request(self) -> dict[str, str | None]:
        """Return the paths, as part of the request to the process of the hooks."""
        path = str(self._folder) if self._folder else None
        return {"folder": path, "files": f"{path}/{FILES}" if self._has_files else None}

    def keep(self) -> Iterator[tuple[str, str]]:
        """Store the files of each plugin; yield (plugin, error) for those that cannot be kept.

        Raises ArtifactError if the store is unavailable.
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
) -> Iterator[HookFolder]:
    """Fetch the job's files if a hook takes them, and make a folder for the files of the hooks.

    Args:
        settings: The worker's settings.
        job: The job that has ended.
        takes: Arguments of `job_finished` that some plugin takes.
        insist: Raise ArtifactError if the files cannot be fetched, instead of going on without.
    """
    if not {"files", "extra"} & set(takes):
        yield HookFolder(settings, job.id, None, False)
        return
    work = private_folder.make(settings.home / "work")
    _remove_old_folders(work)
    with tempfile.TemporaryDirectory(prefix=PREFIX, dir=work, ignore_cleanup_errors=True) as made:
        folder = Path(made)
        has_files = "files" in takes and _fetch(settings, job, folder / FILES, insist)
        yield HookFolder(settings, job.id, folder, has_files)


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


def _remove_old_folders(work: Path) -> None:
    """Remove the folders of killed workers."""
    for folder in work.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):
            if time.time() - folder.stat().st_mtime > OLD_SECONDS:
                shutil.rmtree(folder, ignore_errors=True)
