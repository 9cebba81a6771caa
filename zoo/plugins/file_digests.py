"""Hashes of large files, computed once per state of a file and machine."""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path

from zoo import atomic, settings
from zoo.regular_file import open_regular_file, read_text_file

MAX_BYTES = 4096
"""Largest size of a file that keeps a hash."""


def digest(file: str | Path) -> str:
    """Return the sha256 of a file, kept in the cache until its size or times change.

    Returns the empty text for a file that cannot be read.
    """
    path = Path(file)
    with contextlib.suppress(OSError):
        now = path.stat()
        state = f"{now.st_size} {now.st_mtime_ns} {now.st_ctime_ns}"
        place = hashlib.sha256(str(path).encode("utf-8", "surrogateescape")).hexdigest()
        kept = settings.cache() / "digests" / place
        with contextlib.suppress(OSError, ValueError):
            known, _, value = read_text_file(kept, MAX_BYTES).rpartition(" ")
            if known == state:
                return value
        with open_regular_file(path) as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
        with contextlib.suppress(OSError):
            kept.parent.mkdir(parents=True, exist_ok=True)
            atomic.write(kept, f"{state} {found}".encode())
        return found
    return ""
