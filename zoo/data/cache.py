"""Cache folders: they can be rebuilt at any time and appear complete or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, TypeVar

from zoo import atomic
from zoo.errors import DatasetError, reason

if TYPE_CHECKING:
    from zoo.model import Array

T = TypeVar("T")

Progress = Callable[[str, int, int], None]
"""Called with the activity, and the bytes or images done and in total (0: unknown)."""

STALE = 3600.0
"""Age in seconds at which leftovers of killed processes are removed."""

USED_SECONDS = 3600.0
"""Precision of the time at which a folder was last used."""

PATIENCE = 300.0
"""Seconds to wait for another process that builds the same folder."""

TRIES = 3


def get(
    folder: Path,
    load: Callable[[Path], T | None],
    fill: Callable[[Path], None],
    keep: str = "",
    stale: float = STALE,
) -> T:
    """Load a cache folder; build it first if it is missing or damaged (`load` returns None).

    Sibling folders count as superseded and are removed when they are older than `stale` seconds,
    except those whose names start with `keep`.

    Raises DatasetError if the disk is full or cannot be written.
    """
    for _ in range(TRIES):
        if (found := load(folder)) is not None:
            _mark_used(folder)
            return found
        with _refusals(folder), _turn(folder):
            if (found := load(folder)) is not None:
                return found
            _discard(folder)
            _publish(folder, fill)
            _sweep(folder.parent, keep or folder.name, stale)
    raise DatasetError(f"{folder} is damaged each time it is written.", "Check the disk.")


def save(file: Path, shape: tuple[int, ...], dtype: str, parts: Iterable[Array]) -> None:
    """Write the parts of an array of the given shape, in order, as one .npy file."""
    import numpy as np

    with open_array(file, shape, dtype) as stream:
        for part in parts:
            # Not tofile, whose error does not mention a full disk.
            stream.write(np.ascontiguousarray(part, dtype).data)


@contextlib.contextmanager
def open_array(file: Path, shape: tuple[int, ...], dtype: str) -> Iterator[IO[bytes]]:
    """Open a new .npy file for the values of an array in C order; the header is written."""
    import numpy as np

    descr = np.lib.format.dtype_to_descr(np.dtype(dtype))
    header = {"descr": descr, "fortran_order": False, "shape": shape}
    with file.open("wb") as stream:
        np.lib.format.write_array_header_1_0(stream, header)
        yield stream


def mapped(file: Path, shape: tuple[int, ...], dtype: str) -> Array:
    """Map a .npy file read-only.

    Raises OSError or ValueError if it is missing, truncated, or of another dtype or shape.
    """
    import numpy as np

    array = np.lib.format.open_memmap(file, mode="r")
    if (array.shape, array.dtype) != (shape, np.dtype(dtype)):
        raise ValueError(f"{file} is {array.dtype} {array.shape}")
    return array


def remove_leftovers(base: Path, age: float) -> None:
    """Remove folders and files below the cache that killed processes were writing.

    They are those with temporary names that are older than `age` seconds.
    """
    for path in list_leftovers(base, age):
        with contextlib.suppress(OSError):
            _remove(path)


def size(folder: Path) -> int:
    """Return the bytes on disk under the folder; 0 if it does not exist."""
    total = 0
    for path in folder.rglob("*"):
        # Another process may just have renamed or removed it.
        with contextlib.suppress(FileNotFoundError):
            total += path.stat().st_size if path.is_file() else 0
    return total


def list_unused(base: Path, age: float) -> list[Path]:
    """List the folders with prepared data and added contents that were not used for `age` seconds.

    `base` is the cache.
    """
    found = [*base.glob("prepared/*/*"), *base.glob("added/*")]
    return [
        each
        for each in found
        if each.is_dir() and not each.name.startswith(".") and _age(each) > age
    ]


def list_leftovers(base: Path, age: float) -> list[Path]:
    """List what killed processes were writing into the cache more than `age` seconds ago."""
    found = [*base.glob("*/.*.tmp"), *base.glob("*/*/.*.tmp")]
    return [each for each in found if _age(each) > age]


def remove(path: Path) -> None:
    """Remove a folder or file of the cache, so that readers find it whole or not at all."""
    _discard(path)
    with contextlib.suppress(OSError):
        path.with_name(f"{path.name}.lock").unlink()
    with contextlib.suppress(OSError):
        path.parent.rmdir()  # if it was the last one of its dataset


def _mark_used(folder: Path) -> None:
    """Set the time of a folder that is used: those that are not for long are removed."""
    with contextlib.suppress(OSError):
        if _age(folder) > USED_SECONDS:
            os.utime(folder)


def _age(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except OSError:
        return 0.0


@contextlib.contextmanager
def _refusals(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DatasetError(
            f"{folder} cannot be written: {reason(error)}.",
            "Free some space or correct its permissions, or set ZOO_HOME to another folder.",
        ) from None


@contextlib.contextmanager
def _turn(folder: Path) -> Iterator[None]:
    """Wait while another process builds the folder, to save work; nothing relies on it."""
    from filelock import FileLock, Timeout

    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(f"{folder}.lock", timeout=PATIENCE, fallback_to_soft=False)
    # A frozen owner, or a file system without locks, must not stop anyone.
    with contextlib.suppress(Timeout, OSError, NotImplementedError):
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _publish(folder: Path, fill: Callable[[Path], None]) -> None:
    temporary = atomic.sibling(folder)
    temporary.mkdir()
    try:
        fill(temporary)
        atomic.flush([*temporary.iterdir(), temporary])
        temporary.replace(folder)
        atomic.flush([folder.parent])
    except OSError as error:
        # Another process was faster: its folder has the same contents.
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _discard(folder: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        _remove(folder.replace(atomic.sibling(folder)))


def _sweep(parent: Path, keep: str, stale: float) -> None:
    for path in parent.iterdir():
        with contextlib.suppress(OSError):
            old = time.time() - path.stat().st_mtime > stale
            if old and not path.name.startswith(keep):
                _remove(path)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink()
