"""The page of jobs and workers, and the leaderboard."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response

from zoo import jobs
from zoo.errors import UsageError
from zoo.jobs import LISTED, Filter, Job
from zoo.jobs.groups import value_of
from zoo.jobs.worker_records import unwell_text
from zoo.metrics import ACCURACY, Objective, common_heading
from zoo.queue.job_filters import FilterWords
from zoo.results.leaderboard import LeaderboardRow, leaderboard_rows
from zoo_web.context import PageContext, get_context, live_values
from zoo_web.events import Parts, Snapshot, stream
from zoo_web.formats import group_part

PAGE = 50
"""Jobs on one page."""
SEVERAL = ("status", "model", "dataset", "tag", "group", "user")
FILTERS = (*SEVERAL, "where")
"""The options of `zoo jobs` that the address of the jobs may have."""


@dataclass(frozen=True)
class JobsQuery:
    """The jobs that a page shows: the parsed query of its address."""

    wanted: Filter
    filters: Mapping[str, str]
    number: int
    """Number of the page, from 1 on."""
    metric: str | None = None
    """The metric to show of each result; None: that of its sweep or dataset, or accuracy."""

    @property
    def _kept(self) -> dict[str, str]:
        return {**self.filters, **({"metric": self.metric} if self.metric else {})}

    def address(self, number: int) -> str:
        """Return the address of another page of the same jobs."""
        return f"/?{urlencode({**self._kept, 'page': number})}"

    def of_status(self, status: str) -> str:
        """Return the address of the jobs with this status among them."""
        return f"/?{urlencode({**self._kept, 'status': status})}"


def parse_query(context: PageContext, request: Request) -> JobsQuery:
    """Parse the query of an address.

    Raises UsageError for an invalid filter or page.
    """
    given = {name: request.query_params.get(name, "").strip() for name in FILTERS}
    filters = {name: text for name, text in given.items() if text}
    number = request.query_params.get("page", "1")
    if not number.isdecimal() or not 0 < int(number[:9]) < 10**6:
        raise UsageError(f"There is no page '{number}'.")
    options: dict[str, Any] = {name: [filters[name]] for name in SEVERAL if name in filters}
    wanted = FilterWords(**options, where=filters.get("where")).filter(context.db)
    # Of a group only the newest job of each part, as in `zoo show GROUP`.
    wanted = replace(wanted, not_retried="group" in filters)
    return JobsQuery(wanted, filters, int(number), request.query_params.get("metric") or None)


def jobs_page(request: Request) -> Response:
    """Show jobs and workers."""
    context = get_context(request)
    try:
        query = parse_query(context, request)
        parts = jobs_parts(context, query, request.state.csrf)
    except UsageError as error:
        return context.error_page(request, error, 400)
    values = live_values(request, parts) | {
        "filters": query.filters,
        "statuses": LISTED,
        "metrics": jobs.list_ranking_metrics(context.db),
        "metric": query.metric,
    }
    return context.page(request, "board.html", **values)


def live_jobs(request: Request) -> Response:
    """Stream the changes of that page."""
    context, csrf = get_context(request), request.state.csrf
    query = parse_query(context, request)
    return stream(lambda: Snapshot(jobs_parts(context, query, csrf)))


def jobs_parts(context: PageContext, query: JobsQuery, csrf: str) -> Parts:
    """Render counts, the group if one is chosen, workers, and a page of jobs, newest first."""
    seen = jobs.overview(context.db, query.wanted, most=0, ended=0)
    total = sum(seen.counts.values())
    found = jobs.listing(context.db, query.wanted, limit=PAGE, offset=(query.number - 1) * PAGE)
    running = [job for job in found if job.status == "running"]
    estimates = jobs.estimate_running(context.db, running, seen.at)
    kinds = jobs.group_kinds(context.db, found)
    shown = jobs.shown_objectives(context.db, found, query.metric)
    rows = {
        f"job-{job.id}": context.fragment(
            "job_row",
            job=job,
            by=shown[job.id],
            part=group_part(job.spec, kinds.get(job.group or "")),
            estimate=estimates.get(job.id),
            csrf=csrf,
            owner=context.other_owner(job),
        )
        for job in found
    }
    last = max(1, -(-total // PAGE))
    pager = context.fragment("pager", query=query, last=last, total=total)
    return {
        "counts": {"counts": context.fragment("counts", seen=seen, query=query, statuses=LISTED)},
        "group": _group(context, query),
        "jobs": rows or {"none": context.fragment("no_jobs", is_filtered=bool(query.filters))},
        "pager": {"pager": pager},
        "workers": _workers(context),
    }


def _group(context: PageContext, query: JobsQuery) -> dict[str, str]:
    if not query.wanted.groups:
        return {}
    found = jobs.get_group(context.db, query.wanted.groups[0])
    best = found.best()
    by = found.objective if best else _common_objective(context, found.jobs, query.metric)
    of = value_of(best) if best else found.metrics().get(by.metric)
    every = jobs.count(context.db, Filter(groups=query.wanted.groups))
    values: dict[str, Any] = {"value": of, "best": best and best.jobs[0], "by": by}
    values["replaced"] = every - len(found.jobs)
    return {"group": context.fragment("group_head", group=found, **values)}


def _common_objective(
    context: PageContext, members: Sequence[Job], metric: str | None
) -> Objective:
    """Return the metric to show of all jobs of a group, which are on one dataset."""
    ended = [job for job in members if job.status == "succeeded"][:1]
    return next(iter(jobs.shown_objectives(context.db, ended, metric).values()), ACCURACY)


def _workers(context: PageContext) -> dict[str, str]:
    found = jobs.workers(context.db)
    pieces = {f"worker-{each.id}": context.fragment("worker", worker=each) for each in found}
    states = jobs.count_worker_states(context.db)
    if unwell := unwell_text(states):
        pieces["unwell"] = context.fragment("unwell", text=unwell)
    if found:
        return pieces
    command = "zoo up" if context.settings.is_embedded else "zoo worker start"
    is_starting = context.is_worker_starting()
    none = context.fragment("no_worker", command=command, is_starting=is_starting)
    return {"none": none, **pieces}


def leaderboard_page(request: Request) -> Response:
    """Show the best result of each model."""
    context = get_context(request)
    name, metric = _chosen(request)
    try:
        found = leaderboard_rows(context.db, metric=metric)
    except UsageError as error:
        return context.error_page(request, error, 400)
    names = sorted({row.dataset for row in found})
    measured = list({row.objective.metric for row in found if name in ("", row.dataset)})
    values = live_values(request, _leaderboard_parts(context, found, name)) | {
        "metrics": jobs.list_ranking_metrics(context.db),
        "metric": metric,
        "is_alike": len(measured) == 1,
        "heading": common_heading(measured),
    }
    return context.page(request, "leaderboard.html", datasets=names, chosen=name, **values)


def live_leaderboard(request: Request) -> Response:
    """Stream the changes of that page."""
    context, (name, metric) = get_context(request), _chosen(request)

    def read() -> Snapshot:
        found = leaderboard_rows(context.db, metric=metric)
        return Snapshot(_leaderboard_parts(context, found, name))

    return stream(read)


def _chosen(request: Request) -> tuple[str, str | None]:
    """Return the dataset and the metric of an address; empty and None for all and the usual."""
    given = request.query_params
    return given.get("dataset", ""), given.get("metric") or None


def _leaderboard_parts(context: PageContext, found: list[LeaderboardRow], name: str) -> Parts:
    rows = [row for row in found if name in ("", row.dataset)]
    # Bars show errors: the accuracies of good models would all look the same.
    worst = max((row.test_error for row in rows if row.test_error is not None), default=0.0)
    pieces = {
        key: context.fragment("rank", key=key, row=row, worst=worst)
        for key, row in ((_key(row), row) for row in rows)
    }
    return {"ranks": pieces or {"none": context.fragment("no_ranks")}}


def _key(row: LeaderboardRow) -> str:
    side = "both" if row.test and row.cv else "test" if row.test else "cv"
    # A result that does not know its contents stands by itself.
    return f"{row.dataset} {row.contents or row.result.id} {row.model} {side}"
