"""Read files that a person or an archive names: regular ones alone, and never without a limit."""

from __future__ import annotations

import errno
import io
import os
import stat
from pathlib import Path

KINDS = (
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISSOCK, "a socket"),
)


def open_regular_file(path: str | Path) -> io.BufferedReader:
    """Open a regular file, or a link to one, for reading bytes.

    Raises OSError for anything else, without waiting: to open a pipe would wait for its writer,
    and a device may never end. Its `strerror` completes "FILE cannot be read: ".
    """
    _check_kind(path, Path(path).stat().st_mode)
    # Not blocking, and asked again: another file may have taken its place since.
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        _check_kind(path, os.fstat(handle).st_mode)
        return os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise


def read_regular_file(path: str | Path, most: int) -> bytes:
    """Read all of a regular file of at most `most` bytes.

    Raises OSError as `open_regular_file` does, and for a larger file, of which no more than one
    byte past the limit is read.
    """
    with open_regular_file(path) as file:
        return read_at_most(file, most, str(path))


def read_text_file(path: str | Path, most: int) -> str:
    """Read a regular file of UTF-8 text; as `read_regular_file`, and raises ValueError."""
    return read_regular_file(path, most).decode("utf-8")


def read_at_most(stream: io.BufferedIOBase, most: int, name: str) -> bytes:
    """Read a stream to its end; raises OSError if it holds more than `most` bytes."""
    content = stream.read(most + 1)
    if len(content) > most:
        raise OSError(errno.EFBIG, f"it is larger than {size(most)}", name)
    return content


def size(count: int) -> str:
    """Bytes as people say a limit: "100 MB", "64 kB", "12 bytes"."""
    for unit, name in ((10**6, "MB"), (2**20, "MB"), (10**3, "kB"), (2**10, "kB")):
        if count >= unit and count % unit == 0:
            return f"{count // unit} {name}"
    return f"{count} bytes"


def _check_kind(path: str | Path, mode: int) -> None:
    if stat.S_ISREG(mode):
        return
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    kind = next((name for is_kind, name in KINDS if is_kind(mode)), "something else")
    raise OSError(errno.EINVAL, f"it is {kind}, not a regular file", str(path))
