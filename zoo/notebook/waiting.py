"""Wait for jobs in a notebook or script, with a progress line on stderr."""

from __future__ import annotations

import contextlib
import math
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from zoo import jobs
from zoo.jobs import TERMINAL, Database, Estimate, Job
from zoo.jobs.records import number_text
from zoo.queue.waiting import JobWait
from zoo.settings import Settings

OUTLOOK_SECONDS = 1.0
"""Interval at which the time left is estimated."""


def print_note(text: str) -> None:
    """Print a note to stderr."""
    sys.stderr.write(f"{text}\n")


@contextlib.contextmanager
def hint_on_interrupt(ref: str) -> Iterator[None]:
    """Print after an interrupt how to wait again for a job or group, and how to cancel it."""
    try:
        yield
    except KeyboardInterrupt:
        handle = f'zoo.get_job("{ref[:8]}")'
        print_note(
            f"{ref[:8]} keeps running. {handle}.wait() waits again, {handle}.cancel() stops it."
        )
        raise


def follow(
    db: Database,
    settings: Settings,
    ids: Sequence[str],
    worker: subprocess.Popen[bytes] | None = None,
    timeout: float | None = None,
) -> None:
    """Wait until every job has ended, with a line of progress; raises as `JobWait.poll`."""
    line = Line()
    progress = _Progress(db, ids, line.is_live)
    try:
        for _ in JobWait(db, settings, print_note, worker, timeout).poll(ids, progress.read):
            line.show(progress.text)
    finally:
        line.clear()


class Line:
    """A line on stderr that is overwritten; nothing where stderr is not shown."""

    def __init__(self) -> None:
        # A notebook's stderr is no terminal, but knows what a carriage return means.
        self.is_live = sys.stderr.isatty() or "ipykernel" in sys.modules
        self._shown = ""

    def show(self, text: str) -> None:
        """Replace the text of the line."""
        if text != self._shown:  # a notebook keeps all that was ever written
            sys.stderr.write(f"\r{text:<{len(self._shown)}}")
            sys.stderr.flush()
            self._shown = text

    def clear(self) -> None:
        """Remove the line."""
        if self._shown:
            self.show("")
            sys.stderr.write("\r")


class _Progress:
    """What is read of the jobs at each poll, and the line that shows it."""

    def __init__(self, db: Database, ids: Sequence[str], is_live: bool) -> None:
        self._db, self._ids, self._is_live = db, ids, is_live
        self._outlook: Estimate | None = None
        self._estimated_at = -math.inf
        self.text = ""

    def read(self) -> Mapping[str, str]:
        statuses = jobs.statuses_of(self._db, self._ids)
        if self._is_live and not all(status in TERMINAL for status in statuses.values()):
            self.text = self._one() if len(self._ids) == 1 else _several(statuses)
        return statuses

    def _one(self) -> str:
        job = jobs.get(self._db, self._ids[0])
        if time.monotonic() - self._estimated_at > OUTLOOK_SECONDS:
            self._estimated_at = time.monotonic()
            self._outlook = jobs.estimate_job(self._db, job)
        return one(job, self._outlook)


def one(job: Job, known: Estimate | None) -> str:
    """Return the progress of a job as one line."""
    parts = [f"{job.id[:8]} {job.model} on {job.dataset}: {job.listed_status}"]
    if job.status == "running" and known:
        parts.append(known.steps)
        parts += [f"{name} {number_text(n)}" for name, n in job.progress.metrics.items()]
        parts.append(known.rest())
    return ", ".join(filter(None, parts))


def _several(statuses: Mapping[str, str]) -> str:
    counts = Counter(statuses.values())
    ended = sum(n for status, n in counts.items() if status in TERMINAL)
    others = ("running", "paused", "pruned", "failed", "timed_out", "lost", "cancelled")
    said = "".join(f", {counts[name]} {name}" for name in others if counts[name])
    return f"{ended} of {len(statuses)} jobs have ended{said}"
