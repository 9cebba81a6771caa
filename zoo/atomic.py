"""Write a file so that it appears whole, and flush what was written to disk."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path


def write(file: Path, content: str | bytes, *, mode: int | None = None) -> None:
    """Write a file in place of an earlier one: readers see the old content or the new.

    Args:
        file: The file, in an existing folder. A symbolic link is replaced, not followed.
        content: Text is written as UTF-8, without translating line ends.
        mode: Permission bits; by default those that the umask leaves.

    Raises:
        OSError: The file cannot be written; an earlier one is unchanged.
    """
    temporary = sibling(file)
    try:
        with temporary.open("xb") as stream:
            stream.write(content.encode() if isinstance(content, str) else content)
        if mode is not None:
            temporary.chmod(mode)
        temporary.replace(file)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def sibling(path: Path, prefix: str = ".") -> Path:
    """Return an unused name in the folder of `path`, from which it can be renamed atomically."""
    # Not `uuid`, whose import takes a millisecond of every command.
    return path.with_name(f"{prefix}{os.urandom(16).hex()}.tmp")


def flush(paths: Iterable[str | Path]) -> None:
    """Flush files and folders to disk, so that they survive a power cut.

    Several at once cost little more than one. Raises OSError.
    """
    with contextlib.ExitStack() as opened:
        handles = [os.open(path, os.O_RDONLY) for path in paths]
        for handle in handles:
            opened.callback(os.close, handle)
        # Linux starts writing at this hint; without it each fsync waits for a write of its own.
        if hasattr(os, "posix_fadvise"):
            for handle in handles:
                os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        for handle in handles:
            os.fsync(handle)
