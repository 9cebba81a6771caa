"""One attempt's folder, read while the runner writes it: progress, steps and log lines."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from zoo.jobs import News
from zoo_workers.runner import FILES, LOG, PROGRESS, SOURCE

CHUNK = 64 * 1024
"""Bytes of the log that one beat carries at most."""


class Attempt:
    """The folder of one attempt."""

    def __init__(self, folder: Path, log_kb: int) -> None:
        self.folder = folder
        shutil.rmtree(folder, ignore_errors=True)
        self.files.mkdir(parents=True)
        self._log_limit = log_kb * 1024
        self._log_at = 0
        self._progress_at = 0
        self._progress: dict[str, Any] = {}

    @property
    def files(self) -> Path:
        """What becomes the artifact."""
        return self.folder / FILES

    @property
    def source(self) -> Path:
        """Where the trained model that an evaluation judges is put."""
        return self.folder / SOURCE

    def news(self) -> News:
        """Read on in both files."""
        steps, fit_started_at, facts = [], None, self._read_progress()
        for fact in facts:
            if "phase" in fact:
                self._progress = {"phase": fact["phase"], "since": fact["at"]}
                fit_started_at = fact["at"] if fact["phase"] == "fit" else fit_started_at
            else:
                self._progress |= fact
                steps.append((fact["step"], fact["metrics"]))
        return News(self._progress if facts else None, fit_started_at, steps, self._read_log())

    def _read_progress(self) -> list[dict[str, Any]]:
        path = self.folder / PROGRESS
        if not path.exists():
            return []
        with path.open("rb") as file:
            file.seek(self._progress_at)
            content = file.read()
        # A line without its end is still being written.
        whole = content[: content.rfind(b"\n") + 1]
        self._progress_at += len(whole)
        return [json.loads(line) for line in whole.splitlines()]

    def _read_log(self) -> list[tuple[int, str]]:
        path = self.folder / LOG
        left = min(CHUNK, self._log_limit - self._log_at)
        if left <= 0 or not path.exists():
            return []
        with path.open("rb") as file:
            file.seek(self._log_at)
            content = file.read(left)
        if not content:
            return []
        start = self._log_at
        self._log_at += len(content)
        text = content.decode(errors="replace").replace("\0", "")
        if self._log_at >= self._log_limit:
            text += f"\n[the log is cut here, at {self._log_limit // 1024} kB]\n"
        return [(start, text)]

    def keep_log(self) -> None:
        """Put the log among the files, cut to its limit."""
        path = self.folder / LOG
        if path.exists():
            with path.open("rb") as file:
                (self.files / LOG).write_bytes(file.read(self._log_limit))

    def remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
