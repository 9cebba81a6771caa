"""Move a folder on this machine's disks, at once and to stay."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import uuid
from collections.abc import Sequence
from pathlib import Path


def move(folder: Path, target: Path, names: Sequence[str]) -> list[str]:
    """Move a folder with the files of these names: it appears whole.

    Gives the paths to `flush`: then it survives a power cut. Raises OSError.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        folder.rename(target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        # Another file system: copy beside the target first, so that it still appears at once.
        copy = target.with_name(f".{target.name}-{uuid.uuid4().hex}")
        shutil.copytree(folder, copy)
        copy.rename(target)
    # After the move: nobody relies on it yet, and one flush takes in all changes.
    return [*(f"{target}/{name}" for name in names), str(target), str(target.parent)]


def flush(paths: Sequence[str]) -> None:
    """Have files and folders survive a power cut; many at once cost little more than one.

    Raises OSError.
    """
    with contextlib.ExitStack() as opened:
        handles = [os.open(path, os.O_RDONLY) for path in paths]
        for handle in handles:
            opened.callback(os.close, handle)
        # Linux begins to write then; else each flush would wait for a write of its own.
        if hasattr(os, "posix_fadvise"):
            for handle in handles:
                os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        for handle in handles:
            os.fsync(handle)
