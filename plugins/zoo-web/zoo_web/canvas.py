"""The page that asks the trained models of a dataset: with a drawing, or with a file."""

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
from zoo.images import prediction_inputs
from zoo.jobs import Job
from zoo.query import parser
from zoo.results.leaderboard import job_contents_note, leaderboard_rows
from zoo_web import uploads
from zoo_web.context import PageContext, get_context, live_values
from zoo_web.events import Parts, Snapshot, stream
from zoo_web.model_page import has_model

FIRST = ("mnist", "digits")
"""Datasets to choose by default: the first that has trained models."""
HAS_WEIGHTS = "metrics.weights_bytes > 0"


def page(request: Request) -> Response:
    """Show the canvas, or the choice of a file, and the trained models of one dataset."""
    context = get_context(request)
    names = _datasets(context)
    chosen, found = _asked(context, request)
    newest = jobs.newest_contents(context.db)
    models = [(job, job_contents_note(job, newest)) for job in found]
    contents = found[0].contents if found else None
    inputs = uploads.inputs_of(context, chosen, contents)
    is_drawable = inputs is None or prediction_inputs.can_be_strokes(inputs)
    way = uploads.way_of_input(chosen, inputs, contents) if found else uploads.CANVAS
    if is_drawable and request.query_params.get("input") in (uploads.CANVAS, uploads.FILE):
        way = request.query_params["input"]
    values = live_values(request, _states(context, found)) | {
        "datasets": names,
        "only": found[0] if found and request.query_params.get("job") else None,
        "chosen": chosen,
        "models": models,
        "inputs": inputs,
        "is_drawable": is_drawable,
        "accepted": uploads.accepted(inputs),
    }
    template = "draw.html" if way == uploads.CANVAS else "file.html"
    return context.page(request, template, **values)


def live_page(request: Request) -> Response:
    """Load the models, and stream their states."""
    context = get_context(request)
    found = _asked(context, request)[1]
    context.models.load([job.id for job in found])
    return stream(lambda: Snapshot(_states(context, found), is_last=_all_known(context, found)))


def _datasets(context: PageContext) -> list[str]:
    return sorted({row.dataset for row in leaderboard_rows(context.db)})


def _asked(context: PageContext, request: Request) -> tuple[str, list[Job]]:
    """Return the dataset of an address, and its models; with `job` that one alone."""
    if wanted := request.query_params.get("job"):
        job = jobs.get(context.db, wanted)
        return job.dataset, [job] if has_model(job) else []
    chosen = _chosen(request, _datasets(context))
    return chosen, _trained(context, chosen)


def _chosen(request: Request, names: list[str]) -> str:
    asked = request.query_params.get("dataset")
    return asked or next((name for name in (*FIRST, *names) if name in names), "")


def _trained(context: PageContext, dataset: str) -> list[Job]:
    """Return the newest training with weights of each model, the best first.

    Those of fewer classes, whose task is another, come last; after them those on older contents.
    """
    with_weights = parser.parse(HAS_WEIGHTS, jobs.FIELD_NAMES)
    rows = leaderboard_rows(context.db, jobs.Filter(datasets=(dataset,)))
    found = [
        job
        for model in {row.model for row in rows}
        for job in jobs.listing(
            context.db,
            statuses=["succeeded"],
            models=[model],
            datasets=[dataset],
            kind="train",
            where=with_weights,
            limit=1,
        )
    ]
    newest = jobs.newest_contents(context.db)
    by = jobs.dataset_objective(context.db, dataset)

    def order(job: Job) -> tuple[bool, int, float]:
        is_older = bool(job_contents_note(job, newest))
        return is_older, -len(job.class_names), by.key(job.number(by.metric))

    return sorted(found, key=order)


def _states(context: PageContext, found: list[Job]) -> Parts:
    states, notes = context.models.states, context.models.notes

    def state(job: Job) -> str:
        known = states.get(job.id, "waiting")
        return context.fragment("state", state=known, note=notes.get(job.id, ""))

    return {f"state-{job.id}": {"state": state(job)} for job in found}


def _all_known(context: PageContext, found: list[Job]) -> bool:
    return not any(context.models.states.get(job.id) in ("waiting", "loading") for job in found)


async def file_predictions(request: Request) -> Response:
    """Predict a picture with every trained model of a dataset, or rows with one of them.

    `job` in the address chooses one; the answer is that of `uploads.answer_file`.
    """
    context = get_context(request)
    found = (await run_in_threadpool(_asked, context, request))[1]
    return await uploads.answer_file(request, found)


async def predictions(request: Request) -> Response:
    """Predict a drawing, a PNG, with every trained model of a dataset.

    Streams lines of JSON: {"pixels": grey bytes in base64}, then for each model {"job", "label",
    "probabilities", "classes"} or {"job", "error"}; or {"error"} alone if it is not a picture.
    """
    context = get_context(request)
    found = (await run_in_threadpool(_asked, context, request))[1]
    drawing = base64.b64encode(await request.body()).decode()
    answers = _answers(context, drawing, [job.id for job in found])
    return StreamingResponse(answers, media_type="application/x-ndjson")


async def _answers(context: PageContext, drawing: str, found: list[str]) -> AsyncIterator[str]:
    def line(**values: Any) -> str:
        return json.dumps(values) + "\n"

    try:
        prepared = await context.models.request({"do": "prepare", "png": drawing})
    except ZooError as error:
        yield line(error=str(error))
        return
    yield line(**prepared)
    # Loaded models first: another one may be importing TensorFlow.
    for job in sorted(found, key=lambda job: context.models.states.get(job) != "ready"):
        try:
            answer = await context.models.request({"do": "predict", "job": job, **prepared})
        except ZooError as error:
            answer = {"error": str(error)}
        yield line(job=job, **answer)
