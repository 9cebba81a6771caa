"""Whatever a process has started ends with it, however it has tried to get away."""

from __future__ import annotations

import contextlib
import os
import secrets
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from helpers.command_line import until

from zoo import process_tree

WAYS = {
    "a child": "subprocess.Popen(sleep)",
    "a session of its own": "subprocess.Popen(sleep, start_new_session=True)",
    "a child of a child": "subprocess.Popen(['sh', '-c', 'sleep @SECONDS@ & wait'])",
    "forked twice": "subprocess.run(['sh', '-c', 'setsid sleep @SECONDS@ &'])",
    "forked without exec": "os.fork() or (os.setsid(), os.fork() and os._exit(0), pause())",
    "forking again and again": "fork_chain(30)",
    "deaf to signals": "subprocess.Popen(['sh', '-c', 'trap \"\" TERM HUP INT; sleep @SECONDS@'])",
    "without environment": "subprocess.Popen(sleep, env={}, start_new_session=True)",
    "stopped": "os.kill(subprocess.Popen(sleep).pid, signal.SIGSTOP)",
}
STARTED = """
import os, signal, subprocess, sys, time
from zoo import process_tree
sleep = [next(p for p in ("/bin/sleep", "/usr/bin/sleep") if os.path.exists(p)), "@SECONDS@"]
def pause():
    while True:
        time.sleep(1)
def fork_chain(length):  # each process exits as soon as it has forked
    if os.fork() == 0:
        os.setsid()
        for _ in range(length):
            time.sleep(0.01)
            if os.fork():
                os._exit(0)
        pause()
process_tree.SECONDS = 60  # whatever else the machine does
process_tree.adopt_orphans()
@WAY@
time.sleep(0.1)
@END@
"""
ENDS = {
    "it ends them": "print(*process_tree.end_descendants(), flush=True); pause()",
    "it is killed": "print(flush=True); pause()",
    "it has died": "print(flush=True); os.kill(os.getpid(), signal.SIGSEGV)",
}

NOT_FOUND = {
    "without environment": "it has no mark and no adoptive parent: see SECURITY.md",
    "forking again and again": "it has no adoptive parent that keeps the dead ones' places",
}
"""The ways that a process gets away if the one that started it has died."""


def family(mark: str, seconds: str) -> list[psutil.Process]:
    """The processes with the mark, and those without environment that sleep for these seconds."""
    found = []
    for each in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            is_marked = each.environ().get(process_tree.MARK) == mark
            is_bare = each.cmdline()[1:] == [seconds] and not each.environ()
            if (is_marked or is_bare) and each.status() != psutil.STATUS_ZOMBIE:
                found.append(each)
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere no process adopts orphans")
@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("way", WAYS)
def test_nothing_stays_that_a_process_has_started(way: str, end: str, tmp_path: Path) -> None:
    if end == "it has died" and way in NOT_FOUND:
        pytest.skip(NOT_FOUND[way])
    mark = process_tree.new_mark()
    # Unlike those of any other test that runs now: its `sleep` may have no mark.
    seconds = str(10**6 + secrets.randbelow(10**9))
    code = STARTED.replace("@WAY@", WAYS[way]).replace("@END@", ENDS[end])
    code = code.replace("@SECONDS@", seconds)
    child = subprocess.Popen(
        [sys.executable, "-c", code],
        env=os.environ | {process_tree.MARK: mark},
        stdout=subprocess.PIPE,
        start_new_session=True,
        cwd=tmp_path,
    )
    assert child.stdout is not None
    try:
        said = child.stdout.readline()
        if end == "it ends them":
            assert said.strip()
            assert [each.pid for each in family(mark, seconds)] == [child.pid]
        if end == "it has died":
            child.wait()
    finally:
        process_tree.end_tree(child, mark)
        child.stdout.close()
    until(lambda: not family(mark, seconds), 5)


def test_a_process_without_children_looks_for_none(monkeypatch: pytest.MonkeyPatch) -> None:
    code = "import sys; from zoo import process_tree; assert not process_tree.end_descendants()"
    code += "; assert 'psutil' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
