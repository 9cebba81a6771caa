"""Print the log of a job for `zoo logs`: lines as a terminal would show them, and steps."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from zoo import jobs
from zoo.cli.render import console
from zoo.jobs import Database, Job, Progress
from zoo.jobs.queries import Chunk
from zoo.terminal_text import LogReader

PROGRESS_SECONDS = 1.0
"""Shortest interval between two lines about progress without metrics."""


class JobLog:
    """The log of one job: its lines, and its steps if it is live or has no lines."""

    def __init__(self, db: Database, job: str, *, is_live: bool) -> None:
        self._db, self._job, self._is_live = db, job, is_live
        self._printer = LogPrinter(is_live=is_live)
        self._now: Job | None = None
        self._steps: list[tuple[int, int, dict[str, float]]] = []
        self._chunks: list[Chunk] = []

    def read(self) -> Mapping[str, str]:
        """Read new steps and lines; return the status of the job by its id."""
        # The job is read before its lines, so that no line is missed when it has ended.
        self._now = jobs.get(self._db, self._job)
        if self._is_live:
            self._steps = jobs.steps_after(self._db, self._job, self._printer.last_step)
        self._chunks = jobs.log_after(self._db, self._job, self._printer.last_chunk)
        return {self._job: self._now.status}

    def show(self) -> None:
        """Print the steps and lines that were read."""
        if self._is_live and self._now:
            self._printer.report(self._steps, self._now.progress)
        self._printer.print(self._chunks)

    def end(self) -> bool:
        """Print an unfinished line, and the steps of a job without lines.

        Returns whether anything of the log was printed.
        """
        self._printer.end()
        has_lines = self._printer.last_chunk[0] > 0
        if not self._is_live and not has_lines:
            steps = jobs.steps_after(self._db, self._job)
            if steps and self._now:
                self._printer.report(steps, self._now.progress)
        return self._printer.last_chunk[0] > 0 or self._printer.has_reported


class LogPrinter:
    """Prints one job's log chunk by chunk; live on a terminal, the unfinished line too."""

    def __init__(self, *, is_live: bool = False) -> None:
        self.last_chunk = (0, -1)
        """(attempt, start) of the last chunk."""
        self.last_step = (0, -1)
        """(attempt, step) of the last step."""
        self._reader = LogReader()
        self._attempt = 1
        self._is_live = is_live and sys.stdout.isatty()
        self._shown = ""
        self._unit: tuple[Any, Any] | None = None
        self._unit_of_metrics: tuple[Any, Any] | None = None
        """Metrics are of epochs, also while the progress within one counts batches."""
        self.has_reported = False
        """Whether a step was printed."""
        self._reported: Any = None
        self._reported_at = 0.0

    def print(self, chunks: Sequence[Chunk]) -> None:
        """Print the lines that these chunks complete."""
        for chunk in chunks:
            self._begin(chunk.attempt)
            for line in self._reader.feed(chunk.text):
                self._line(line)
            self.last_chunk = (chunk.attempt, chunk.start)
        if self._is_live and chunks:
            self._erase()
            self._shown = console.live_line(self._reader.rest)
        if chunks:
            sys.stdout.flush()

    def report(
        self, steps: Sequence[tuple[int, int, Mapping[str, float]]], progress: Progress
    ) -> None:
        """Print each step to stderr, and progress without metrics every PROGRESS_SECONDS."""
        if progress.unit is not None and progress.total is not None:
            self._unit = progress.unit, progress.total
            if progress.metrics:
                self._unit_of_metrics = self._unit
        for attempt, step, metrics in steps:
            self._begin(attempt)
            values = " ".join(f"{name} {console.number(value)}" for name, value in metrics.items())
            self._erase()
            console.note(f"{_place(step, self._unit_of_metrics)} {values}")
            self.last_step = (attempt, step)
            self.has_reported = True
        where = (progress.phase, progress.step)
        is_due = time.monotonic() - self._reported_at > PROGRESS_SECONDS or not where[1]
        if not steps and where[0] and where != self._reported and is_due:
            self._erase()
            console.note(_place(where[1], self._unit) if where[1] else f"{where[0]} ...")
            self.has_reported |= bool(where[1])
            self._reported_at = time.monotonic()
        if steps or is_due:
            self._reported = where
        if steps:
            self._reported_at = time.monotonic()

    def end(self) -> None:
        """Print the unfinished line."""
        rest = self._reader.rest
        self._reader = LogReader()
        self._erase()
        if rest:
            self._line(rest)

    def _begin(self, attempt: int) -> None:
        if attempt != self._attempt:
            self.end()
            console.note(f"--- attempt {attempt}")
            self._attempt = attempt

    def _line(self, text: str) -> None:
        self._erase()
        console.line(text)

    def _erase(self) -> None:
        if self._shown:
            console.live_line("")
            self._shown = ""


def _place(step: float, unit: tuple[Any, Any] | None) -> str:
    return f"{unit[0]} {step}/{unit[1]}" if unit else f"step {step}"
