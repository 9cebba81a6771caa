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
    """What was to be printed cannot be written: a full disk, or stdout is closed."""


class _Stdout(io.FileIO):
    """Stdout that bears a reader who has seen enough, as `head` does."""

    is_unread = False

    def write(self, data: Buffer) -> int:
        try:
            return super().write(data) or 0
        except BrokenPipeError:
            # The command goes on to its own end and its own exit code.
            self.is_unread = True
            _discard(STDOUT)
            return memoryview(data).nbytes
        except OSError as error:
            # What is still buffered must not fail once more when the interpreter ends.
            _discard(STDOUT)
            raise OutputError(f"The output cannot be written: {reason(error)}.") from None


class _Stderr(io.FileIO):
    """Stderr that nothing depends on: if it cannot be written, the command goes on."""

    def write(self, data: Buffer) -> int:
        try:
            return super().write(data) or 0
        except OSError:
            return memoryview(data).nbytes


def prepare() -> None:
    """Open what is closed, and let errors of writing end in a sentence, not in a traceback.

    A closed descriptor would be the next file's that is opened: a database, for one.
    """
    for number, flags in ((STDIN, os.O_RDONLY), (STDOUT, os.O_RDONLY), (STDERR, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            # A closed stdout stays one that cannot be written, as it is for other tools.
            os.dup2(os.open(os.devnull, flags), number)
    if sys.stdin is None:
        sys.stdin = io.TextIOWrapper(io.BufferedReader(io.FileIO(STDIN, closefd=False)))
    sys.stdout = _text(_Stdout(STDOUT, "wb", closefd=False), sys.stdout)
    sys.stderr = _text(_Stderr(STDERR, "wb", closefd=False), sys.stderr)


def finish() -> None:
    """Write what is still buffered; raises OutputError if that is not possible."""
    sys.stdout.flush()
    sys.stderr.flush()


def is_unread() -> bool:
    """Whether stdout is a pipe whose reader has gone: who writes without end may stop."""
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    return isinstance(raw, _Stdout) and raw.is_unread


def _text(raw: io.FileIO, before: TextIO | None) -> TextIO:
    """A text stream; a terminal that is not UTF-8 shows ? for a letter that it has not."""
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=getattr(before, "encoding", None) or "utf-8",
        errors="replace",
        line_buffering=raw.isatty() or raw.fileno() == STDERR,
    )


def _discard(number: int) -> None:
    """Let everything that is still written there go nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), number)
