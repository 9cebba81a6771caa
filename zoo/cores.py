"""The cores of a worker: each of its runners has a share of them, and borrows those that are idle.

Who has which stands in locks on the bytes of one file, which the kernel ends with their process.
Byte `i` is locked while core `i` is of the share of a runner that runs a job, byte `n + i` while
somebody has borrowed it.
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
"""Tells the runners of a worker where its file is."""
LOOK_SECONDS = 0.015
"""Between two looks for an idle core."""
TRIES = 3
"""At a share: somebody who looks for an idle core has its lock for a microsecond."""


@contextlib.contextmanager
def lend(share: int, n: int) -> Iterator[None]:
    """Let the runners that this process starts meanwhile borrow idle ones of its `n` cores.

    Each has `share` of them.
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
    """The cores of the worker whose runner this process is; None if none are lent."""
    try:
        return Cores(Path(os.environ[VARIABLE]))
    except (KeyError, OSError, ValueError):
        return None


@contextlib.contextmanager
def held() -> Iterator[None]:
    """Keep others from borrowing this runner's share while it runs a job."""
    found = here()
    with found.held() if found else contextlib.nullcontext():
        yield


class Cores:
    """The cores of a worker, as one of its runners sees them."""

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
        """Have a core for a piece of work: of the share, or an idle one; waits for the first."""
        core = self._take()
        try:
            yield
        finally:
            self._give_back(core)

    def _take(self) -> int | None:
        """Give the number of the core that was borrowed, None for one of the share."""
        with self._changed:
            while not self._free:
                core = self._borrow()
                if core is not None:
                    return core
                self._changed.wait(LOOK_SECONDS)
            self._free -= 1
            return None

    def _give_back(self, core: int | None) -> None:
        with self._changed:
            if core is None:
                self._free += 1
            else:
                self._borrowed.remove(core)
                self._unlock(self.n + core)
            self._changed.notify()

    def _borrow(self) -> int | None:
        now = time.monotonic()
        # Of many threads that wait, one looks for all.
        if now < self._look_at:
            return None
        # Shares are marked from the first core on: from the last one they meet only at need.
        for core in reversed(range(self.n)):
            if core in self._own or core in self._borrowed or not self._lock(self.n + core):
                continue
            if self._lock(core):  # it is of no share in use
                self._unlock(core)
                self._borrowed.add(core)
                return core
            self._unlock(self.n + core)
        self._look_at = now + LOOK_SECONDS
        return None

    def _lock(self, byte: int) -> bool:
        return _lock(self._file.fileno(), byte)

    def _unlock(self, byte: int) -> None:
        fcntl.lockf(self._file, fcntl.LOCK_UN, 1, byte)


def _lock(file: int, byte: int) -> bool:
    """Lock a byte for this process; False if another one has it."""
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, byte)
    except OSError:
        return False
    return True
