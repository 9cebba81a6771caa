"""Whatever a process has started ends with it, however it has tried to get away."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from support import until

from zoo import process_tree

WAYS = {
    "a child": "subprocess.Popen(sleep)",
    "a session of its own": "subprocess.Popen(sleep, start_new_session=True)",
    "a child of a child": "subprocess.Popen(['sh', '-c', 'sleep 999 & wait'])",
    "forked twice": "subprocess.run(['sh', '-c', 'setsid sleep 999 &'])",
    "forked without exec": "os.fork() or (os.setsid(), os.fork() and os._exit(0), pause())",
    "deaf to signals": "subprocess.Popen(['sh', '-c', 'trap \"\" TERM HUP INT; sleep 999 & wait'])",
    "without environment": "subprocess.Popen(sleep, env={}, start_new_session=True)",
    "stopped": "os.kill(subprocess.Popen(sleep).pid, signal.SIGSTOP)",
}
STARTED = """
import os, signal, subprocess, sys, time
from zoo import process_tree
sleep = [next(p for p in ("/bin/sleep", "/usr/bin/sleep") if os.path.exists(p)), "999"]
def pause():
    while True:
        time.sleep(1)
process_tree.adopt_orphans()
{way}
time.sleep(0.1)
{end}
"""
ENDS = {
    "it ends them": "print(*process_tree.end_descendants(), flush=True); pause()",
    "it is killed": "print(flush=True); pause()",
    "it has died": "print(flush=True); os.kill(os.getpid(), signal.SIGSEGV)",
}


def family(mark: str) -> list[psutil.Process]:
    """The processes with the mark, and those without environment that sleep for so long."""
    found = []
    for each in psutil.process_iter():
        try:
            is_marked = each.environ().get(process_tree.MARK) == mark
            is_bare = each.cmdline()[1:] == ["999"] and not each.environ()
        except psutil.Error:
            continue
        if is_marked or is_bare:
            found.append(each)
    return [each for each in found if each.status() != psutil.STATUS_ZOMBIE]


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere no process adopts orphans")
@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("way", WAYS)
def test_nothing_stays_that_a_process_has_started(way: str, end: str, tmp_path: Path) -> None:
    if (way, end) == ("without environment", "it has died"):
        pytest.skip("then it has no mark, and nobody has adopted it: SECURITY.md says so")
    mark = process_tree.new_mark()
    code = STARTED.format(way=WAYS[way], end=ENDS[end])
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
            assert [each.pid for each in family(mark)] == [child.pid]
        if end == "it has died":
            child.wait()
    finally:
        process_tree.end_tree(child, mark)
        child.stdout.close()
    until(lambda: not family(mark), 5)


def test_a_process_without_children_looks_for_none(monkeypatch: pytest.MonkeyPatch) -> None:
    code = "import sys; from zoo import process_tree; assert not process_tree.end_descendants()"
    code += "; assert 'psutil' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
