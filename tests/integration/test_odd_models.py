"""A warm worker lives through whatever a model does, says it in a sentence, and nothing stays."""

from __future__ import annotations

import csv
import textwrap
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from helpers.command_line import FAST, Zoo, share, until

from zoo import jobs

ODD = '''
"""Models that do odd things, each in its own way."""
import zoo


class Odd(zoo.Model):
    """Odd on purpose."""

    name = "odd"

    class Params(zoo.Params):
        how: str = zoo.param("ok", help="what it does")
        seconds: float = zoo.param(0.0, help="it fits for so long")

    def act(self, when, folder=None):
        import os, signal, subprocess, sys, time
        from pathlib import Path

        action = ACTIONS[self.params.how]
        if action[0] == when:
            exec(action[1], {**globals(), **locals()})

    def fit(self, x, y, report):
        import time

        self.report = report
        self.act("fit")
        for step in range(int(self.params.seconds * 10)):
            time.sleep(0.1)
            report(step + 1, int(self.params.seconds * 10), "fit")
        report(1, 1, "fit")

    def predict_proba(self, x):
        import numpy as np

        p = np.full((len(x), self.n_classes), 1 / self.n_classes)
        action = ACTIONS[self.params.how]
        if action[0] == "predict":
            p = eval(action[1], {"p": p, "np": np})
        return p

    def save(self, folder):
        (folder / "w.txt").write_text("x")
        self.act("save", folder)

    def load(self, folder):
        pass


@zoo.hookimpl
def register_models(register):
    register(Odd)


SLEEP = ["sleep", "@MARK@"]
ACTIONS = @ACTIONS@
'''
SUCCEEDS, FAILS = "succeeded", "failed"
ACTIONS: dict[str, tuple[str, str, str, str]] = {
    "ok": ("fit", "pass", SUCCEEDS, ""),
    # what it says of images
    "nan": ("predict", "p * np.nan", FAILS, "finite"),
    "onenan": ("predict", "np.where(np.arange(len(p)) == 0, np.nan, p.T).T", FAILS, "finite"),
    "inf": ("predict", "p * np.inf", FAILS, "finite"),
    "unnormalised": ("predict", "p * 3", FAILS, "sum"),
    "negative": ("predict", "p - 1", FAILS, "negative"),
    "shape": ("predict", "p[:, :-1]", FAILS, "(360, 9)"),
    # what it tells and prints
    "nanreport": (
        "fit",
        "report = self.report; report(1, 2, 'fit', loss=float('nan'))",
        SUCCEEDS,
        "",
    ),
    "print": ("fit", "print('\\r1 epoch', end=''); print('\\x1b[31mred')", SUCCEEDS, ""),
    "bytes": ("fit", "os.write(1, b'\\xff\\xfe raw\\n')", SUCCEEDS, ""),
    "huge": ("fit", "[print('x' * 200) for _ in range(20_000)]", SUCCEEDS, ""),
    # how it ends
    "exit": ("fit", "os._exit(3)", FAILS, "exit code 3"),
    "sysexit": ("fit", "sys.exit(4)", FAILS, "SystemExit"),
    "kbd": ("fit", "raise KeyboardInterrupt", FAILS, "KeyboardInterrupt"),
    "segv": ("fit", "os.kill(os.getpid(), signal.SIGSEGV)", FAILS, "signal 11"),
    "raise": ("fit", "raise ValueError('no')", FAILS, "ValueError: no"),
    # what it leaves running
    "fork": ("fit", "subprocess.Popen(SLEEP)", SUCCEEDS, ""),
    "session": ("fit", "subprocess.Popen(SLEEP, start_new_session=True)", SUCCEEDS, ""),
    "forked twice": ("fit", "subprocess.run(['sh', '-c', 'setsid sleep @MARK@ &'])", SUCCEEDS, ""),
    "left in save": ("save", "subprocess.Popen(SLEEP, start_new_session=True)", SUCCEEDS, ""),
    "left, then exit": (
        "fit",
        "subprocess.Popen(SLEEP, start_new_session=True); os._exit(3)",
        FAILS,
        "exit code 3",
    ),
    "left, then too slow": (
        "fit",
        "subprocess.run(['sh', '-c', 'setsid sleep @MARK@ &']); time.sleep(999)",
        "timed_out",
        "limit",
    ),
    # what it leaves on disk
    "relative path": ("fit", "Path('relative-@MARK@').write_text('x')", SUCCEEDS, ""),
    "save to a relative path": (
        "save",
        "Path('w-@MARK@').write_text('x')",
        FAILS,
        "outside its folder",
    ),
    "beside": ("save", "(folder / '../beside').write_text('x')", FAILS, "outside its folder"),
    "escape": ("save", "(folder / '../../escaped').write_text('x')", FAILS, "outside its folder"),
    "link": ("save", "(folder / 'a').symlink_to('/etc/passwd')", FAILS, "a link"),
    "hard link": ("save", "os.link(folder / 'w.txt', folder / 'a')", FAILS, "a hard link"),
    "pipe": ("save", "os.mkfifo(folder / 'a')", FAILS, "a pipe"),
    "no folder": ("save", "import shutil; shutil.rmtree(folder)", FAILS, "removed the folder"),
    "pickle": (
        "save",
        "import pickle; (folder / 'm').write_bytes(pickle.dumps(os.getcwd))",
        FAILS,
        "m is a pickle",
    ),
    "hdf5": ("save", r"(folder / 'm').write_bytes(b'\x89HDF\r\n\x1a\n')", FAILS, "an HDF5 file"),
    "100 GB": ("save", "os.truncate(folder / 'w.txt', 100 * 2**30)", FAILS, "ZOO_ARTIFACT_MB"),
    "files in fit": (
        "fit",
        "self.folder.mkdir(); (self.folder / 'log').write_bytes(bytes(2**22)); time.sleep(999)",
        FAILS,
        "ZOO_ARTIFACT_MB",
    ),
}
"""By `how`: when it acts, what it does, how the job ends, and words of the sentence."""
NAMED = ("fork", "session", "forked twice", "left in save")


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Iterator[tuple[Zoo, str]]:
    """One warm worker with the model, and the mark of all that the model leaves."""
    # As seconds that nobody else's `sleep` lasts.
    mark = str(10**6 + uuid.uuid4().int % 10**8)
    home = share(cache, tmp_path_factory.mktemp("odd") / "home")
    (home / "plugins").mkdir()
    actions = repr({how: action[:2] for how, action in ACTIONS.items()})
    text = textwrap.dedent(ODD).replace("@ACTIONS@", actions).replace("@MARK@", mark)
    (home / "plugins" / "odd.py").write_text(text)
    few = {"ZOO_SLOTS": "2", "ZOO_MAX_ATTEMPTS": "1", "ZOO_ARTIFACT_MB": "2"}
    found = Zoo(home, **FAST | few)
    found.run("up")
    yield found, mark
    found.close()


