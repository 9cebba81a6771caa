"""What a job changes of the process that runs it, the next job does not meet."""

from __future__ import annotations

import csv
import itertools
import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.command_line import FAST, Zoo, share, until

from zoo import jobs
from zoo.plugins import import_guard, process_state

PLUGIN = '''
"""A model that says how it finds its process, and then changes that."""
import zoo


def state():
    import builtins, decimal, gc, locale, logging, os, random, resource, signal, socket, sys
    import tempfile, threading, time, warnings
    import numpy as np

    umask = os.umask(0)
    os.umask(umask)
    timers = [signal.getitimer(k) for k in (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL)]
    root = logging.root
    return {
        "variables": sorted(x for x in os.environ.items() if x[0] != "ZOO_PROCESS_TREE"),
        "umask": umask,
        "folder": os.listdir() == ["files"],
        "streams": [str(x and x.closed) for x in (sys.stdin, sys.stdout, sys.stderr)],
        "signals": [str(signal.getsignal(s)) for s in sorted(signal.valid_signals())],
        "blocked": sorted(map(int, signal.pthread_sigmask(signal.SIG_BLOCK, ()))),
        "timers": timers,
        "warnings": [
            str(f) for f in warnings.filters
            if not f[1] and not f[3] and f[2].__module__ == "builtins"
        ],
        "showwarning": warnings.showwarning.__module__,
        "logging": [str(root.handlers), root.level, root.manager.disable],
        "locale": locale.setlocale(locale.LC_ALL),
        "random": [random.random(), np.random.random()],
        "limits": [resource.getrlimit(r) for r in range(16)],
        "threads": len(threading.enumerate()),
        "files": len(os.listdir("/proc/self/fd")) > 60,
        "gc": [gc.isenabled(), gc.get_threshold()],
        "socket": socket.getdefaulttimeout(),
        "decimal": decimal.getcontext().prec,
        "zone": time.tzname,
        "recursion": sys.getrecursionlimit(),
        "path": sys.path,
        "argv": sys.argv[0],
        "priority": os.getpriority(os.PRIO_PROCESS, 0),
        "cores": sorted(os.sched_getaffinity(0)),
        "numpy": [np.geterr(), np.get_printoptions()["precision"]],
        "print": builtins.print.__module__,
        "hooks": [sys.excepthook.__module__, threading.excepthook.__module__],
        "tracing": str([sys.gettrace(), sys.getprofile()]),
        "digits": sys.get_int_max_str_digits(),
        "temporary": tempfile.gettempdir(),
        "root": os.path.exists("/proc"),
    }


class Changing(zoo.Model):
    """Changes its process."""

    name = "changing"

    class Params(zoo.Params):
        how: str = zoo.param("nothing", help="what it does")

    def fit(self, x, y, report):
        import json, os

        os.write(1, json.dumps([os.getpid(), state()], default=str).encode() + b"\\n")
        act(WAYS[self.params.how])
        report(1, 1, "fit")

    def predict_proba(self, x):
        import numpy as np

        return np.full((len(x), self.n_classes), 1 / self.n_classes)

    def save(self, folder):
        (folder / "w.txt").write_text("x")

    def load(self, folder):
        pass


def act(code):
    import os, signal, sys, threading, time, warnings

    exec(code, {**globals(), **locals()})


@zoo.hookimpl
def register_models(register):
    register(Changing)


KEPT = []
WAYS = @WAYS@
'''
SAME, NEW, ENDED = "goes on", "is replaced", "has ended"
EITHER = "goes on if it may raise its priority"
WAYS: dict[str, tuple[str, str, str]] = {
    "variables": ("os.environ['OMP_NUM_THREADS'] = '77'; del os.environ['PATH']", SAME, ""),
    "no variables": ("os.environ.clear()", SAME, ""),
    "zone": ("os.environ['TZ'] = 'Asia/Seoul'; time.tzset()", SAME, ""),
    "umask": ("os.umask(0)", SAME, ""),
    "folder": ("os.chdir('/')", SAME, ""),
    "no folder": ("os.mkdir('a'); os.chdir('a'); os.rmdir('../a')", SAME, ""),
    "other streams": ("import io; sys.stdout = sys.stderr = io.StringIO()", SAME, ""),
    "no streams": ("sys.stdin = sys.stdout = sys.stderr = None", SAME, ""),
    "no streams, then raises": ("sys.stdout = sys.stderr = None; 1 / 0", SAME, "ZeroDivision"),
    "closed stream": ("sys.stdout.close()", NEW, "standard streams"),
    "closed streams, then raises": (
        "sys.stdout.close(); sys.stderr.close(); 1 / 0",
        NEW,
        "ZeroDivisionError: division by zero",
    ),
    "closed files": ("os.close(1); os.close(2)", SAME, ""),
    "all files closed": ("os.closerange(3, 256)", ENDED, ""),
    "open files": ("KEPT.extend(open('/dev/null') for _ in range(99))", NEW, "open files"),
    "handlers": (
        "[signal.signal(s, lambda *_: None) for s in (signal.SIGTERM, signal.SIGCHLD)]",
        SAME,
        "",
    ),
    "ignored": (
        "[signal.signal(s, signal.SIG_IGN) for s in (signal.SIGTERM, signal.SIGCHLD)]",
        SAME,
        "",
    ),
    "blocked": ("signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())", SAME, ""),
    "timer": ("signal.setitimer(signal.ITIMER_REAL, 0.1 + 60)", SAME, ""),
    "warnings": ("warnings.simplefilter('error')", SAME, ""),
    "showwarning": ("warnings.showwarning = lambda *a, **k: 1 / 0", SAME, ""),
    "logging": ("import logging; logging.basicConfig(level=1); logging.disable(50)", SAME, ""),
    "locale": ("import locale; locale.setlocale(locale.LC_ALL, 'C')", SAME, ""),
    "random": ("import random, numpy; random.seed(1); numpy.random.seed(7)", SAME, ""),
    "size of files": (
        "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (9, resource.RLIM_INFINITY))",
        SAME,
        "",
    ),
    "number of files": (
        "from resource import *; setrlimit(RLIMIT_NOFILE, (40, getrlimit(RLIMIT_NOFILE)[1]))",
        SAME,
        "",
    ),
    "thread": ("threading.Thread(target=time.sleep, args=(99,), name='left').start()", NEW, "left"),
    "daemon": ("threading.Thread(target=time.sleep, args=(99,), daemon=True).start()", NEW, "thre"),
    "tqdm": ("import tqdm, io; [*tqdm.tqdm(range(9), file=io.StringIO())]", SAME, ""),
    "short thread": ("threading.Thread(target=time.sleep, args=(0.01,)).start()", SAME, ""),
    "garbage": ("import gc; gc.disable(); gc.set_threshold(1)", SAME, ""),
    "timeout": ("import socket; socket.setdefaulttimeout(0.001)", SAME, ""),
    "decimal": ("import decimal; decimal.getcontext().prec = 1", SAME, ""),
    "temporary folder": ("import tempfile; tempfile.tempdir = '/nowhere'", SAME, ""),
    "recursion": ("sys.setrecursionlimit(10**6)", SAME, ""),
    "path": ("sys.path.append('/nowhere'); sys.argv[:] = ['x']", SAME, ""),
    "priority": ("os.nice(3)", EITHER, ""),
    "cores": ("os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})", SAME, ""),
    "numpy": (
        "import numpy; numpy.seterr(all='ignore'); numpy.set_printoptions(precision=1)",
        SAME,
        "",
    ),
    "print": ("import builtins; builtins.print = None", SAME, ""),
    "hooks": ("sys.excepthook = threading.excepthook = lambda *_: os._exit(1)", SAME, ""),
    "tracing": ("sys.settrace(lambda *_: None); sys.setprofile(lambda *_: None)", SAME, ""),
    "digits": ("sys.set_int_max_str_digits(640)", SAME, ""),
    # A process that it forks goes on with the job, too.
    "fork": ("os.fork()", SAME, ""),
    "fork and wait": ("if os.fork(): os.wait()", SAME, ""),
    "fork that raises": ("if not os.fork(): raise ValueError('child')", SAME, ""),
}
"""By `how`: what it does, what becomes of the process, and words of the job's log."""
FAILS = (
    "no streams, then raises",
    "closed streams, then raises",
    "size of files",
    "all files closed",
)


