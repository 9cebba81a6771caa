"""Standard input, output and error for the whole command: closed ones, full disks, closed pipes."""

from __future__ import annotations

import io
import os
import sys
from typing import TYPE_CHECKING, TextIO

from zoo.errors import ZooError, reason

if TYPE_CHECKING:
    from typing_extensions import Buffer

STDIN, STDOUT, STDERR = 0, 1, 2


class OutputError(ZooError):
    """Stdout cannot be written: the disk is full, or stdout is closed."""


class _Stdout(io.FileIO):
    """Stdout that tolerates a closed pipe, as with `head`."""

    is_unread = False

    def write(self, data: Buffer) -> int:
        try:
            return super().write(data) or 0
        except BrokenPipeError:
            # The command runs to its end and keeps its own exit code.
            self.is_unread = True
            _discard(STDOUT)
            return memoryview(data).nbytes
        except OSError as error:
            # Buffered data must not fail again when the interpreter exits.
            _discard(STDOUT)
            raise OutputError(f"The output cannot be written: {reason(error)}.") from None


class _Stderr(io.FileIO):
    """Stderr whose write errors are ignored."""

    def write(self, data: Buffer) -> int:
        try:
            return super().write(data) or 0
        except OSError:
            return memoryview(data).nbytes


def prepare() -> None:
    """Reopen closed standard streams and wrap stdout and stderr to handle write errors.

    The next opened file, such as the database, would otherwise get a closed descriptor's number.
    """
    for number, flags in ((STDIN, os.O_RDONLY), (STDOUT, os.O_RDONLY), (STDERR, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            # A closed stdout stays unwritable (opened read-only), as for other tools.
            os.dup2(os.open(os.devnull, flags), number)
    if sys.stdin is None:
        sys.stdin = io.TextIOWrapper(io.BufferedReader(io.FileIO(STDIN, closefd=False)))
    sys.stdout = _text(_Stdout(STDOUT, "wb", closefd=False), sys.stdout)
    sys.stderr = _text(_Stderr(STDERR, "wb", closefd=False), sys.stderr)


def finish() -> None:
    """Flush stdout and stderr; raises OutputError if stdout cannot be written."""
    sys.stdout.flush()
    sys.stderr.flush()


def is_unread() -> bool:
    """Whether stdout is a pipe whose reader has gone: an endless writer may then stop."""
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    return isinstance(raw, _Stdout) and raw.is_unread


def _text(raw: io.FileIO, before: TextIO | None) -> TextIO:
    """A text stream that prints ? for characters that the encoding of the terminal lacks."""
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=getattr(before, "encoding", None) or "utf-8",
        errors="replace",
        line_buffering=raw.isatty() or raw.fileno() == STDERR,
    )


def _discard(number: int) -> None:
    """Redirect the descriptor to /dev/null."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), number)
