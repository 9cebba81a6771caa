"""Follow jobs to their end: a bar for each with its ETA, and plain lines where nobody looks."""

from __future__ import annotations

import math
import subprocess
import time
from collections.abc import Mapping, Sequence
from typing import Any

from rich.progress import TaskID

from zoo import jobs
from zoo.cli.render import console, group_progress, job_columns, progress_bars, published_table
from zoo.cli.render.fitting import columns_of
from zoo.cli.render.trials_table import show_sweep
from zoo.jobs import Database, Estimate, Group, Job
from zoo.jobs.records import accuracy_text, finite
from zoo.queue.waiting import Vigil
from zoo.settings import Settings

LOOK_SECONDS = 0.1
OUTLOOK_SECONDS = 1.0
"""Between two looks at how long the jobs will take."""
QUIET_AFTER = 0.5
"""Jobs that end sooner show no bar."""


def follow(
    db: Database,
    settings: Settings,
    ids: Sequence[str],
    worker: subprocess.Popen[bytes] | None = None,
    timeout: float | None = None,
) -> list[Job]:
    """Wait until every job has ended, and show how far each is.

    On a machine that brings its own worker, one that dies meanwhile is replaced. Raises ZooError if
    the local `worker`, just started, does not come to work, or after `timeout` seconds;
    KeyboardInterrupt leaves the jobs alone.
    """
    if len(ids) > group_progress.MANY:
        return group_progress.follow(db, settings, ids, worker, timeout)
    vigil = Vigil(db, settings, worker, timeout, console.note)
    with _Screen(db) as screen:
        while True:
            with vigil.bearing():
                found = [jobs.get(db, each) for each in ids]
                screen.show(found)
                if all(job.is_terminal for job in found):
                    return found
                vigil.look({job.id: job.status for job in found})
            time.sleep(LOOK_SECONDS)


class _Screen:
    """Bars on a terminal; one line per change of status elsewhere."""

    def __init__(self, db: Database) -> None:
        self.db = db
        self.known: dict[str, Estimate] = {}
        self.looked = -math.inf
        self.bars = progress_bars.progress(console.err)
        self.tasks: dict[str, TaskID] = {}
        self.said: dict[str, str] = {}
        self.began = time.monotonic()
        self.shows = False

    def __enter__(self) -> _Screen:
        return self

    def __exit__(self, *_: object) -> None:
        if self.shows:
            self.bars.stop()

    def show(self, found: Sequence[Job]) -> None:
        if not console.err.is_terminal:
            for job in found:
                self._say(job)
        elif self.shows or time.monotonic() - self.began > QUIET_AFTER:
            if not self.shows:
                self.bars.start()
                self.shows = True
            self._look(found)
            fields = fitting_fields(found, self.known, console.err.width)
            for job, each in zip(found, fields, strict=True):
                self._draw(job, each)

    def _look(self, found: Sequence[Job]) -> None:
        running = [job for job in found if job.status == "running"]
        if running and time.monotonic() - self.looked > OUTLOOK_SECONDS:
            self.looked = time.monotonic()
            self.known = jobs.estimate_running(self.db, running, jobs.clock(self.db))

    def _say(self, job: Job) -> None:
        if self.said.get(job.id) != job.status:
            self.said[job.id] = job.status
            console.note(f"{job.id[:8]} {job.model} on {job.dataset}: {job.status}")

    def _draw(self, job: Job, fields: dict[str, Any]) -> None:
        task = self.tasks.get(job.id)
        if task is None:
            task = self.tasks[job.id] = self.bars.add_task("", count="", left="", start=False)
        self.bars.update(task, **fields)
        if job.status == "running":
            self.bars.start_task(task)


def fitting_fields(
    found: Sequence[Job], known: Mapping[str, Estimate], width: int
) -> list[dict[str, Any]]:
    """What the bars show of these jobs, on a terminal of this width."""
    shown = [drawn(job, known.get(job.id)) for job in found]
    names = ("description", "count")
    longest = [max(columns_of(each[name]) for each in shown) for name in names]
    room = progress_bars.room(width, *longest)
    for fields in shown:
        for name, size in zip(names, room, strict=True):
            fields[name] = console.fitted(console.one_line(fields[name]), size)
    return shown


def drawn(job: Job, known: Estimate | None = None) -> dict[str, Any]:
    """What a bar shows of a job: fields of rich's Progress."""
    progress = job.progress
    fold = job.spec.get("fold")
    part = f" seed {job.spec['seed']}" if job.group else ""
    name = f"{job.id[:8]} {job.model}" + (
        f" fold {fold['index'] + 1}/{fold['k']}" if fold else part
    )
    shown = {"count": "", "left": ""}
    if job.is_terminal:
        return shown | {"description": f"{name} {job.status}", "total": 1, "completed": 1}
    if job.status == "queued":
        return shown | {"description": f"{name} queued", "total": None}
    phase = progress.get("phase", "starting")
    left = job_columns.left(known)
    # Reports are a plugin's, or another version's: any of these may be missing or odd.
    step, total = finite(progress.get("step")), finite(progress.get("total"))
    if step is None or total is None:
        return shown | {"description": f"{name} {phase}", "total": None, "left": left}
    measured = progress.get("metrics")
    pairs = measured.items() if isinstance(measured, dict) else ()
    metrics = " ".join(f"{k}{progress_bars.TOGETHER}{console.number(v)}" for k, v in pairs)
    unit = progress.get("unit", "step")
    return {
        "description": f"{name} {phase}",
        "total": total,
        "completed": step,
        "count": f"{unit}{progress_bars.TOGETHER}{step}/{total} {metrics}".rstrip(),
        "left": left,
    }


def summary(found: Job | Group) -> None:
    """Print how a job or a group ended."""
    if isinstance(found, Group) and published_table.is_table(found):
        published_table.show(found)
    elif isinstance(found, Group):
        _group_summary(found)
    elif found.status == "succeeded":
        _job_summary(found)
    else:
        why = f": {found.error}" if found.error else "."
        console.error(f"The job {found.id[:8]} is {found.status}{why}", _advice(found))


def _advice(job: Job) -> str:
    return f"`zoo logs {job.id[:8]}` shows what it printed, `zoo show {job.id[:8]}` all of it."


def _job_summary(job: Job) -> None:
    what = f"fold {job.spec['fold']['index'] + 1}" if job.spec["fold"] else job.spec["split"]
    images, measured, fit = (job.number(each) for each in ("n_images", "loss", "fit_seconds"))
    of = "" if images is None else f", {images} images"
    accuracy = "unknown" if job.accuracy is None else f"{job.accuracy:.4f}"
    loss = "" if measured is None else f", loss {console.number(measured)}"
    took = "" if fit is None else f", fit {fit:.1f} s"
    judged = f"{job.model} on {job.dataset} ({what}{of})"
    console.out.print(console.safe(f"{job.id[:8]}  {judged}: accuracy {accuracy}{loss}{took}"))


def _group_summary(group: Group) -> None:
    if group.kind == "sweep":
        show_sweep(group, most=5)
        return
    for job in group.jobs:
        summary(job)
    if text := accuracy_text(group):
        head = f"{group.id[:8]}  {group.kind} of {group.jobs[0].model}"
        console.out.print(console.safe(f"{head}: {text}"))
