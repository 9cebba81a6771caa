"""What a trained model is used for: evaluate it on other data, export it."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from zoo import jobs
from zoo.data.contents import SPLITS
from zoo.errors import UsageError, ZooError, unknown
from zoo.jobs import Job
from zoo.plugins import registry
from zoo.queue import submit
from zoo.training import provenance
from zoo_web import actions
from zoo_web.context import PageContext, get_context
from zoo_web.submit_form import InvalidForm, blamed_fields, label

NPZ = "npz"
FORMATS = {
    "npz": "arrays, for numpy",
    "onnx": "for onnxruntime and other tools",
    "skops": "for scikit-learn",
    "keras": "for Keras",
}
"""What each format is for; other formats of a plugin are listed by their names alone."""


def has_model(job: Job) -> bool:
    """Return whether a job has a trained model that can be used."""
    return (
        job.kind == "train"
        and job.status == "succeeded"
        and bool(job.number("weights_bytes"))
        and job.files_removed_at is None
    )


def evaluate_page(request: Request) -> Response:
    """Show the form that evaluates the model of a job."""
    context = get_context(request)
    try:
        job = _trained(context, request)
    except UsageError as error:
        return context.error_page(request, error, 404)
    return _evaluate_form(context, request, job, {})


def evaluate(request: Request) -> Response:
    """Submit an evaluation; after an error, show the form as it was filled in."""
    context, filled = get_context(request), request.state.form
    try:
        job = _trained(context, request)
    except UsageError as error:
        return context.error_page(request, error, 404)

    def read(fields: Mapping[str, str]) -> Any:
        split = fields.get("split") or "test"
        if split not in SPLITS:
            raise unknown("split", split, SPLITS)
        return submit.evaluation(job, fields.get("dataset") or None, split)

    try:
        spec = read(filled)
        done = submit.submit(context.db, context.settings, [spec])
    except ZooError as error:
        refused = InvalidForm(error, blamed_fields(filled, error, read))
        return _evaluate_form(context, request, job, filled, refused)
    return RedirectResponse(f"/jobs/{done.ids[0]}", 303)


def _evaluate_form(
    context: PageContext,
    request: Request,
    job: Job,
    filled: Mapping[str, str],
    error: InvalidForm | None = None,
) -> Response:
    values = {
        "job": job,
        "datasets": actions.known_datasets(context, job.dataset, filled.get("dataset", "")),
        "splits": SPLITS,
        "filled": filled,
        "error": error,
        "errors": error.fields if error else {},
        "label": label,
        "note": provenance.other_loader(context.db, job),
    }
    return context.page(request, "evaluate.html", status=400 if error else 200, **values)


def export_page(request: Request) -> Response:
    """Show the form that exports the model of a job."""
    context = get_context(request)
    try:
        job = _trained(context, request)
        formats = _formats(job)
    except UsageError as error:
        return context.error_page(request, error, 404)
    return _export_form(context, request, job, formats)


async def export(request: Request) -> Response:
    """Answer with the exported model as a file, which was read back and checked."""
    context, format = get_context(request), request.state.form.get("format", "")
    try:
        job = await run_in_threadpool(_trained, context, request)
        formats = await run_in_threadpool(_formats, job)
    except UsageError as error:
        return context.error_page(request, error, 404)
    try:
        if format not in formats:
            raise unknown("format", format, formats)
        # A private folder: the model server writes the file there, whatever its size.
        with tempfile.TemporaryDirectory(prefix="zoo-page-") as folder:
            path = Path(folder) / f"{job.model}.{format}"
            message = {"do": "export", "job": job.id, "format": format, "path": str(path)}
            await context.models.request(message)
            content = await run_in_threadpool(path.read_bytes)
    except ZooError as error:
        refused = InvalidForm(error, {"format": error})
        return _export_form(context, request, job, formats, format, refused)
    name = f"{job.model}-{job.id[:8]}.{format}"
    return Response(
        content,
        media_type="application/octet-stream",
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )


def _export_form(
    context: PageContext,
    request: Request,
    job: Job,
    formats: Mapping[str, str],
    chosen: str = "",
    error: InvalidForm | None = None,
) -> Response:
    values = {"job": job, "formats": formats, "chosen": chosen or next(iter(formats))}
    values |= {"errors": error.fields if error else {}, "error": error}
    return context.page(request, "export.html", status=400 if error else 200, **values)


def _formats(job: Job) -> dict[str, str]:
    """Return the formats of a job's model with what they are for.

    Raises UsageError if the model's plugin is not installed here.
    """
    if job.model not in registry.catalogue().models:
        raise UsageError(
            f"The model '{job.model}' is not installed here.",
            "Install its plugin where `zoo ui` runs.",
        )
    found = [*registry.model(job.model).formats, NPZ]
    return {name: FORMATS.get(name, "") for name in dict.fromkeys(found)}


def _trained(context: PageContext, request: Request) -> Job:
    """Return the job of an address; raises UsageError unless it has a trained model."""
    job = jobs.get(context.db, request.path_params["job"])
    if not has_model(job):
        raise UsageError(
            f"The job {job.id[:8]} has no trained model.", "Choose a training that has succeeded."
        )
    return job
