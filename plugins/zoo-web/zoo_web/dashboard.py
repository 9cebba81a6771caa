"""The jobs and the workers, and the best result of each model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response

from zoo import jobs
from zoo.errors import UsageError
from zoo.jobs import STATUSES, Filter
from zoo.jobs.records import accuracy_of
from zoo.queue.job_filters import FilterWords
from zoo.results.leaderboard import LeaderboardRow, leaderboard_rows
from zoo_web.context import Desk, desk, live_at
from zoo_web.events import Look, Parts, stream
from zoo_web.formats import part

PAGE = 50
"""Jobs on one page."""
SEVERAL = ("status", "model", "dataset", "tag", "group")
WORDS = (*SEVERAL, "where")
"""The options of `zoo jobs` that the address of the jobs may have."""


@dataclass(frozen=True)
class Asked:
    """Which jobs a page is to show."""

    wanted: Filter
    words: Mapping[str, str]
    number: int
    """Of the page, from 1 on."""

    def address(self, number: int) -> str:
        """Of another page of the same jobs."""
        return f"/?{urlencode({**self.words, 'page': number})}"

    def of_status(self, status: str) -> str:
        """Of those of the same jobs that have this status."""
        return f"/?{urlencode({**self.words, 'status': status})}"


def asked(at: Desk, request: Request) -> Asked:
    """Read the address.

    Raises UsageError for an invalid filter or page.
    """
    words = {name: text for name in WORDS if (text := request.query_params.get(name, "").strip())}
    number = request.query_params.get("page", "1")
    if not number.isdecimal() or not 0 < int(number[:9]) < 10**6:
        raise UsageError(f"There is no page '{number}'.")
    options: dict[str, Any] = {name: [words[name]] for name in SEVERAL if name in words}
    wanted = FilterWords(**options, where=words.get("where")).filter(at.db)
    # Of a group the newest job of each part, as `zoo show GROUP` has it.
    return Asked(replace(wanted, not_retried="group" in words), words, int(number))


def board(request: Request) -> Response:
    """The page of jobs and workers."""
    at = desk(request)
    try:
        want = asked(at, request)
        parts = jobs_parts(at, want, request.state.csrf)
    except UsageError as error:
        return at.refusal(request, error, 400)
    values = live_at(request, parts) | {"words": want.words, "statuses": STATUSES}
    return at.page(request, "board.html", **values)


def live_board(request: Request) -> Response:
    """The changes of that page."""
    at, csrf = desk(request), request.state.csrf
    want = asked(at, request)
    return stream(lambda: Look(jobs_parts(at, want, csrf)))


def jobs_parts(at: Desk, want: Asked, csrf: str) -> Parts:
    """Counts, the group if it is one's, workers, and a page of jobs, newest first."""
    seen = jobs.overview(at.db, want.wanted, most=0, ended=0)
    total = sum(seen.counts.values())
    found = jobs.listing(at.db, want.wanted, limit=PAGE, offset=(want.number - 1) * PAGE)
    ways = jobs.estimate_running(at.db, (job for job in found if job.status == "running"), seen.at)
    kinds = jobs.group_kinds(at.db, found)
    rows = {
        f"job-{job.id}": at.piece(
            "job_row",
            job=job,
            part=part(job.spec, kinds.get(job.group or "")),
            way=ways.get(job.id),
            csrf=csrf,
        )
        for job in found
    }
    last = max(1, -(-total // PAGE))
    pager = at.piece("pager", want=want, last=last, total=total)
    return {
        "counts": {"counts": at.piece("counts", seen=seen, want=want, statuses=STATUSES)},
        "group": _group(at, want),
        "jobs": rows or {"none": at.piece("no_jobs", is_filtered=bool(want.words))},
        "pager": {"pager": pager},
        "workers": _workers(at),
    }


def _group(at: Desk, want: Asked) -> dict[str, str]:
    if not want.wanted.groups:
        return {}
    found = jobs.get_group(at.db, want.wanted.groups[0])
    best = found.best()
    of = accuracy_of(best) if best else found.metrics().get("accuracy")
    every = jobs.count(at.db, Filter(groups=want.wanted.groups))
    values = {"accuracy": of, "best": best and best.jobs[0], "replaced": every - len(found.jobs)}
    return {"group": at.piece("group_head", group=found, **values)}


def _workers(at: Desk) -> dict[str, str]:
    found = jobs.workers(at.db, beat=at.settings.beat_seconds)
    pieces = {f"worker-{each.id}": at.piece("worker", worker=each) for each in found}
    if pieces:
        return pieces
    command = "zoo up" if at.settings.is_embedded else "zoo worker start"
    is_starting = at.is_worker_starting()
    return {"none": at.piece("no_worker", command=command, is_starting=is_starting)}


def ranks(request: Request) -> Response:
    """The page of the best results."""
    at = desk(request)
    name = request.query_params.get("dataset", "")
    found = leaderboard_rows(at.db)
    names = sorted({row.dataset for row in found})
    values = live_at(request, _ranks(at, found, name))
    return at.page(request, "leaderboard.html", datasets=names, chosen=name, **values)


def live_ranks(request: Request) -> Response:
    """The changes of that page."""
    at, name = desk(request), request.query_params.get("dataset", "")
    return stream(lambda: Look(_ranks(at, leaderboard_rows(at.db), name)))


def _ranks(at: Desk, found: list[LeaderboardRow], name: str) -> Parts:
    rows = [row for row in found if name in ("", row.dataset)]
    # Bars tell the errors apart: of models that are nearly all right, accuracies look the same.
    worst = max((row.test_error for row in rows if row.test_error is not None), default=0.0)
    pieces = {
        key: at.piece("rank", key=key, row=row, worst=worst)
        for key, row in ((_key(row), row) for row in rows)
    }
    return {"ranks": pieces or {"none": at.piece("no_ranks")}}


def _key(row: LeaderboardRow) -> str:
    side = "both" if row.test and row.cv else "test" if row.test else "cv"
    # A result that does not know its contents stands by itself.
    return f"{row.dataset} {row.contents or row.result.id} {row.model} {side}"
