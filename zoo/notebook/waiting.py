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
from zoo.queue.waiting import Vigil
from zoo.settings import Settings

LOOK_SECONDS = 0.1
OUTLOOK_SECONDS = 1.0
"""Between two looks at how long a job will take."""
SHARE = 20
"""To look takes at most one part in so many of the time."""


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
    """Wait until every job has ended; raises ZooError as `Vigil.look` does."""
    line = Line()
    single = _One(db, ids[0]) if len(ids) == 1 else None
    vigil = Vigil(db, settings, worker, timeout, print_note)
    try:
        while True:
            start = time.monotonic()
            with vigil.bearing():
                statuses = jobs.statuses_of(db, ids)
                if all(status in TERMINAL for status in statuses.values()):
                    return
                if line.is_live:
                    line.show(single.text() if single else _several(statuses))
                vigil.look(statuses)
            time.sleep(max(LOOK_SECONDS, SHARE * (time.monotonic() - start)))
    finally:
        line.clear()


class Line:
    """One line on stderr, written over again and again; none where nobody looks."""

    def __init__(self) -> None:
        # A notebook's stderr is no terminal, but knows what a carriage return means.
        self.is_live = sys.stderr.isatty() or "ipykernel" in sys.modules
        self._shown = ""

    def show(self, text: str) -> None:
        """Show the text in place of what was there."""
        if text != self._shown:  # a notebook keeps all that was ever written
            sys.stderr.write(f"\r{text:<{len(self._shown)}}")
            sys.stderr.flush()
            self._shown = text

    def clear(self) -> None:
        """Leave nothing of the line."""
        if self._shown:
            self.show("")
            sys.stderr.write("\r")


class _One:
    """The line about a single job."""

    def __init__(self, db: Database, id: str) -> None:
        self._db, self._id = db, id
        self._known: Estimate | None = None
        self._looked = -math.inf

    def text(self) -> str:
        job = jobs.get(self._db, self._id)
        if time.monotonic() - self._looked > OUTLOOK_SECONDS:
            self._looked = time.monotonic()
            self._known = jobs.estimate_job(self._db, job)
        return one(job, self._known)


def one(job: Job, known: Estimate | None) -> str:
    """Say in a line how far a job is."""
    parts = [f"{job.id[:8]} {job.model} on {job.dataset}: {job.status}"]
    if job.status == "running" and known:
        parts.append(known.steps)
        measured = job.progress.get("metrics")
        if isinstance(measured, dict):
            parts += [f"{name} {number_text(n)}" for name, n in measured.items()]
        parts.append(known.rest())
    return ", ".join(filter(None, parts))


def _several(statuses: Mapping[str, str]) -> str:
    counts = Counter(statuses.values())
    ended = sum(n for status, n in counts.items() if status in TERMINAL)
    others = ("running", "failed", "timed_out", "lost", "cancelled")
    said = "".join(f", {counts[name]} {name}" for name in others if counts[name])
    return f"{ended} of {len(statuses)} jobs have ended{said}"
