"""Where a runner writes while a job runs, and the supervisor reads: two files without a name."""

from __future__ import annotations

import fcntl
import os
import tempfile
from pathlib import Path
from typing import Any


class Desk:
    """Log and progress of the job that a runner has now; a job finds both empty.

    They belong to the runner: to make and remove two files for each job costs more than a short
    job. Nobody has to remove them, for they are gone when both processes are.
    """

    def __init__(self, folder: Path | None = None) -> None:
        """`folder` is on the disk that has room for them; else the system's for such files."""
        self.log = Handle(folder)
        self.progress = Handle(folder)

    def clear(self) -> None:
        for each in (self.log, self.progress):
            each.cut(0)

    def close(self) -> None:
        for each in (self.log, self.progress):
            each.file.close()


class Handle:
    """An open file, which a new process is handed by its number."""

    def __init__(self, folder: Path | None) -> None:
        self.file: Any = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115
        # Whoever writes begins at the end, also after it was emptied.
        fcntl.fcntl(self.number, fcntl.F_SETFL, os.O_APPEND)

    @property
    def number(self) -> int:
        return int(self.file.fileno())

    def read(self, start: int, most: int) -> bytes:
        """Read at most so many bytes; the place where others write stays as it is."""
        return os.pread(self.number, most, start)

    def cut(self, size: int) -> None:
        """Leave only the first bytes."""
        os.ftruncate(self.number, size)

    def size(self) -> int:
        """Bytes."""
        return os.fstat(self.number).st_size
