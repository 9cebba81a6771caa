"""One job: what was asked, how it goes, its curves, log and files."""

from __future__ import annotations

import time
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response

from zoo import jobs
from zoo.errors import UsageError, ZooError
from zoo.jobs import Job
from zoo.jobs.queries import Chunk
from zoo.queue import pending_reason
from zoo.storage import job_files
from zoo.terminal_text import JobLogReader
from zoo_web.charts import charts, single_values
from zoo_web.context import Desk, desk, live_at
from zoo_web.events import LogNews, Look, Parts, place, stream
from zoo_web.formats import part

NOTHING = (0, -1)
"""(attempt, start) of a page that has no line of the log yet."""
MOST_LOG = 200_000
"""Letters of a log that a page begins with: the last ones."""
MOST_FILE = 128 * 2**20
"""Bytes of an artifact's file, which is read whole to be checked."""
WHY_SECONDS = 3.0
"""Between two times that somebody is asked why a job waits: the broker is asked too."""


def job_page(request: Request) -> Response:
    """The page of a job."""
    at = desk(request)
    try:
        job = jobs.get(at.db, request.path_params["job"])
        parts = _Eye(at, job.id, request.state.csrf).look().parts
    except UsageError as error:
        return at.refusal(request, error, 404)
    return at.page(request, "job.html", job=job, **live_at(request, parts))


def live_job(request: Request) -> Response:
    """The changes of that page, and the log as it grows."""
    at, seen = desk(request), place(request.headers.get("last-event-id"))
    eye = _Eye(at, jobs.get(at.db, request.path_params["job"]).id, request.state.csrf, seen)
    return stream(eye.look)


class _Eye:
    """Looks at a job again and again."""

    def __init__(self, at: Desk, job: str, csrf: str, seen: tuple[int, int] = NOTHING) -> None:
        self._at = at
        self._job = job
        self._csrf = csrf
        self._seen = seen
        self._log: JobLogReader | None = None
        self._why, self._asked = "", float("-inf")

    def look(self) -> Look:
        """Look now."""
        # The row before the log: what was written before the end is then read too.
        job = jobs.get(self._at.db, self._job)
        log = self._new_log()
        return Look(self._parts(job), log, job.is_terminal)

    def _new_log(self) -> LogNews | None:
        told = self._seen
        # A page that comes back has lines already, but a line that had not ended is read anew.
        log = jobs.log_after(self._at.db, self._job, told if self._log else NOTHING)
        if not self._log:
            self._log, log = JobLogReader(), _last_of(log)
        lines = []
        for chunk in log:
            found = list(self._log.feed(chunk.attempt, chunk.text))
            if (chunk.attempt, chunk.start) > told:
                lines += found
                self._seen = chunk.attempt, chunk.start
        if self._seen == told:
            return None
        return LogNews(lines, (self._log.attempt, self._log.rest), self._seen)

    def _parts(self, job: Job) -> Parts:
        at = self._at
        way = jobs.estimate_job(at.db, job)
        head = at.piece("job_head", job=job, way=way, why=self._reason(job), csrf=self._csrf)
        steps = jobs.steps(at.db, job.id)
        curves = {each.title: at.piece("curve", chart=each) for each in charts(steps)}
        facts = {
            "part": part(job.spec, jobs.group_kinds(at.db, [job]).get(job.group or "")),
            "tried": jobs.attempts(at.db, job.id),
        }
        return {
            "head": {"head": head},
            "facts": {"facts": at.piece("facts", job=job, **facts)},
            "numbers": {"numbers": at.piece("numbers", job=job, reported=single_values(steps))},
            "curves": curves,
            "silence": self._silence(job, bool(curves)),
            "classes": _classes(at, job),
            "files": _shown(at, job),
        }

    def _silence(self, job: Job, has_curves: bool) -> dict[str, str]:
        """What stands in the place of a log without a line."""
        if self._seen != NOTHING:
            return {}
        piece = self._at.piece("silence", has_ended=job.is_terminal, has_curves=has_curves)
        return {"silence": piece}

    def _reason(self, job: Job) -> str:
        if job.is_terminal:
            return ""
        if time.monotonic() - self._asked > WHY_SECONDS:
            self._why = self._sentence(job)
            self._asked = time.monotonic()
        return self._why

    def _sentence(self, job: Job) -> str:
        return pending_reason.sentence(self._at.db, self._at.settings, job)


def _classes(at: Desk, job: Job) -> dict[str, str]:
    """The confusion matrix and the numbers of each class, where there are few enough to show."""
    names, matrix = job.class_names, job.confusion_matrix
    if not matrix or len(names) > 20:
        return {}
    return {
        "confusion": at.piece("confusion", matrix=matrix, names=names),
        "classes": at.piece("classes", each=job.per_class, names=names),
    }


def _shown(at: Desk, job: Job) -> dict[str, str]:
    """The files with their addresses; pictures first, shown."""
    found = _files(at, job)
    names = {each.name: each for each in found.files}
    if not (names or found.problems):
        return {}
    addresses = {name: f"/jobs/{job.id}/files/{quote(name)}" for name in names}
    problems = [str(each) for each in found.problems]
    piece = at.piece("files", names=names, addresses=addresses, problems=problems)
    return {"files": piece}


def _last_of(log: list[Chunk]) -> list[Chunk]:
    size, kept = 0, len(log)
    while kept and size < MOST_LOG:
        kept -= 1
        size += len(log[kept].text)
    return log[kept:]


def _files(at: Desk, job: Job) -> job_files.Listing:
    """The files of the job, also those that plugins have left; none until it has ended."""
    return job_files.listing(at.settings, job) if job.is_terminal else job_files.Listing([], [])


def file(request: Request) -> Response:
    """One file of a job, checked; only what a manifest names can be asked for."""
    at, name = desk(request), request.path_params["name"]
    try:
        job = jobs.get(at.db, request.path_params["job"])
        known = next((each for each in _files(at, job).files if each.name == name), None)
        if known is None:
            raise UsageError(f"The job {job.id[:8]} has no file of that name.")
        if known.size > MOST_FILE:
            raise UsageError(f"The file is larger than {MOST_FILE // 2**20} MB.")
        content = job_files.read(at.settings, known)
    except ZooError as error:
        return at.refusal(request, error, 404)
    # Shown are pictures alone: of anything else a browser might make a page of its own.
    is_picture = name.endswith(".png")
    how = "inline" if is_picture else "attachment"
    last = quote(name.rpartition("/")[2], safe="")
    return Response(
        content,
        media_type="image/png" if is_picture else "application/octet-stream",
        headers={"Content-Disposition": f"{how}; filename*=UTF-8''{last}"},
    )