@pytest.fixture
def changing(tmp_path: Path, cache: Path) -> Iterator[Zoo]:
    home = share(cache, tmp_path / "home")
    (home / "plugins").mkdir()
    text = PLUGIN.replace("@WAYS@", repr({"nothing": ""} | {k: v[0] for k, v in WAYS.items()}))
    (home / "plugins" / "changing.py").write_text(text)
    few = {"ZOO_SLOTS": "1", "ZOO_MAX_ATTEMPTS": "1", "ZOO_JOBS_PER_RUNNER": "1000"}
    found = Zoo(home, **FAST | few)
    found.run("up")
    yield found
    found.close()


def test_the_next_job_meets_nothing_that_a_job_has_changed(changing: Zoo) -> None:
    order = ["nothing", *WAYS]
    trials = changing.home / "trials.csv"
    with trials.open("w", newline="") as file:
        csv.writer(file).writerows([["how"], *([how] for how in order)])
    words = ("--dataset", "digits", "--trials-from", str(trials), "-d")
    changing.run("sweep", "changing", *words)
    db = changing.database()
    until(lambda: not {"queued", "running"} & {name for name, n in jobs.counts(db).items() if n})
    ended = {job["params"]["how"]: job for job in changing.json("jobs", "--limit", "100")}
    assert set(ended) == set(order)
    by_start = sorted(order, key=lambda how: ended[how]["started_at"])
    logs = {
        how: "".join(each.text for each in jobs.log_after(db, job["id"]))
        for how, job in ended.items()
    }
    met = {how: json.loads(log.splitlines()[0]) for how, log in logs.items()}
    _, first = met[by_start[0]]
    wrong: dict[str, Any] = {}
    for before, after in itertools.pairwise(by_start):
        changed = {k: (v, met[after][1][k]) for k, v in first.items() if v != met[after][1][k]}
        _, process, words_of_log = WAYS.get(before, ("", SAME, ""))
        became = SAME if met[before][0] == met[after][0] else NEW
        status = "failed" if before in FAILS else "succeeded"
        is_right = process == EITHER or (became == SAME) == (process == SAME)
        is_right &= words_of_log in logs[before]
        if changed or not is_right or ended[before]["status"] != status:
            wrong[before] = (changed, became, logs[before].splitlines()[1:], ended[before])
    assert wrong == {}
    assert "File too large" in ended["size of files"]["error"]["message"]
    said = ended["all files closed"]["error"]["message"]
    assert "out of memory" not in said and "exit code 1" in said


