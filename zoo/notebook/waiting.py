"""Wait for jobs in a notebook or script, and show their progress."""

from __future__ import annotations

import contextlib
import math
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence

import zoo.notebook.curves as curves
import zoo.notebook.html as html
from zoo import jobs
from zoo.jobs import TERMINAL, Database, Estimate, Job
from zoo.jobs.groups import result_text
from zoo.jobs.records import number_text
from zoo.notebook.live_display import View, open_display, print_note
from zoo.queue.waiting import JobWait
from zoo.settings import Settings
from zoo.terminal_text import counted

OUTLOOK_SECONDS = 1.0
"""Interval at which the time left is estimated."""
DRAW_SECONDS = 0.5
"""Interval at which a notebook's display is drawn again."""


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
    submit: Callable[[], Sequence[str]] = lambda: (),
) -> list[str]:
    """Wait until every job has ended, and show their progress; raises as `JobWait.poll`.

    `submit` is called at each poll, and may submit further jobs. Returns the ids of all.
    """
    display = open_display()
    known = [*ids, *submit()]
    progress = _Progress(db, known, is_live=display.is_live, is_rich=display.is_rich)
    try:
        for _ in JobWait(db, settings, display.note, worker, timeout).poll(known, progress.read):
            if progress.view:
                display.show(progress.view)
            known += submit()
    finally:
        display.close()
    return known


class _Progress:
    """What is read of the jobs at each poll, and what shows it."""

    def __init__(self, db: Database, ids: Sequence[str], *, is_live: bool, is_rich: bool) -> None:
        self._db, self._ids, self._is_live, self._is_rich = db, ids, is_live, is_rich
        self._outlook: Estimate | None = None
        self._estimated_at = self._drawn_at = -math.inf
        self.view: View | None = None
        """None before the first drawing."""

    def read(self) -> Mapping[str, str]:
        """Read the statuses, and draw them if that is due."""
        statuses = jobs.statuses_of(self._db, self._ids)
        is_over = all(status in TERMINAL for status in statuses.values())
        now = time.monotonic()
        # A line on stderr is removed at the end; a notebook keeps the result.
        is_due = now >= self._drawn_at + DRAW_SECONDS or is_over if self._is_rich else not is_over
        if self._is_live and is_due:
            self._drawn_at = now
            self.view = self._one() if len(self._ids) == 1 else self._several(statuses)
        return statuses

    def _one(self) -> View:
        job = jobs.get(self._db, self._ids[0])
        if job.is_terminal:
            self._outlook = None
        elif time.monotonic() > self._estimated_at + OUTLOOK_SECONDS:
            self._estimated_at = time.monotonic()
            self._outlook = jobs.estimate_job(self._db, job)
        text = one(job, self._outlook)
        if not self._is_rich:
            return View(text, "")
        charts = curves.draw_steps(job, jobs.timed_steps(self._db, job.id))
        return View(text, html.job_progress(job, self._outlook, charts))

    def _several(self, statuses: Mapping[str, str]) -> View:
        text = _several(statuses)
        if not self._is_rich:
            return View(text, "")
        first = jobs.get(self._db, self._ids[0])
        group = jobs.get_group(self._db, str(first.group))
        return View(text, html.group_progress(group, text, curves.draw_results(group)))


def one(job: Job, known: Estimate | None) -> str:
    """Return the progress of a job as one line."""
    parts = [f"{job.id[:8]} {job.model} on {job.dataset}: {job.listed_status}"]
    if job.status == "running" and known:
        parts.append(known.steps)
        parts += [f"{name} {number_text(n)}" for name, n in job.progress.metrics.items()]
        parts.append(known.rest())
    parts.append(result_text(job))
    return ", ".join(filter(None, parts))


def _several(statuses: Mapping[str, str]) -> str:
    counts = Counter(statuses.values())
    ended = sum(n for status, n in counts.items() if status in TERMINAL)
    others = ("running", "paused", "pruned", "failed", "timed_out", "lost", "cancelled")
    said = "".join(f", {counts[name]} {name}" for name in others if counts[name])
    have = "has" if len(statuses) == 1 else "have"
    return f"{ended} of {counted(len(statuses), 'job')} {have} ended{said}"
