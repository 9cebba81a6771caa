"""Show the progress of jobs until they end: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import math
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rich.progress import TaskID

from zoo import jobs
from zoo.cli.render import console, job_columns, progress_bars, published_table
from zoo.cli.render.fitting import columns_of
from zoo.cli.render.trials_table import show_sweep
from zoo.jobs import TERMINAL, Database, Estimate, Group, Job
from zoo.jobs.groups import result_text
from zoo.metrics import Objective
from zoo.queue.waiting import JobWait
from zoo.settings import Settings
from zoo.terminal_text import counted

OUTLOOK_SECONDS = 1.0
"""Interval at which the time left is estimated."""
QUIET_AFTER = 0.5
"""Jobs that end within this many seconds show no bar."""
MANY = 12
"""Above this number of jobs one bar shows all of them."""
MANY_SECONDS = 0.2
"""Interval at which many jobs are polled."""
LINES = 10
"""Number of lines for many jobs without a terminal."""

Submit = Callable[[], Sequence[str]]
"""Submits further jobs if there is room for them; returns their ids."""


def follow(
    db: Database,
    settings: Settings,
    ids: Sequence[str],
    worker: subprocess.Popen[bytes] | None = None,
    timeout: float | None = None,
) -> list[Job]:
    """Show the progress of jobs until all have ended: a bar for each, or one for many.

    A local worker that dies meanwhile is replaced. On KeyboardInterrupt the jobs continue. Raises
    ZooError if `worker`, a local worker just started, ends before it is ready, or after `timeout`
    seconds.
    """
    if len(ids) > MANY:
        return follow_together(db, settings, ids, worker, timeout)
    waiting = JobWait(db, settings, console.note, worker, timeout)
    with _Bars(db, ids) as bars:
        for _ in waiting.poll(ids, bars.read, share=0):
            bars.show()
        return bars.jobs


def follow_together(
    db: Database,
    settings: Settings,
    ids: Sequence[str],
    worker: subprocess.Popen[bytes] | None = None,
    timeout: float | None = None,
    submit: Submit = lambda: (),
    total: int = 0,
) -> list[Job]:
    """Show the progress of jobs until all have ended, with one bar for all of them.

    `submit` is called at each poll and may submit further jobs, up to `total` in all. Otherwise
    like `follow`.
    """
    waiting = JobWait(db, settings, console.note, worker, timeout)
    known = [*ids, *submit()]
    with _SharedBar(db, known) as bar:
        for _ in waiting.poll(known, bar.read, seconds=MANY_SECONDS):
            bar.show(max(total, len(known)))
            known += submit()
    return jobs.get_many(db, known)


class _Bars:
    """A bar for each job on a terminal; a line for each change of status elsewhere."""

    def __init__(self, db: Database, ids: Sequence[str]) -> None:
        self.db = db
        self.ids = ids
        self.jobs: list[Job] = []
        self.outlooks: dict[str, Estimate] = {}
        self.estimated_at = -math.inf
        self.bars = progress_bars.progress(console.err)
        self.tasks: dict[str, TaskID] = {}
        self.noted: dict[str, str] = {}
        self.began = time.monotonic()
        self.is_shown = False

    def __enter__(self) -> _Bars:
        return self

    def __exit__(self, *_: object) -> None:
        if self.is_shown:
            self.bars.stop()

    def read(self) -> Mapping[str, str]:
        self.jobs = [jobs.get(self.db, each) for each in self.ids]
        running = [job for job in self.jobs if job.status == "running"]
        is_due = time.monotonic() - self.estimated_at > OUTLOOK_SECONDS
        if running and is_due and self._needs_bars():
            self.estimated_at = time.monotonic()
            self.outlooks = jobs.estimate_running(self.db, running, jobs.clock(self.db))
        return {job.id: job.listed_status for job in self.jobs}

    def _needs_bars(self) -> bool:
        is_slow = time.monotonic() - self.began > QUIET_AFTER
        return console.err.is_terminal and (self.is_shown or is_slow)

    def show(self) -> None:
        if not console.err.is_terminal:
            for job in self.jobs:
                self._note(job)
        elif self._needs_bars():
            if not self.is_shown:
                # First: Ctrl-C may come while they are drawn for the first time.
                self.is_shown = True
                self.bars.start()
            fields = fitting_fields(self.jobs, self.outlooks, console.err.width)
            for job, each in zip(self.jobs, fields, strict=True):
                self._draw(job, each)

    def _note(self, job: Job) -> None:
        status = job.listed_status
        if self.noted.get(job.id) != status:
            self.noted[job.id] = status
            console.note(f"{job.id[:8]} {job.model} on {job.dataset}: {status}")

    def _draw(self, job: Job, fields: dict[str, Any]) -> None:
        task = self.tasks.get(job.id)
        if task is None:
            task = self.tasks[job.id] = self.bars.add_task("", count="", left="", start=False)
        self.bars.update(task, **fields)
        if job.status == "running":
            self.bars.start_task(task)


class _SharedBar:
    """One bar for many jobs on a terminal; a few plain lines elsewhere."""

    def __init__(self, db: Database, ids: Sequence[str]) -> None:
        self.db = db
        self.ids = ids
        self.statuses: Mapping[str, str] = {}
        self.drawing = contextlib.ExitStack()
        self.bar = progress_bars.progress(console.err)
        self.task = self.bar.add_task("", count="", left="")
        self.succeeded: set[str] = set()
        self.best: float | None = None
        self.by: Objective | None = None
        self.total = len(ids)
        self.began: float | None = None
        """When the bar was opened, on the database's clock."""
        self.outlook: Estimate | None = None
        self.estimated_at = -math.inf
        self.noted = -1

    def __enter__(self) -> _SharedBar:
        if console.err.is_terminal:
            self.drawing.enter_context(console.live(self.bar))
        return self

    def __exit__(self, *_: object) -> None:
        self.drawing.close()

    def read(self) -> Mapping[str, str]:
        self.statuses = jobs.statuses_of(self.db, self.ids)
        succeeded = {job for job, status in self.statuses.items() if status == "succeeded"}
        for job in jobs.get_many(self.db, sorted(succeeded - self.succeeded)):
            self.by = self.by or jobs.group_objective(self.db, job.group)
            value = job.number(self.by.metric)
            if value is not None and (self.best is None or self.by.is_better(value, self.best)):
                self.best = float(value)
        self.succeeded |= succeeded
        if console.err.is_terminal and time.monotonic() - self.estimated_at > OUTLOOK_SECONDS:
            self.estimated_at = time.monotonic()
            if self.began is None:
                self.began = jobs.clock(self.db)
            self.outlook = jobs.estimate_many(self.db, self.ids, self.total, self.began)
        return self.statuses

    def show(self, total: int) -> None:
        self.total = total
        counts = Counter(self.statuses.values())
        ended = sum(n for status, n in counts.items() if status in TERMINAL)
        parts = ", ".join(self._parts(counts))
        if console.err.is_terminal:
            description = f"{ended}/{counted(total, 'job')}"
            _, room = progress_bars.room(console.err.width, len(description), 0)
            together = progress_bars.TOGETHER
            self.bar.update(
                self.task,
                description=description,
                completed=ended,
                total=total,
                count=console.fitted(
                    parts.replace(" ", together).replace(f",{together}", ", "), room
                ),
                left=job_columns.left(self.outlook) if ended < total else "",
            )
        elif ended * LINES // total > self.noted:
            self.noted = ended * LINES // total
            have = "has" if total == 1 else "have"
            said = f": {parts}" if parts else ""
            console.note(f"{ended} of {counted(total, 'job')} {have} ended{said}")

    def _parts(self, counts: Mapping[str, int]) -> list[str]:
        others = ("running", "paused", "pruned", "failed", "timed_out", "lost", "cancelled")
        found = [f"{counts[status]} {status}" for status in others if counts.get(status)]
        if self.best is None or self.by is None:
            return found
        return [*found, f"best {self.by.metric} {console.number(self.best)}"]


