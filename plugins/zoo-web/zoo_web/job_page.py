"""The page of one job: spec, progress, curves, log and files."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response

from zoo import jobs
from zoo.data.contents import Inputs
from zoo.errors import UsageError, ZooError
from zoo.jobs import Job
from zoo.jobs.queries import Chunk
from zoo.jobs.records import finite
from zoo.queue import catalogue, pending_reason, stopping
from zoo.queue.catalogue import Offer
from zoo.results.learning_curves import NO_CURVE, Run, charts, step_unit
from zoo.storage import job_files
from zoo.terminal_text import JobLogReader
from zoo_web.context import PageContext, get_context, live_values
from zoo_web.events import LogUpdate, Parts, Snapshot, log_position, stream
from zoo_web.formats import group_part
from zoo_web.model_page import has_model
from zoo_web.uploads import inputs_of

NOTHING = (0, -1)
"""Log position (attempt, start) of a page without any line."""
MOST_LOG = 200_000
"""Characters of the end of a log that a new page shows."""
MOST_FILE = 128 * 2**20
"""Largest file to serve, in bytes: it is read whole to be checked."""
REASON_SECONDS = 3.0
"""Interval at which the reason why a job waits is looked up, also at the broker."""


def job_page(request: Request) -> Response:
    """Show a job."""
    context = get_context(request)
    try:
        job = jobs.get(context.db, request.path_params["job"])
        parts = _JobView(context, job.id, request.state.csrf).read().parts
    except UsageError as error:
        return context.error_page(request, error, 404)
    return context.page(request, "job.html", job=job, **live_values(request, parts))


def live_job(request: Request) -> Response:
    """Stream the changes of that page, and new lines of the log."""
    context, seen = get_context(request), log_position(request.headers.get("last-event-id"))
    view = _JobView(
        context, jobs.get(context.db, request.path_params["job"]).id, request.state.csrf, seen
    )
    return stream(view.read)


class _JobView:
    """Reads a job at each poll, and the lines of its log since the last one."""

    def __init__(
        self, context: PageContext, job: str, csrf: str, seen: tuple[int, int] = NOTHING
    ) -> None:
        self._context = context
        self._job = job
        self._csrf = csrf
        self._seen = seen
        self._log: JobLogReader | None = None
        self._reason, self._reason_at = "", float("-inf")
        self._known: Inputs | None = None
        self._has_looked = False
        self._offers: Mapping[str, Offer] | None = None

    def read(self) -> Snapshot:
        """Read the row and the new lines of the log."""
        # The row before the log, so that no line written before the end is missed.
        job = jobs.get(self._context.db, self._job)
        log = self._new_log()
        return Snapshot(self._parts(job), log, job.is_terminal)

    def _new_log(self) -> LogUpdate | None:
        seen = self._seen
        # A page that reconnects has lines already; an incomplete line is read again.
        log = jobs.log_after(self._context.db, self._job, seen if self._log else NOTHING)
        if not self._log:
            self._log, log = JobLogReader(), _last_chunks(log)
        lines = []
        for chunk in log:
            found = list(self._log.feed(chunk.attempt, chunk.text))
            if (chunk.attempt, chunk.start) > seen:
                lines += found
                self._seen = chunk.attempt, chunk.start
        if self._seen == seen:
            return None
        return LogUpdate(lines, (self._log.attempt, self._log.rest), self._seen)

    def _parts(self, job: Job) -> Parts:
        context = self._context
        estimate = jobs.estimate_job(context.db, job)
        by = jobs.shown_objectives(context.db, [job])[job.id]
        head = context.fragment(
            "job_head",
            job=job,
            by=by,
            has_model=has_model(job),
            estimate=estimate,
            why=self._waits_for(job),
            can_stop=self._can_stop(job),
            csrf=self._csrf,
        )
        steps = jobs.steps(context.db, job.id)
        run = Run(job.model, steps, step_unit(job))
        curves = {each["title"]: context.fragment("curve", data=each) for each in charts([run])}
        inputs = self._inputs(job)
        unit = inputs.unit if inputs else "images"
        facts = {
            "part": group_part(job.spec, jobs.group_kinds(context.db, [job]).get(job.group or "")),
            "attempts": jobs.attempts(context.db, job.id),
            "inputs": inputs,
        }
        return {
            "head": {"head": head},
            "facts": {"facts": context.fragment("facts", job=job, **facts)},
            "numbers": {
                "numbers": context.fragment(
                    "numbers", job=job, reported=single_values(steps), unit=unit, by=by
                )
            },
            "curves": curves,
            "silence": self._silence(job, bool(curves)),
            "classes": _classes(context, job, unit),
            "files": _files_part(context, job),
        }

    def _silence(self, job: Job, has_curves: bool) -> dict[str, str]:
        """Render the note for a log without lines."""
        if self._seen != NOTHING:
            return {}
        piece = self._context.fragment("silence", has_ended=job.is_terminal, has_curves=has_curves)
        return {"silence": piece}

    def _inputs(self, job: Job) -> Inputs | None:
        """What its dataset has, looked up once."""
        if not self._has_looked:
            self._has_looked = True
            self._known = inputs_of(
                self._context, job.dataset, job.contents or job.spec.get("contents")
            )
        return self._known

    def _can_stop(self, job: Job) -> bool:
        if job.status != "running":
            return False
        if self._offers is None:
            self._offers = catalogue.models()
        return stopping.can_stop(job, self._offers)

    def _waits_for(self, job: Job) -> str:
        if job.is_terminal:
            return ""
        if time.monotonic() - self._reason_at > REASON_SECONDS:
            self._reason = self._sentence(job)
            self._reason_at = time.monotonic()
        return self._reason

    def _sentence(self, job: Job) -> str:
        return pending_reason.sentence(self._context.db, self._context.settings, job)


def _classes(context: PageContext, job: Job, unit: str) -> dict[str, str]:
    """Render confusion matrix and per-class metrics, unless there are too many classes."""
    names, matrix = job.class_names, job.confusion_matrix
    if not matrix or len(names) > 20:
        return {}
    return {
        "confusion": context.fragment(
            "confusion", matrix=matrix, names=names, shades=matrix_shades(matrix)
        ),
        "classes": context.fragment("classes", each=job.per_class, names=names, unit=unit),
    }


def matrix_shades(matrix: Sequence[Sequence[int]]) -> list[list[str]]:
    """Return the class of each cell of a confusion matrix: shades of right and wrong."""
    totals = [sum(row) or 1 for row in matrix]
    parts = [[n / total for n in row] for row, total in zip(matrix, totals, strict=True)]
    most = max((p for i, row in enumerate(parts) for j, p in enumerate(row) if i != j), default=0)

    def shade(i: int, j: int, part: float) -> str:
        if not part:
            return "zero"
        return (
            f"right{math.ceil(5 * part)}"
            if i == j
            else f"wrong{math.ceil(5 * (part / most) ** 0.5)}"
        )

    return [[shade(i, j, part) for j, part in enumerate(row)] for i, row in enumerate(parts)]


def single_values(steps: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Return the metrics that were reported at a single step."""
    names = dict.fromkeys(name for step in steps for name in step if name not in NO_CURVE)
    found = {
        name: [v for step in steps if (v := finite(step.get(name))) is not None] for name in names
    }
    return {name: float(values[0]) for name, values in found.items() if len(values) == 1}