IMPORTED: dict[str, str] = {
    "folder": "import os; os.chdir('/')",
    "umask": "import os; os.umask(0)",
    "ignored": "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)",
    "alarm": "import signal; signal.alarm(1)",
    "stdout": "import io, sys; sys.stdout = io.StringIO()",
    "stderr": "import sys; sys.stderr = None",
    "print": "import builtins; builtins.print = None",
    "argv": "import sys; sys.argv = []",
    "hook": "import sys; sys.excepthook = None",
    "tracing": "import sys; sys.settrace(lambda *_: None)",
}


@pytest.mark.parametrize("code", IMPORTED.values(), ids=IMPORTED)
@pytest.mark.parametrize("is_broken", [False, True], ids=["sound", "broken"])
def test_a_plugin_changes_nothing_of_the_terminal_by_being_imported(
    code: str, is_broken: bool
) -> None:
    def state() -> list[Any]:
        umask = os.umask(0o077)
        os.umask(umask)
        return [
            Path.cwd(),
            umask,
            signal.getsignal(signal.SIGINT),
            signal.getitimer(signal.ITIMER_REAL),
            sys.stdout,
            sys.stderr,
            print,
            sys.argv,
            sys.excepthook,
        ]

    before = state()
    tracing = sys.gettrace()
    try:
        with import_guard.importing("odd"):
            exec(code, {})
            if is_broken:
                raise ValueError
    except ValueError:
        assert is_broken
    assert state() == before
    assert sys.gettrace() is tracing


def test_no_command_waits_for_a_thread_that_a_plugin_starts_at_import(zoo: Zoo) -> None:
    folder = zoo.home / "plugins"
    folder.mkdir()
    text = "import threading, time\nthreading.Thread(target=time.sleep, args=(999,)).start()\n"
    (folder / "waits.py").write_text(text)
    assert "logistic" in zoo.run("models", timeout=60).stdout


def test_a_plugin_may_set_what_its_framework_reads_and_its_own_path() -> None:
    path = [*sys.path]
    try:
        with import_guard.importing("well"):
            os.environ["ZOO_TEST_FRAMEWORK"] = "1"
            sys.path.append("/nowhere")
        assert os.environ.pop("ZOO_TEST_FRAMEWORK") == "1"
        assert sys.path == [*path, "/nowhere"]
    finally:
        sys.path[:] = path


def test_what_cannot_be_put_back_is_named() -> None:
    with process_state.put_back() as lasting:
        pass
    assert lasting == []
    with process_state.put_back() as lasting:
        kept = [os.open(os.devnull, os.O_RDONLY) for _ in range(process_state.FILES + 1)]
    assert lasting == ["open files"]
    for each in kept:
        os.close(each)
