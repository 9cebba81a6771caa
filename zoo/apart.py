"""Do something in a Python process of its own, which may print, hang or die without harm."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any


class Apart:
    """A module run by another Python, which tells its news through `telling`."""

    def __init__(self, module: str, *args: str, is_quiet: bool = False) -> None:
        # A session of its own, so that all which a plugin starts ends with it.
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, *args],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL if is_quiet else None,
            start_new_session=True,
        )
        self._lines: queue.Queue[bytes] = queue.Queue()
        self._has_closed = False
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put(b"")

    def news(self, seconds: float) -> Any:
        """The next news; None once the process has ended. Raises TimeoutError."""
        try:
            line = self._lines.get(timeout=seconds)
        except queue.Empty:
            raise TimeoutError from None
        self._has_closed = not line
        return json.loads(line) if line else None

    def end(self) -> str:
        """End it with all that it started, and say how it had ended by itself, if it had."""
        # Having closed its end of the pipe it may need a moment to be gone, on a busy machine more.
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(5 if self._has_closed else 0.1)
        code = self._process.poll()
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()
        if code is None:
            return "it was ended"
        return signal.Signals(-code).name if code < 0 else f"exit code {code}"


@contextlib.contextmanager
def telling() -> Iterator[Callable[[Any], None]]:
    """In that process: give what tells news. What is printed meanwhile goes to stderr."""
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    with os.fdopen(os.dup(1), "w", buffering=1) as pipe, contextlib.redirect_stdout(sys.stderr):
        os.dup2(2, 1)
        yield lambda news: print(json.dumps(news), file=pipe)


def _end_with_the_parent() -> None:
    os.read(0, 1)
    os.killpg(0, signal.SIGKILL)
