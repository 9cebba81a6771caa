"""Read single keys, and restore the terminal afterwards."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import time
from collections.abc import Iterator
from types import FrameType

ENDINGS = (signal.SIGTERM, signal.SIGHUP)


@contextlib.contextmanager
def pressed() -> Iterator[Keys]:
    """Read keys without Enter and without echo within this block.

    A signal that would end the program ends the block first, so that the terminal is restored.
    """
    before = {each: signal.signal(each, _leave) for each in ENDINGS}
    try:
        if not sys.stdin.isatty():
            yield Keys(None)
            return
        import termios
        import tty

        place = sys.stdin.fileno()
        mode = termios.tcgetattr(place)
        try:
            tty.setcbreak(place)
            quiet = termios.tcgetattr(place)
            # Ctrl-Z would return to the shell without restoring the terminal.
            quiet[6][termios.VSUSP] = b"\0"
            termios.tcsetattr(place, termios.TCSADRAIN, quiet)
            yield Keys(place)
        finally:
            termios.tcsetattr(place, termios.TCSADRAIN, mode)
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def _leave(number: int, _: FrameType | None) -> None:
    raise SystemExit(128 + number)


class Keys:
    """The keyboard, if stdin is a terminal."""

    def __init__(self, place: int | None) -> None:
        self._place = place

    def wait(self, seconds: float) -> str:
        """Return the key pressed within `seconds`, else an empty string."""
        if self._place is None:
            time.sleep(seconds)
            return ""
        ready, _, _ = select.select([self._place], [], [], seconds)
        return os.read(self._place, 32).decode(errors="replace") if ready else ""
