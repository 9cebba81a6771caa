"""Whether this machine can run jobs: its folders can be written, and its disks have room."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from zoo import private_folder
from zoo.errors import ZooError, as_sentence, reason
from zoo.settings import Settings

PROBE = b"zoo" * 1024
"""Written into each folder: a disk can be full though it says that it has room, as by a quota."""


def fault(settings: Settings, *, store: bool = False) -> str:
    """Return why no job can run on this machine, as a sentence; empty if one can.

    With `store`, artifacts are to be stored, too.
    """
    for folder in (settings.home, settings.home / "work", settings.plugins_folder):
        if complaint := private_folder.complaint_of(folder):
            return f"{folder} is not safe to use: {complaint}."
    for folder in (settings.home / "work", settings.cache):
        if found := folder_fault(folder, settings.free_mb):
            return found
    # Models and libraries put files there; a container may give it a disk of its own.
    try:
        temporary = Path(tempfile.gettempdir())
    except OSError as error:
        return as_sentence(reason(error))
    if found := folder_fault(temporary, 0):
        return found
    if store:
        # Imported here: a command that waits for a job asks for the folders alone.
        from zoo.storage import artifacts

        try:
            artifacts.check(settings.artifacts)
        except ZooError as error:
            return error.message
    return ""


def folder_fault(folder: Path, free_mb: int) -> str:
    """Return why nothing can be written into a folder, as a sentence; empty if it can."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free / 2**20
        if free < free_mb:
            return f"Only {free:.0f} MB are free in {folder}, less than ZOO_FREE_MB ({free_mb})."
        # A file without a name, which nobody has to remove.
        with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
            file.write(PROBE)
    except OSError as error:
        return f"The folder {folder} cannot be written: {reason(error)}."
    return ""
