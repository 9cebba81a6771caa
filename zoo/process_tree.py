"""End all descendants of a process, including those that left its group, session or parent."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import psutil

MARK = "ZOO_PROCESS_TREE"
"""Environment variable that identifies the descendants of a process after it has ended.
Descendants inherit it unless they clear their environment."""
SECONDS = 2.0
"""Time limit for killing a process, which may wait uninterruptibly for a broken disk."""
PAUSE_SECONDS = 0.005
SET_CHILD_SUBREAPER = 36
"""PR_SET_CHILD_SUBREAPER of Linux's prctl(2)."""


def new_mark() -> str:
    """Return a unique value for the variable MARK."""
    return uuid.uuid4().hex


@functools.cache
def adopt_orphans() -> None:
    """Become the parent of descendants whose own parent ends (Linux only).

    Otherwise a process that forks twice becomes a child of init and cannot be attributed.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def is_running(process: psutil.Process | int) -> bool:
    """Return whether a process, given by its object or id, runs.

    A zombie process (not yet reaped, as in a container without an init) counts as dead.
    """
    import psutil

    try:
        found = psutil.Process(process) if isinstance(process, int) else process
        return bool(found.is_running() and found.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def end_descendants() -> list[str]:
    """Kill all running descendants of this process; return their names."""
    if not _has_children():
        return []
    import psutil

    own = psutil.Process()
    return _kill_all(lambda: own.children(recursive=True), then=_reap)


def end_tree(leader: subprocess.Popen[bytes], mark: str = "") -> None:
    """Kill a child process that leads its process group, with the group, and wait for it.

    With `mark`, its value of MARK, also kill all its other descendants.
    """
    if mark:
        # While stopped it starts no processes, but still adopts orphans.
        leader.send_signal(signal.SIGSTOP)
        _kill_all(lambda: _descendants(leader))
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader.pid, signal.SIGKILL)
    leader.kill()
    leader.wait()
    if mark:
        _kill_all(lambda: _marked(mark))


def _descendants(leader: subprocess.Popen[bytes]) -> list[psutil.Process]:
    import psutil

    found: list[psutil.Process] = []
    if leader.poll() is None:
        with contextlib.suppress(psutil.Error):
            found = psutil.Process(leader.pid).children(recursive=True)
    return found


def _marked(mark: str) -> list[psutil.Process]:
    """Return the processes whose initial environment has the mark."""
    import psutil

    every = psutil.process_iter(["environ"])
    return [each for each in every if (each.info["environ"] or {}).get(MARK) == mark]


def _kill_all(
    look: Callable[[], Iterable[psutil.Process]], then: Callable[[], None] = lambda: None
) -> list[str]:
    """Kill the processes that `look` returns until it returns no new one; return their names.

    A process that is already dead may have forked after the processes were listed: its child is in
    the next list.
    """
    import psutil

    names: dict[psutil.Process, str] = {}
    dead: set[psutil.Process] = set()
    ends = time.monotonic() + SECONDS
    while True:
        found = [each for each in look() if each not in dead]
        for each in found:
            try:
                if each.status() == psutil.STATUS_ZOMBIE:
                    dead.add(each)
                else:
                    names.setdefault(each, each.name())
                    each.kill()
            except psutil.NoSuchProcess:
                dead.add(each)
            except psutil.Error:
                continue
        then()
        if not found or time.monotonic() > ends:
            return list(names.values())
        time.sleep(PAUSE_SECONDS)


def _has_children() -> bool:
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def _reap() -> None:
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
