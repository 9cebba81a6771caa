"""The cores of a worker: each runner has a share of them, and may borrow idle ones.

The state is kept in locks on the bytes of one file, which the kernel releases with their process.
Byte `i` is locked while core `i` belongs to the share of a runner with a job, byte `n + i` while
it is borrowed.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

VARIABLE = "ZOO_RUNNER_CORES"
"""Environment variable with the path of the worker's file, for its runners."""
LOOK_SECONDS = 0.015
"""Seconds between two searches for an idle core."""
TRIES = 3
"""At a share: somebody who looks for an idle core has its lock for a microsecond."""


@contextlib.contextmanager
def lend(share: int, n: int) -> Iterator[None]:
    """Let runners started within this block borrow idle ones of `n` cores.

    Each runner has a share of `share` cores.
    """
    if n <= share:  # one runner has them all
        yield
        return
    with tempfile.TemporaryFile() as file:
        file.write(f"{share} {n}".encode())
        file.flush()
        # It has no name, so nothing is left of a worker that is killed; Linux shows it there.
        os.environ[VARIABLE] = f"/proc/{os.getpid()}/fd/{file.fileno()}"
        try:
            yield
        finally:
            del os.environ[VARIABLE]


@functools.cache  # to open it again and close it would give back all that this process has locked
def here() -> Cores | None:
    """Return the cores of the worker of this runner process; None if borrowing is off."""
    try:
        return Cores(Path(os.environ[VARIABLE]))
    except (KeyError, OSError, ValueError):
        return None


@contextlib.contextmanager
def held() -> Iterator[None]:
    """Keep others from borrowing the share of this runner while it runs a job."""
    found = here()
    with found.held() if found else contextlib.nullcontext():
        yield


class Cores:
    """The cores of a worker, for use by one of its runners."""

    def __init__(self, file: Path) -> None:
        """Raises OSError or ValueError if the file is not that of a worker."""
        self._file = file.open("r+b")
        self.share, self.n = map(int, self._file.read().split())
        self._free = self.share
        self._own: set[int] = set()
        self._borrowed: set[int] = set()
        self._look_at = 0.0
        self._changed = threading.Condition()

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Mark the share as in use; who has borrowed of it goes back after its piece of work.

        That is not waited for: until then there is a thread more than cores. Where there are more
        slots than cores, a share may have none to mark.
        """
        for _ in range(TRIES):
            for core in range(self.n):
                if len(self._own) < self.share and core not in self._own and self._lock(core):
                    self._own.add(core)
            if len(self._own) == self.share:
                break
            time.sleep(0.001)
        try:
            yield
        finally:
            for core in self._own:
                self._unlock(core)
            self._own.clear()

    @contextlib.contextmanager
    def one(self) -> Iterator[None]:
        """Take a core of the share, or an idle one, for a piece of work; wait until one is free."""
        core = self.take()
        try:
            yield
        finally:
            self.give_back(core)

    def take(self) -> int | None:
        """Take a core of the share, or borrow an idle one; wait until one is free.

        Returns the number of the borrowed core, None for one of the share: see `give_back`.
        """
        with self._changed:
            while not self._free:
                core = self._borrow_at_intervals()
                if core is not None:
                    return core
                self._changed.wait(LOOK_SECONDS)
            self._free -= 1
            return None

    def give_back(self, core: int | None) -> None:
        """Give back a core that `take` or `borrow` has returned."""
        with self._changed:
            if core is None:
                self._free += 1
            else:
                self._borrowed.remove(core)
                self._unlock(self.n + core)
            self._changed.notify()

    def _borrow_at_intervals(self) -> int | None:
        now = time.monotonic()
        # Only one of the waiting threads searches.
        if now < self._look_at:
            return None
        core = self.borrow()
        if core is None:
            self._look_at = now + LOOK_SECONDS
        return core

    def borrow(self) -> int | None:
        """Borrow an idle core at once; returns its number, or None if there is none."""
        # Shares are marked from the first core on: from the last one they meet only at need.
        for core in reversed(range(self.n)):
            if core in self._own or core in self._borrowed or not self._lock(self.n + core):
                continue
            if self._lock(core):  # it is of no share in use
                self._unlock(core)
                self._borrowed.add(core)
                return core
            self._unlock(self.n + core)
        return None

    def _lock(self, byte: int) -> bool:
        return _lock(self._file.fileno(), byte)

    def _unlock(self, byte: int) -> None:
        fcntl.lockf(self._file, fcntl.LOCK_UN, 1, byte)


def _lock(file: int, byte: int) -> bool:
    """Lock a byte for this process; returns False if another process has locked it."""
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, byte)
    except OSError:
        return False
    return True
