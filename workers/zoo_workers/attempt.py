"""One attempt's folder, read while the runner writes it: progress, steps and log lines."""

from __future__ import annotations

import codecs
import contextlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

from zoo import jobs
from zoo.errors import UsageError
from zoo.jobs import Database, News
from zoo.strict import read_json
from zoo_workers.runner import FILES, LOG, PROGRESS, SOURCE

ENVIRONMENT = "environment.json"
"""Among the files; as in `zoo.environment`, which this process does not import."""
MAX_ENVIRONMENT = 64 * 1024
"""Bytes; a model that writes there itself fills no row."""


PARTS: dict[str, tuple[type, set[str]]] = {
    **{name: (str, set()) for name in ("fingerprint", "data", "plugin")},
    "versions": (dict, set()),
    "code": (dict, {"sha256", "commit", "dirty"}),
    "machine": (dict, {"host", "cpu", "cores", "threads", "system"}),
}
"""Of an environment: the type, and what must stand in it."""


def _is_environment(found: Any) -> bool:
    """Whether it is what `zoo.environment.measure` gives: a model may have written there too."""
    return isinstance(found, dict) and all(
        isinstance(found.get(name), kind) and needed <= {*found[name]}
        for name, (kind, needed) in PARTS.items()
    )


class Attempt:
    """The folder of one attempt."""

    def __init__(self, folder: Path, log_kb: int) -> None:
        self.folder = folder
        self.files = folder / FILES
        """What becomes the artifact."""
        self._log_limit = log_kb * 1024
        self._log_at = 0
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._progress_at = 0
        self._progress: dict[str, Any] = {}
        self._is_new = False
        self._fit_started_at: float | None = None
        self._steps: list[tuple[int, dict[str, Any]]] = []
        self._lines: list[tuple[int, str]] = []

    @property
    def source(self) -> Path:
        """Where the trained model that an evaluation judges is put."""
        return self.folder / SOURCE

    def environment(self) -> dict[str, Any] | None:
        """What the runner has written about where and of what the job was run, if it came so far.

        To be read before the files are stored, which may move them.
        """
        path = self.files / ENVIRONMENT
        try:
            with path.open("rb") as file:
                found = read_json(file.read(MAX_ENVIRONMENT))
        except (OSError, UsageError):
            return None
        return found if _is_environment(found) else None

    def make(self) -> None:
        """Make the folder, empty."""
        try:
            self.folder.mkdir(parents=True)
        except FileExistsError:
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder.mkdir(parents=True)
        self.files.mkdir()

    def news(self) -> News:
        """What the runner has written and `told` has not yet confirmed."""
        for fact in self._read_progress():
            if "phase" in fact:
                self._progress = {"phase": fact["phase"], "since": fact["at"]}
                if fact["phase"] == "fit":
                    self._fit_started_at = fact["at"]
            else:
                self._progress |= fact
                # Progress within an epoch has no metrics: it is shown, not kept.
                if fact["metrics"]:
                    self._steps.append((fact["step"], fact["metrics"]))
            self._is_new = True
        self._lines += self._read_log()
        progress = dict(self._progress) if self._is_new else None
        return News(progress, self._fit_started_at, tuple(self._steps), tuple(self._lines))

    def told(self, news: News) -> None:
        """Forget what the database now has."""
        del self._steps[: len(news.steps)], self._lines[: len(news.lines)]
        self._is_new = False
        self._fit_started_at = None

    def _read_progress(self) -> list[dict[str, Any]]:
        try:
            with (self.folder / PROGRESS).open("rb") as file:
                file.seek(self._progress_at)
                content = file.read()
        except FileNotFoundError:  # not yet there, or swept: the claim is lost
            return []
        # A line without its end is still being written.
        whole = content[: content.rfind(b"\n") + 1]
        self._progress_at += len(whole)
        return [json.loads(line) for line in whole.splitlines()]

    def _read_log(self) -> list[tuple[int, str]]:
        path = self.folder / LOG
        left = self._log_limit - self._log_at
        try:
            if left <= 0:
                self._cut(path)
                return []
            with path.open("rb") as file:
                file.seek(self._log_at)
                content = file.read(left)
        except FileNotFoundError:
            return []
        start = self._log_at
        self._log_at += len(content)
        # A letter whose bytes are only half written is kept for the next look.
        text = self._decoder.decode(content).replace("\0", "")
        if len(content) == left:
            text += f"\n[the log is cut here, at {self._log_limit // 1024} kB]\n"
        return [(start, text)] if text else []

    def _cut(self, path: Path) -> None:
        # The runner appends, so a job that prints without end fills no disk.
        if path.stat().st_size > 2 * self._log_limit:
            os.truncate(path, self._log_limit)

    def keep_log(self) -> None:
        """Put the log among the files, cut to its limit; none if nothing was printed."""
        with contextlib.suppress(FileNotFoundError), (self.folder / LOG).open("rb") as file:
            if content := file.read(self._log_limit):
                (self.files / LOG).write_bytes(content)

    def remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


def sweep(db: Database, work: Path) -> None:
    """Remove the folders of attempts that are over: a worker that was killed left them."""
    for folder in work.glob("*-*"):
        job, _, n = folder.name.rpartition("-")
        over = [str(each["n"]) for each in jobs.attempts(db, job) if each["ended_at"] is not None]
        # An attempt that the rows do not know may be that of another database's worker.
        if n in over:
            shutil.rmtree(folder, ignore_errors=True)
