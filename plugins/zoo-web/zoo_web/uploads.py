"""Predict files that are dropped on the page: pictures of any size, and rows of tables."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from zoo import jobs
from zoo.data import added, datasets
from zoo.data.contents import Inputs
from zoo.data.rows_file import CSV, PARQUET
from zoo.errors import ZooError
from zoo.images import prediction_inputs
from zoo.jobs import Job
from zoo_web.context import PageContext, get_context

LONGEST_NAME = 80
CANVAS, FILE = "canvas", "file"


def inputs_of(context: PageContext, dataset: str, contents: str | None) -> Inputs | None:
    """Return what the inputs of a dataset are, as far as this machine knows without reading it."""
    version = jobs.find_contents(context.db, contents) if contents else None
    try:
        meta = added.meta_of(version) if version else datasets.meta(dataset)
    except (ZooError, OSError, ValueError):  # the files of a dataset may have any name
        return None
    return meta.inputs if meta else None


def way_of_input(dataset: str, inputs: Inputs | None, contents: str | None) -> str:
    """Return how the page asks for an input: CANVAS for pen strokes, FILE for all others."""
    if inputs is None:
        return CANVAS if dataset in prediction_inputs.STROKES else FILE
    are_strokes = prediction_inputs.are_strokes(inputs, dataset, contents or "")
    return CANVAS if are_strokes else FILE


def accepted(inputs: Inputs | None) -> str:
    """Return the files that the browser offers for these inputs."""
    tables = ",".join([*CSV, *PARQUET])
    if inputs is None:
        return f"image/*,{tables}"
    return "image/*" if inputs.kind == "image" else tables


async def answer_file(request: Request, found: list[Job]) -> Response:
    """Predict the file in the body with trained models, one after another.

    Streams lines of JSON: for each model {"job", "label", "probabilities", "classes", "shape",
    "pixels", "note"} of a picture, {"job", "columns", "rows", "total", "notes", "csv"} of a table,
    or {"job", "error"}.
    """
    context = get_context(request)
    name = _file_name(request.query_params.get("name", ""))
    content = await request.body()
    answers = _answers(context, name, content, [job.id for job in found])
    return StreamingResponse(answers, media_type="application/x-ndjson")


def _file_name(given: str) -> str:
    """The name of an uploaded file, without folders and odd characters; its suffix is kept."""
    plain = re.sub(r"[^\w. -]+", "-", given.replace("\\", "/").rpartition("/")[2]).lstrip(".- ")
    return plain[-LONGEST_NAME:].lstrip(".- ") or "file"


async def _answers(
    context: PageContext, name: str, content: bytes, found: list[str]
) -> AsyncIterator[str]:
    # A private folder: the model server reads the file there, whatever its size.
    with tempfile.TemporaryDirectory(prefix="zoo-page-") as folder:
        path = Path(folder) / name
        try:
            await run_in_threadpool(path.write_bytes, content)
        except OSError as error:
            yield _line(error=f"The file cannot be kept: {error.strerror}.")
            return
        # Loaded models first: another one may be importing TensorFlow.
        for job in sorted(found, key=lambda job: context.models.states.get(job) != "ready"):
            message = {"do": "predict_file", "job": job, "folder": folder, "name": name}
            try:
                answer = await context.models.request(message)
            except ZooError as error:
                answer = {"error": str(error)}
            yield _line(job=job, **answer)


def _line(**values: Any) -> str:
    return json.dumps(values) + "\n"
