"""The page on which a person draws a digit, and what every trained model makes of it."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from zoo import jobs
from zoo.errors import ZooError
from zoo.jobs import Job
from zoo.query import parser
from zoo.results.leaderboard import job_contents_note, leaderboard_rows
from zoo_web.context import Desk, desk, live_at
from zoo_web.events import Look, Parts, stream

FIRST = ("mnist", "digits")
"""The dataset whose models are asked, unless the address names one: the first that has any."""
HAS_WEIGHTS = "metrics.weights_bytes > 0"


def page(request: Request) -> Response:
    """The canvas and the trained models of one dataset."""
    at = desk(request)
    names = _datasets(at)
    chosen = _chosen(request, names)
    found = _trained(at, chosen)
    newest = jobs.newest_contents(at.db)
    models = [(job, job_contents_note(job, newest)) for job in found]
    values = live_at(request, _states(at, found))
    return at.page(request, "draw.html", datasets=names, chosen=chosen, models=models, **values)


def live_page(request: Request) -> Response:
    """Have the models loaded, and tell how far that is."""
    at = desk(request)
    found = _trained(at, _chosen(request, _datasets(at)))
    at.models.load([job.id for job in found])
    return stream(lambda: Look(_states(at, found), is_last=_all_known(at, found)))


def _datasets(at: Desk) -> list[str]:
    return sorted({row.dataset for row in leaderboard_rows(at.db)})


def _chosen(request: Request, names: list[str]) -> str:
    asked = request.query_params.get("dataset")
    return asked or next((name for name in (*FIRST, *names) if name in names), "")


def _trained(at: Desk, dataset: str) -> list[Job]:
    """The newest training of each model that has left weights, the most accurate first.

    Those of fewer classes, whose task is another, come last; after them those on older contents.
    """
    weighty = parser.parse(HAS_WEIGHTS, jobs.FIELD_NAMES)
    rows = leaderboard_rows(at.db, jobs.Filter(datasets=(dataset,)))
    found = [
        job
        for model in {row.model for row in rows}
        for job in jobs.listing(
            at.db,
            statuses=["succeeded"],
            models=[model],
            datasets=[dataset],
            kind="train",
            where=weighty,
            limit=1,
        )
    ]
    newest = jobs.newest_contents(at.db)

    def order(job: Job) -> tuple[bool, int, float]:
        is_older = bool(job_contents_note(job, newest))
        return is_older, -len(job.class_names), -(job.accuracy or 0)

    return sorted(found, key=order)


def _states(at: Desk, found: list[Job]) -> Parts:
    states = at.models.states
    return {
        f"state-{job.id}": {"state": at.piece("state", state=states.get(job.id, "waiting"))}
        for job in found
    }


def _all_known(at: Desk, found: list[Job]) -> bool:
    return not any(at.models.states.get(job.id) in ("waiting", "loading") for job in found)


async def predictions(request: Request) -> Response:
    """Ask every trained model of a dataset about a drawing, a PNG.

    Lines of JSON as they come: {"pixels": 784 bytes in base64}, then of each model {"job", "label",
    "probabilities", "classes"}, or {"job", "error"}; or one {"error"} if it is no drawing.
    """
    at = desk(request)
    names = await run_in_threadpool(_datasets, at)
    found = await run_in_threadpool(_trained, at, _chosen(request, names))
    drawing = base64.b64encode(await request.body()).decode()
    answers = _answers(at, drawing, [job.id for job in found])
    return StreamingResponse(answers, media_type="application/x-ndjson")


async def _answers(at: Desk, drawing: str, found: list[str]) -> AsyncIterator[str]:
    def line(**told: Any) -> str:
        return json.dumps(told) + "\n"

    try:
        seen = await at.models.ask({"do": "prepare", "png": drawing})
    except ZooError as error:
        yield line(error=str(error))
        return
    yield line(**seen)
    # Those that are there answer first: another one may be importing TensorFlow.
    for job in sorted(found, key=lambda job: at.models.states.get(job) != "ready"):
        try:
            answer = await at.models.ask({"do": "predict", "job": job, **seen})
        except ZooError as error:
            answer = {"error": str(error)}
        yield line(job=job, **answer)
