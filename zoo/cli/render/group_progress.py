"""Follow many jobs: one bar for all of them, how the best did, and how long it will take."""

from __future__ import annotations

import subprocess
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from zoo import jobs
from zoo.cli.render import console, progress_bars
from zoo.jobs import TERMINAL, Database, Estimate, Job
from zoo.queue.waiting import Vigil
from zoo.settings import Settings

MANY = 12
"""More jobs than that have one bar together."""
LOOK_SECONDS = 0.2
SHARE = 20
"""To look takes at most one part in so many of the time."""
LINES = 10
"""So many are printed, in all, where there is no terminal."""

Step = Callable[[], Sequence[str]]


def follow(
    db: Database,
    settings: Settings,
    ids: Sequence[str],
    worker: subprocess.Popen[bytes] | None = None,
    timeout: float | None = None,
    step: Step | None = None,
    total: int | None = None,
) -> list[Job]:
    """Wait until every job has ended: as `zoo.cli.render.progress.follow`, for many.

    `step` is called now and then: it may submit more, of `total` in all, and gives their ids.
    """
    vigil = Vigil(db, settings, worker, timeout, console.note)
    known = list(ids)
    with _Screen(db) as screen:
        while True:
            added = step() if step else ()
            known += added
            start = time.monotonic()
            with vigil.bearing():
                statuses = jobs.statuses_of(db, known)
                screen.show(statuses, max(total or 0, len(known)))
                if not added and all(status in TERMINAL for status in statuses.values()):
                    return jobs.get_many(db, known)
                vigil.look(statuses)
            time.sleep(max(LOOK_SECONDS, SHARE * (time.monotonic() - start)))


class _Screen:
    """A bar on a terminal; a few plain lines elsewhere."""

    def __init__(self, db: Database) -> None:
        self.db = db
        self.bar = progress_bars.progress(console.err)
        self.task = self.bar.add_task("", count="", left="")
        self.judged: set[str] = set()
        self.best: float | None = None
        self.at_first: int | None = None
        self.ended = 0
        self.began = self.ended_at = time.monotonic()
        self.told = -1

    def __enter__(self) -> _Screen:
        if console.err.is_terminal:
            self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if console.err.is_terminal:
            self.bar.stop()

    def show(self, statuses: Mapping[str, str], total: int) -> None:
        counts = Counter(statuses.values())
        ended = sum(n for status, n in counts.items() if status in TERMINAL)
        if self.at_first is None:
            self.at_first = ended
        self._judge([job for job, status in statuses.items() if status == "succeeded"])
        said = ", ".join(self._news(counts))
        if console.err.is_terminal:
            description = f"{ended}/{total} jobs"
            _, room = progress_bars.room(console.err.width, len(description), 0)
            self.bar.update(
                self.task,
                description=description,
                completed=ended,
                total=total,
                count=console.fitted(
                    said.replace(" ", progress_bars.TOGETHER).replace(
                        f",{progress_bars.TOGETHER}", ", "
                    ),
                    room,
                ),
                left=self._left(ended, total),
            )
        elif ended * LINES // total > self.told:
            self.told = ended * LINES // total
            console.note(f"{ended} of {total} jobs have ended{f': {said}' if said else ''}")

    def _judge(self, succeeded: Sequence[str]) -> None:
        new = [job for job in succeeded if job not in self.judged]
        self.judged.update(new)
        for job in jobs.get_many(self.db, new):
            accuracy = job.metrics.get("accuracy")
            if accuracy is not None and (self.best is None or accuracy > self.best):
                self.best = accuracy

    def _news(self, counts: Mapping[str, int]) -> list[str]:
        others = ("running", "failed", "timed_out", "lost", "cancelled")
        found = [f"{counts[status]} {status}" for status in others if counts.get(status)]
        return found if self.best is None else [*found, f"best job {self.best:.4f}"]

    def _left(self, ended: int, total: int) -> str:
        """How long the others will take, if they end as fast as those since this was opened."""
        now = time.monotonic()
        if ended != self.ended:
            self.ended, self.ended_at = ended, now
        done = ended - (self.at_first or 0)
        if done <= 0 or ended >= total:
            return ""
        # Since the last one ended it only falls: where none ends any more, it must not grow.
        left = (self.ended_at - self.began) / done * (total - ended) - (now - self.ended_at)
        return Estimate("running", left=left).rest()
