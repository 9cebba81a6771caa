"""One attempt: its folder, and what its runner writes meanwhile: progress, steps, log lines."""

from __future__ import annotations

import codecs
import contextlib
import json
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from zoo import jobs
from zoo.canonical_json import read_json
from zoo.jobs import Database, ProgressUpdate
from zoo_workers.channel import Desk, Handle

LOG = "log.txt"
"""The log's name among the files."""
ENVIRONMENT = "environment.json"
"""Among the files; as in `zoo.training.provenance`, which this process does not import."""


class Attempt:
    """The folder of one attempt, and what its runner writes at its desk."""

    def __init__(
        self, folder: Path, log_kb: int, clock: Callable[[float], float] = lambda at: at
    ) -> None:
        """`clock` gives the database's time of a `time.monotonic` of this machine."""
        self._clock = clock
        self.folder = folder
        """Where the job runs: what it writes to a relative path is removed with it."""
        self.files = folder / "files"
        """What becomes the artifact."""
        self.source = folder / "source"
        """Where the trained model that an evaluation judges is put."""
        self.texts: dict[str, str] = {}
        """The small files of the artifact, which are not in the folder."""
        self._desk: Desk | None = None
        self._lock = threading.Lock()
        self._log_limit = log_kb * 1024
        self._log = bytearray()
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._progress_at = 0
        self._progress: dict[str, Any] = {}
        self._is_new = False
        self._fit_started_at: float | None = None
        self._steps: list[tuple[int, dict[str, Any]]] = []
        self._lines: list[tuple[int, str]] = []

    def environment(self) -> dict[str, Any] | None:
        """What the runner has told about where and of what the job is run, if it came so far."""
        text = self.texts.get(ENVIRONMENT)
        return read_json(text) if text else None

    @property
    def has_begun(self) -> bool:
        """Whether the runner has told of anything: it had taken up the job."""
        with self._lock:
            self._read()
        return bool(self._progress or self.texts)

    def make(self) -> None:
        """Make the folder with an empty one for the files."""
        try:
            self.folder.mkdir(parents=True)
        except FileExistsError:
            self.remove()
            self.folder.mkdir()
        self.files.mkdir()

    @contextlib.contextmanager
    def at(self, desk: Desk) -> Iterator[None]:
        """Read what is written at the desk, from now on and to the end."""
        desk.clear()
        self._desk = desk
        try:
            yield
        finally:
            # Somebody else's job may write there next.
            with self._lock:
                self._read()
                self._desk = None

    def news(self) -> ProgressUpdate:
        """What the runner has written and `told` has not yet confirmed."""
        with self._lock:
            self._read()
        progress = dict(self._progress) if self._is_new else None
        return ProgressUpdate(
            progress, self._fit_started_at, tuple(self._steps), tuple(self._lines)
        )

    def told(self, news: ProgressUpdate) -> None:
        """Forget what the database now has."""
        del self._steps[: len(news.steps)], self._lines[: len(news.lines)]
        self._is_new = False
        self._fit_started_at = None

    def _read(self) -> None:
        if self._desk is None:
            return
        for fact in self._read_progress(self._desk.progress):
            self._hear(fact)
        self._lines += self._read_log(self._desk.log)

    def _hear(self, fact: dict[str, Any]) -> None:
        if "text" in fact:
            self.texts[fact["file"]] = fact["text"]
            return
        if "phase" in fact:
            since = self._clock(fact["at"])
            self._progress = {"phase": fact["phase"], "since": since}
            if fact["phase"] == "fit":
                self._fit_started_at = since
        else:
            self._progress |= fact
            if "at" in fact:
                self._progress["at"] = self._clock(fact["at"])
            # Progress within an epoch has no metrics: it is shown, not kept.
            if fact["metrics"]:
                self._steps.append((fact["step"], fact["metrics"]))
        self._is_new = True

    def _read_progress(self, file: Handle) -> list[dict[str, Any]]:
        content = file.read(self._progress_at, file.size() - self._progress_at)
        # A line without its end is still being written.
        whole = content[: content.rfind(b"\n") + 1]
        self._progress_at += len(whole)
        facts: list[dict[str, Any]] = json.loads(b"[%b]" % b",".join(whole.splitlines()))
        return facts

    def _read_log(self, file: Handle) -> list[tuple[int, str]]:
        start = len(self._log)
        left = self._log_limit - start
        if left <= 0:
            # The runner appends, so a job that prints without end fills no disk.
            if file.size() > 2 * self._log_limit:
                file.cut(self._log_limit)
            return []
        content = file.read(start, left)
        self._log += content
        # A letter whose bytes are only half written is kept for the next look.
        text = self._decoder.decode(content).replace("\0", "")
        if len(content) == left:
            text += f"\n[the log is cut here, at {self._log_limit // 1024} kB]\n"
        return [(start, text)] if text else []

    def keep_log(self) -> None:
        """Put the log among the files, cut to its limit; none if nothing was printed."""
        if self._log:
            (self.files / LOG).write_bytes(self._log)

    def remove(self) -> None:
        try:
            self.folder.rmdir()  # most often all of it has become the artifact
        except FileNotFoundError:
            pass
        except OSError:
            shutil.rmtree(self.folder, ignore_errors=True)


def sweep(db: Database, work: Path) -> None:
    """Remove the folders of attempts that are over: a worker that was killed left them."""
    for folder in work.glob("*-*"):
        job, n = folder.name.split("-")[:2]
        over = [str(each["n"]) for each in jobs.attempts(db, job) if each["ended_at"] is not None]
        # An attempt that the rows do not know may be that of another database's worker.
        if n in over:
            shutil.rmtree(folder, ignore_errors=True)
