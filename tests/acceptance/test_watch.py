"""`zoo watch`: what it draws fits, and it leaves the terminal as it was."""

from __future__ import annotations

import codecs
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from helpers.command_line import Zoo, until
from helpers.job_rows import end, spec

from zoo import jobs
from zoo.cli.render import dashboard
from zoo.jobs import Database, Filter, ProgressUpdate, Worker

OPEN, CLOSE = "\x1b[?1049h", "\x1b[?1049l"
HOME = "\x1b[H"
SHOW_CURSOR = "\x1b[?25h"


@pytest.fixture
def busy(db: Database) -> Database:
    """Jobs of every status that is seen; two run, one of them with progress and a log."""
    jobs.add(db, [spec(seed=n) for n in range(6)], group_kind="seeds")
    end(db, [0.5, None])
    first, _ = claim(db), claim(db)
    at = jobs.clock(db)
    steps = {"phase": "fit", "since": at - 6, "step": 3, "total": 10, "unit": "epoch"}
    lines = [(0, "one\ntwo\n\n"), (9, "a \x1b[2J line\n")]
    jobs.beat(db, first, lease=60, update=ProgressUpdate(steps, at - 6, [], lines))
    return db


def claim(db: Database) -> jobs.Claim:
    found = jobs.claim(
        db, pool="default", models={"logistic": "p"}, datasets=["digits"], worker="w", lease=60
    )
    assert found is not None
    return found[0]


def test_a_look_sees_counts_progress_ends_and_the_last_log_line(busy: Database) -> None:
    seen = jobs.overview(busy)
    assert seen.counts == {"queued": 2, "running": 2, "succeeded": 1, "failed": 1}
    known, told = seen.estimates[seen.running[0].id], seen.running[0].progress
    assert (known.part, known.steps) == (0.3, "epoch 3/10")
    assert known.left and known.left >= 14
    assert (
        jobs.estimate_running(busy, seen.running, (told.since or 0) + 6)[seen.running[0].id].left
        == 14
    )
    assert [job.status for job in seen.ended] == ["failed", "succeeded"]
    assert seen.last_minute == 2
    assert seen.logs == {seen.running[0].id: ((1, 9), "a \x1b[2J line")}


def test_a_look_through_a_filter_sees_its_jobs_alone(busy: Database) -> None:
    seen = jobs.overview(busy, Filter(statuses=["running", "failed"]))
    assert seen.counts == {"running": 2, "failed": 1} and len(seen.ended) == 1


def test_without_steps_equal_jobs_tell_how_long_it_will_take(db: Database) -> None:
    params = {"epochs": 3}
    jobs.add(db, [spec(params=params), spec(params=params), spec(params={"epochs": 9})])
    end(db, [0.5])
    with db.write() as rows:
        rows.run("UPDATE job SET finished_at = started_at + 100 WHERE status = 'succeeded'")
    claim(db), claim(db)
    equal, other = jobs.overview(db).running
    found = jobs.estimate_running(db, [equal, other], (equal.started_at or 0) + 25)
    assert (found[equal.id].part, found[equal.id].left) == (0.25, 75)
    assert found[other.id].left is None


def look(db: Database, workers: int = 2) -> dashboard.Look:
    shared: Any = {"host": "h", "pid": 1, "pool": "default", "slots": 2, "busy": 1, "version": "1"}
    shared |= {"state": "online", "models": [], "started_at": 0.0, "beat_at": 0.0}
    some = [Worker(id=str(n), name=f"worker-{n}", **shared) for n in range(workers)]
    seen = jobs.overview(db)
    log = (seen.running[0].id, "a \x1b[2J line")
    return dashboard.Look(seen, some, "sqlite:///a/long/way/to/zoo.db", log)


def test_a_frame_fits_whatever_the_terminals_size(busy: Database) -> None:
    seen = look(busy, workers=9)
    for width in (20, 59, 80, 160):
        for height in (3, 8, 14, 24, 60):
            lines = dashboard.lines(seen, width, height)
            assert len(lines) <= height
            assert all(line.cell_len <= width and line.plain.isprintable() for line in lines)
            assert "zoo watch" in lines[0].plain


def test_eighty_columns_have_room_for_the_time_that_is_left(busy: Database) -> None:
    lines = [line.plain for line in dashboard.lines(look(busy), 80, 24)]
    assert any(re.search(r"epoch 3/10 +\d+ s", line) for line in lines)