def ended_jobs(zoo: Zoo) -> dict[str, Any]:
    trials = zoo.home / "trials.csv"
    with trials.open("w", newline="") as file:
        csv.writer(file).writerows([["how"], *([how] for how in ACTIONS)])
    zoo.run(
        "sweep", "odd", "--dataset", "digits", "--trials-from", str(trials), "--timeout", "5", "-d"
    )
    trials.unlink()
    db = zoo.database()
    until(lambda: not {"queued", "running"} & {name for name, n in jobs.counts(db).items() if n})
    every = zoo.json("jobs", "--limit", "100")
    return {job["params"]["how"]: job for job in every}


def test_odd_models_each_end_in_a_sentence_and_nothing_stays(odd: tuple[Zoo, str]) -> None:
    zoo, mark = odd
    before = zoo.json("worker", "list")[0]
    ended = ended_jobs(zoo)
    assert set(ended) == set(ACTIONS)
    wrong = {}
    for how, (_, _, status, words) in ACTIONS.items():
        said = (ended[how]["error"] or {}).get("message", "")
        if ended[how]["status"] != status or words not in said or "\n" in said:
            wrong[how] = (ended[how]["status"], said)
    assert wrong == {}
    for how in NAMED:
        log = "".join(each.text for each in jobs.log_after(zoo.database(), ended[how]["id"]))
        assert "The job has left processes, which were ended" in log, how
    assert not left_running(mark)
    assert not list((zoo.home / "work").iterdir())
    assert not list(zoo.home.rglob(f"*{mark}*"))
    assert not list(zoo.home.rglob("*escaped*"))
    after = zoo.json("worker", "list")[0]
    assert (after["name"], after["pid"]) == (before["name"], before["pid"])


def left_running(mark: str) -> list[psutil.Process]:
    found = []
    for each in psutil.process_iter(["cmdline"]):
        if mark in (each.info["cmdline"] or []):
            found.append(each)
    return found