def fitting_fields(
    found: Sequence[Job], known: Mapping[str, Estimate], width: int
) -> list[dict[str, Any]]:
    """Return the fields of the bars of these jobs, fitted to the width of the terminal."""
    shown = [drawn(job, known.get(job.id), width) for job in found]
    longest = [max(columns_of(each[name]) for each in shown) for name in ("description", "left")]
    # The step is whole; a mark says that there are metrics.
    steps = (each["count"].partition(" ") for each in shown)
    least = max(columns_of(step) + len(" …") * bool(metrics) for step, _, metrics in steps)
    room = progress_bars.room(width, longest[0], least, longest[1])
    for fields in shown:
        fields["description"] = _described(console.one_line(fields["description"]), room[0])
        fields["count"] = console.fitted(console.one_line(fields["count"]), room[1])
    return shown


def _described(text: str, size: int) -> str:
    """Fit the description of a job: the id stays, then the model, which is shortened itself."""
    head, _, rest = text.partition(" ")
    room = size - columns_of(head) - 1
    if columns_of(text) <= size or room < columns_of(console.mark()):
        return console.fitted(text, size)
    model = rest.split(" ")[0]
    is_long = columns_of(f"{model} {console.mark()}") > room
    return f"{head} {console.fitted(model if is_long else rest, room)}"