def test_a_wide_frame_has_bars_progress_workers_and_the_log_line(busy: Database) -> None:
    text = "\n".join(line.plain for line in dashboard.lines(look(busy), 160))
    assert re.search(r"logistic seed 2 +digits +━{16} +epoch 3/10 +\d+ s", text)
    assert re.search(r"worker-1 +1/2 slots +default +online", text)
    assert "2 queued   2 running   2 ended in the last minute" in text
    assert text.endswith("a  line") and "silent" not in text
    unwell = replace(look(busy, workers=0), states={"online": 1, "sick": 2, "silent": 12})
    text = "\n".join(line.plain for line in dashboard.lines(unwell, 160))
    assert "no worker is online\n  2 sick, 12 silent" in text
    assert dashboard.plain(unwell).endswith("; workers: 2 sick, 12 silent")


class Screen:
    """`zoo watch` on a terminal of its own."""

    def __init__(self, zoo: Zoo) -> None:
        self.ours, theirs = pty.openpty()
        self.resize(100, 30)
        self.mode = termios.tcgetattr(theirs)
        # Python's readline sets both where pytest has no terminal.
        env = {name: value for name, value in zoo.env.items() if name not in ("COLUMNS", "LINES")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "zoo", "watch"],
            env=env | {"TERM": "xterm-256color"},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        self.theirs = theirs
        self.text = ""
        # A read may end within a letter of three bytes.
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def resize(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self.ours, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def read(self) -> str:
        while select.select([self.ours], [], [], 0)[0]:
            self.text += self._decoder.decode(os.read(self.ours, 65536))
        return self.text

    def fills(self, columns: int, rows: int) -> bool:
        """Whether the newest frame has come whole, and is of that size."""
        newest = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.read().rpartition(HOME)[2])
        return [len(line) for line in newest.split("\r\n")] == [columns] * rows

    def press(self, key: bytes) -> None:
        os.write(self.ours, key)

    def ends(self) -> int:
        until(lambda: (self.read(), self.process.poll() is not None)[1])
        self.read()
        return int(self.process.returncode)

    def is_clean(self) -> bool:
        """The screen before is back, with its cursor, and keys are shown again."""
        after = self.text.rindex(CLOSE) > self.text.rindex(OPEN)
        return after and SHOW_CURSOR in self.text and termios.tcgetattr(self.theirs) == self.mode

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self.ours)
        os.close(self.theirs)


@pytest.fixture
def screen(zoo: Zoo) -> Iterator[Screen]:
    jobs.add(zoo.database(), [spec()])
    found = Screen(zoo)
    yield found
    found.close()


def test_q_leaves_the_terminal_as_it_was_also_after_a_resize(screen: Screen) -> None:
    until(lambda: "1 queued" in re.sub(r"\x1b\[[0-9;]*m", "", screen.read()))
    until(lambda: screen.fills(100, 30))
    screen.resize(60, 12)
    until(lambda: screen.fills(60, 12))
    screen.press(b"\x1a")  # Ctrl-Z would leave the shell on our screen
    screen.press(b"q")
    assert screen.ends() == 0 and screen.is_clean()


@pytest.mark.parametrize(
    ("how", "code"),
    [(b"\x03", 130), (signal.SIGTERM, 128 + signal.SIGTERM)],
    ids=["ctrl-c", "term"],
)
def test_an_interrupt_and_a_signal_leave_it_clean_too(
    screen: Screen, how: bytes | signal.Signals, code: int
) -> None:
    until(lambda: OPEN in screen.read() and "queued" in screen.text)
    if isinstance(how, bytes):
        screen.press(how)
    else:
        screen.process.send_signal(how)
    assert screen.ends() == code and screen.is_clean()
    assert "Traceback" not in screen.text and "Aborted" not in screen.text


def test_a_database_that_goes_away_is_told_on_the_screen_and_looked_for_again(
    screen: Screen, zoo: Zoo
) -> None:
    until(lambda: "queued" in screen.read())
    file = Path(zoo.settings.home) / "zoo.db"
    moved = file.with_name("away.db")
    for name in ("", "-wal", "-shm"):
        if Path(f"{file}{name}").exists():
            Path(f"{file}{name}").rename(f"{moved}{name}")
    until(lambda: "Trying again" in screen.read())
    screen.press(b"q")
    assert screen.ends() == 0 and screen.is_clean()


def test_a_pipe_gets_a_plain_line_and_once_a_whole_frame(zoo: Zoo) -> None:
    jobs.add(zoo.database(), [spec()])
    whole = zoo.run("watch", "--once").stdout
    assert "1 queued" in whole and "no worker is online" in whole and "\x1b" not in whole
    process = zoo.start("watch")
    assert process.stdout is not None
    assert "1 queued; 0 ended in the last minute" in process.stdout.readline()
    process.send_signal(signal.SIGINT)
    assert process.wait(120) == 130