def _files_part(context: PageContext, job: Job) -> dict[str, str]:
    """Render the files with their addresses, pictures first."""
    found = _files(context, job)
    names = {each.name: each for each in found.files}
    if not (names or found.problems):
        return {}
    addresses = {name: f"/jobs/{job.id}/files/{quote(name)}" for name in names}
    problems = [str(each) for each in found.problems]
    piece = context.fragment("files", names=names, addresses=addresses, problems=problems)
    return {"files": piece}


def _last_chunks(log: list[Chunk]) -> list[Chunk]:
    size, kept = 0, len(log)
    while kept and size < MOST_LOG:
        kept -= 1
        size += len(log[kept].text)
    return log[kept:]


def _files(context: PageContext, job: Job) -> job_files.Listing:
    """List the files of the job and of plugins; none until the job has ended."""
    return (
        job_files.listing(context.settings, job) if job.is_terminal else job_files.Listing([], [])
    )


def job_file(request: Request) -> Response:
    """Serve one file of a job, checked; only files that a manifest names."""
    context, name = get_context(request), request.path_params["name"]
    try:
        job = jobs.get(context.db, request.path_params["job"])
        known = next((each for each in _files(context, job).files if each.name == name), None)
        if known is None:
            raise UsageError(f"The job {job.id[:8]} has no file of that name.")
        if known.size > MOST_FILE:
            raise UsageError(f"The file is larger than {MOST_FILE // 2**20} MB.")
        content = job_files.read(context.settings, known)
    except ZooError as error:
        return context.error_page(request, error, 404)
    # Only pictures are shown inline: a browser could render anything else as a page.
    is_picture = name.endswith(".png")
    how = "inline" if is_picture else "attachment"
    last = quote(name.rpartition("/")[2], safe="")
    return Response(
        content,
        media_type="image/png" if is_picture else "application/octet-stream",
        headers={"Content-Disposition": f"{how}; filename*=UTF-8''{last}"},
    )
