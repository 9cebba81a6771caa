"""Check what a model has saved before it is stored, and before it is loaded again."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from zoo import settings
from zoo.errors import ArtifactError, PluginError
from zoo.regular_file import KINDS
from zoo.storage import file_formats

log = logging.getLogger(__name__)

MAX_FILES = 10_000
"""Files of one job."""
SAVE_WHERE = "Save regular files in the folder that `save` is given."


def save(
    save: Callable[[Path], None], folder: Path, chosen: settings.Settings | None = None
) -> None:
    """Have a model save its weights into an empty folder, and check that they may be stored.

    `chosen` are the settings, by default those of the environment. Raises PluginError if the model
    has saved something else than regular files, or beside the folder, or more than ZOO_ARTIFACT_MB,
    or what runs code when it is loaded (unless ZOO_ALLOW_PICKLE).
    """
    chosen = chosen or settings.load()
    before = _beside(folder)
    with _limited_files(chosen.artifact_mb):
        save(folder)
    if beside := sorted(_beside(folder) - before):
        raise PluginError(f"The model has saved '{beside[0]}', outside its folder.", SAVE_WHERE)
    _check_regular(folder)
    check_size(folder, chosen.artifact_mb)
    if (found := file_formats.find_unsafe(folder)) and not chosen.allow_pickle:
        raise PluginError(
            f"The weights are not stored: {found}, and to load one can run code.",
            "Save arrays (zoo.weights) and JSON, or set ZOO_ALLOW_PICKLE=on where jobs run.",
        )


def _beside(folder: Path) -> set[str]:
    """What lies around the folder, by its path from there; above that, if the job runs there."""
    found = {f"../{each.name}" for each in folder.parent.iterdir()}
    job = folder.parent.parent
    if job.samefile("."):
        found |= {f"../../{each.name}" for each in job.iterdir()}
    return found


def check_loadable(folder: Path) -> None:
    """Raise ArtifactError if loading these weights can run code, or warn if that is allowed."""
    found = file_formats.find_unsafe(folder)
    if found and not settings.load().allow_pickle:
        raise ArtifactError(
            f"The weights are not loaded: {found}, and to load one can run code.",
            "Set ZOO_ALLOW_PICKLE=on if you trust its author.",
        )
    if found:
        log.warning("Loading weights that can run code: %s.", found)


def check_size(folder: Path, limit_mb: int | None = None) -> int:
    """Return the size of the files in a folder in bytes.

    Raises PluginError if it has more files, or larger ones, than one job may leave.
    """
    limit = limit_mb or settings.load().artifact_mb
    total = 0
    for count, path in enumerate(_paths(folder), 1):
        # A model may remove its files at any time.
        with contextlib.suppress(FileNotFoundError):
            total += path.lstat().st_size
        if total > limit * 2**20:
            raise _too_large(limit)
        if count > MAX_FILES:
            raise PluginError(f"The job's files are more than {MAX_FILES}.", "Save fewer.")
    return total


def _too_large(limit: int) -> PluginError:
    return PluginError(
        f"The job's files take more than {limit} MB.",
        "Save less, or raise ZOO_ARTIFACT_MB where jobs run.",
    )


def _check_regular(folder: Path) -> None:
    if folder.is_symlink() or not folder.is_dir():
        raise PluginError("The model has removed the folder that it was to save in.", SAVE_WHERE)
    for path in _paths(folder):
        about, name = path.lstat(), f"'{path.relative_to(folder)}'"
        if stat.S_ISLNK(about.st_mode):
            raise PluginError(f"The model has saved {name}, a link.", SAVE_WHERE)
        if stat.S_ISREG(about.st_mode):
            # The other name may be anywhere: what is written there would change these weights.
            if about.st_nlink > 1:
                raise PluginError(f"The model has saved {name}, a hard link.", SAVE_WHERE)
        elif not stat.S_ISDIR(about.st_mode):
            kind = next((name for is_kind, name in KINDS if is_kind(about.st_mode)), "no file")
            raise PluginError(f"The model has saved {name}, {kind}.", SAVE_WHERE)


def _paths(folder: Path) -> Iterator[Path]:
    """Everything below a folder; no link is followed."""
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            yield Path(parent, name)


@contextlib.contextmanager
def _limited_files(limit_mb: int) -> Iterator[None]:
    """Have the operating system refuse to write a larger file, before a disk is full."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    limits = [each for each in (soft, hard) if each != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_FSIZE, (min([limit_mb * 2**20, *limits]), hard))
    try:
        yield
    except Exception as error:
        if _is_too_large(error):
            raise _too_large(limit_mb) from error
        raise
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def _is_too_large(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, OSError) and error.errno == errno.EFBIG:
            return True
        error = error.__cause__ or error.__context__
    return False
