"""End what a process has started, also what has left its group, its session or its parent."""

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
"""The variable by which the processes that a process has started are known, also once it is gone.
All of them inherit it, but for one that clears its environment."""
SECONDS = 2.0
"""After this a process that cannot be killed, as one that waits for a broken disk, is left."""
PAUSE_SECONDS = 0.005
SET_CHILD_SUBREAPER = 36
"""PR_SET_CHILD_SUBREAPER of Linux's prctl(2)."""


def new_mark() -> str:
    """Return a value for the variable MARK that no other tree has."""
    return uuid.uuid4().hex


@functools.cache
def adopt_orphans() -> None:
    """Become the parent of each descendant whose own parent ends (Linux alone can).

    Without it a process that forks twice is a child of init, and nobody knows whose it was.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def is_running(process: psutil.Process | int) -> bool:
    """Return whether a process, or the one with this id, runs.

    A zombie process (not yet reaped, as in a container without an init) counts as dead.
    """
    import psutil

    try:
        found = psutil.Process(process) if isinstance(process, int) else process
        return bool(found.is_running() and found.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def end_descendants() -> list[str]:
    """End every process that this one has started and that still runs; return their names."""
    if not _has_children():
        return []
    import psutil

    own = psutil.Process()
    return _kill_all(lambda: own.children(recursive=True), then=_reap)


def end_tree(leader: subprocess.Popen[bytes], mark: str = "") -> None:
    """End a child process that leads its group, with its group, at once, and wait for it.

    With the mark that it was given in its environment also all else that it has started.
    """
    if mark:
        # It starts nothing more while the others are looked for, and still adopts them.
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
    """The processes that have the mark in the environment that they began with."""
    import psutil

    every = psutil.process_iter(["environ"])
    return [each for each in every if (each.info["environ"] or {}).get(MARK) == mark]


def _kill_all(
    look: Callable[[], Iterable[psutil.Process]], then: Callable[[], None] = lambda: None
) -> list[str]:
    """Kill the processes found until a search finds no new one; return the names of the killed.

    A process that is dead when it is found may have forked after the processes were listed: its
    child is in the next list.
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
