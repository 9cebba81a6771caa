"""Write output files that users name: regular files atomically, devices and pipes directly."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import sys
from pathlib import Path

from zoo import atomic
from zoo.errors import UsageError, ZooError, reason
from zoo.terminal_text import safe

STDOUT, STDERR = 1, 2


def write_output(path: str | Path, content: bytes, *, parents: bool = False) -> None:
    """Write `content` to the file at `path`, replacing its contents.

    A regular file is replaced atomically. A link is kept, and its target is written. Pipes,
    character devices and `/dev/stdout` are written directly; text for a terminal loses its control
    characters. `-` is stdout. With `parents`, missing folders are made.

    Raises ZooError for a folder, a block device or a socket, for binary content on a terminal, or
    if the file cannot be written.
    """
    try:
        _write(Path(path), content, parents)
    except OSError as error:
        raise ZooError(f"{path} cannot be written: {reason(error)}.") from None


def _write(path: Path, content: bytes, parents: bool) -> None:
    if str(path) == "-":
        _write_through(os.dup(STDOUT), content)
        return
    try:
        found = path.stat()
    except FileNotFoundError:
        target = Path(os.path.realpath(path))
        if parents:
            target.parent.mkdir(parents=True, exist_ok=True)
        atomic.write(target, content)
        return
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, "it is a folder", str(path))
    if stat.S_ISBLK(found.st_mode) or stat.S_ISSOCK(found.st_mode):
        kind = "a block device" if stat.S_ISBLK(found.st_mode) else "a socket"
        raise OSError(errno.EINVAL, f"it is {kind}", str(path))
    if (stream := _standard_stream(found)) is not None:
        # A file that the shell has opened: append to its contents, do not replace it.
        _write_through(os.dup(stream), content)
    elif stat.S_ISREG(found.st_mode):
        target = Path(os.path.realpath(path))
        atomic.write(target, content, mode=stat.S_IMODE(found.st_mode))
    else:
        _write_through(os.open(path, os.O_WRONLY | os.O_NOCTTY), content)


def is_stdout(path: str | Path) -> bool:
    """Return whether `write_output` would write this to stdout: `-`, `/dev/stdout`."""
    if str(path) == "-":
        return True
    with contextlib.suppress(OSError):
        return os.path.samestat(Path(path).stat(), os.fstat(STDOUT))
    return False


def check_folder(path: str | Path) -> None:
    """Raise UsageError if the path of an output folder is stdout."""
    if is_stdout(path):
        raise UsageError(
            f"-o {path} is stdout, but several files are written.", "Name a folder: -o FOLDER."
        )


def _standard_stream(found: os.stat_result) -> int | None:
    """Return the descriptor of stdout or stderr if it is this file, as for `/dev/stdout`."""
    for stream in (STDOUT, STDERR):
        with contextlib.suppress(OSError):
            if os.path.samestat(found, os.fstat(stream)):
                return stream
    return None


def _write_through(handle: int, content: bytes) -> None:
    # A reader that closes the pipe early, such as `head`, is not an error.
    with contextlib.suppress(BrokenPipeError), os.fdopen(handle, "wb") as file:
        if file.isatty():
            content = _for_a_terminal(content)
        if sys.stdout is not None:
            sys.stdout.flush()
        file.write(content)


def _for_a_terminal(content: bytes) -> bytes:
    try:
        text = content.decode()
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise OSError(errno.EINVAL, "it is a terminal, and the content is binary")
    return safe(text).encode(errors="replace")
