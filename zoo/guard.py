"""Import what a stranger wrote: it cannot print to stdout, nor keep the terminal for ever."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any

IMPORT_SECONDS = 20.0
"""What one plugin may take to be imported; a framework belongs inside the methods."""
RINGS, RING_SECONDS = 3, 1.0
"""So often, and so far apart, a plugin is told to stop before the process gives up."""


class TooSlow(BaseException):
    """Importing took too long. No Exception: the code that hangs must not catch it."""


@contextlib.contextmanager
def importing(name: str) -> Iterator[None]:
    """Import the plugin of that name within this block, under a time limit.

    What is printed meanwhile goes to stderr, also what is written past Python. Raises TooSlow.
    """
    with contextlib.redirect_stdout(sys.stderr), _stdout_to_stderr(), _limited(name):
        yield


@contextlib.contextmanager
def _stdout_to_stderr() -> Iterator[None]:
    try:
        kept = os.dup(1)
    except OSError:  # closed, as by `>&-`: there is nothing to keep clean
        yield
        return
    try:
        with contextlib.suppress(OSError):
            os.dup2(2, 1)
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


@contextlib.contextmanager
def _limited(name: str) -> Iterator[None]:
    # A signal reaches the main thread alone. Elsewhere nobody sits before a terminal and waits.
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    rings = 0

    def ring(*_: Any) -> None:
        nonlocal rings
        rings += 1
        if rings > RINGS:
            _give_up(name)
        raise TooSlow(f"it took over {IMPORT_SECONDS:g} s to import and was stopped")

    before = signal.signal(signal.SIGALRM, ring)
    try:
        # More than once: a bare `except:` in a loop swallows the first one.
        signal.setitimer(signal.ITIMER_REAL, IMPORT_SECONDS, RING_SECONDS)
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _give_up(name: str) -> None:
    said = (
        f"error: The plugin {name} hangs at import and cannot be stopped.\n"
        "       `zoo plugins` tells where it is; ZOO_PLUGINS=a,b loads only those.\n"
    )
    os.write(2, said.encode())
    os._exit(1)