def drawn(job: Job, known: Estimate | None = None, width: int = 80) -> dict[str, Any]:
    """Return the fields of rich's Progress for a job, on a terminal of this width."""
    progress = job.progress
    fold = job.spec.get("fold")
    is_narrow = width < progress_bars.NAMED
    part = f" seed {job.spec['seed']}" if job.group else ""
    if fold:
        part = f"{'' if is_narrow else ' fold'} {fold['index'] + 1}/{fold['k']}"
    name = f"{job.id[:8]} {job.model}{part}"
    shown = {"count": "", "left": ""}
    if job.is_terminal:
        return shown | {"description": f"{name} {job.status}", "total": 1, "completed": 1}
    if job.status == "queued":
        return shown | {"description": f"{name} {job.listed_status}", "total": None}
    phase = progress.phase or "starting"
    left = job_columns.left(known)
    step, total = progress.step, progress.total
    if step is None or total is None:
        return shown | {"description": f"{name} {phase}", "total": None, "left": left}
    pairs = progress.metrics.items()
    metrics = " ".join(f"{k}{progress_bars.TOGETHER}{console.number(v)}" for k, v in pairs)
    unit = f"{progress.unit or 'step'}{progress_bars.TOGETHER}"
    if is_narrow:
        unit = metrics = ""
    return {
        "description": f"{name} {phase}",
        "total": total,
        "completed": step,
        "count": f"{unit}{step}/{total} {metrics}".rstrip(),
        "left": left,
    }


def summary(found: Job | Group) -> None:
    """Print the result of a job or a group."""
    if isinstance(found, Group) and published_table.is_table(found):
        published_table.show(found)
    elif isinstance(found, Group):
        _group_summary(found)
    elif found.status == "succeeded":
        _job_summary(found)
    elif found.status == "pruned":
        console.note(f"The job {found.id[:8]} is pruned: other trials of its sweep were better.")
    else:
        why = f": {found.error}" if found.error else "."
        console.error(f"The job {found.id[:8]} is {found.status}{why}", _advice(found))


def _advice(job: Job) -> str:
    return f"`zoo logs {job.id[:8]}` shows its output, `zoo show {job.id[:8]}` all details."


def _job_summary(job: Job) -> None:
    what = f"fold {job.spec['fold']['index'] + 1}" if job.spec["fold"] else job.spec["split"]
    images, measured, fit = (job.number(each) for each in ("n_images", "loss", "fit_seconds"))
    unit = job.unit.removesuffix("s") if images == 1 else job.unit
    of = "" if images is None else f", {images} {unit}"
    accuracy = "unknown" if job.accuracy is None else f"{job.accuracy:.4f}"
    loss = "" if measured is None else f", loss {console.number(measured)}"
    took = "" if fit is None else f", fit {fit:.1f} s"
    ended = f" ({job.ending})" if job.ending else ""
    judged = f"{job.model} on {job.dataset_label} ({what}{of})"
    console.out.print(
        console.safe(f"{job.id[:8]}  {judged}: accuracy {accuracy}{loss}{took}{ended}")
    )


def _group_summary(group: Group) -> None:
    if group.kind == "sweep":
        show_sweep(group, most=5)
        return
    for job in group.jobs:
        summary(job)
    if text := result_text(group):
        head = f"{group.id[:8]}  {group.kind} of {group.jobs[0].model}"
        console.out.print(console.safe(f"{head}: {text}"))
