"""Actions: submit, cancel, stop, retry. Each is an authenticated POST."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from zoo import jobs
from zoo.data import datasets, steps
from zoo.errors import UsageError, ZooError
from zoo.job_spec import NO_STEPS
from zoo.jobs import Job
from zoo.jobs.cards import Card
from zoo.queue import catalogue, stopping, submit
from zoo.queue.options import CHOICES
from zoo.sweeps.pruners import OWN
from zoo_web import param_form, submit_form
from zoo_web.context import PageContext, get_context
from zoo_web.submit_form import InvalidForm

FIRST = "logistic"
"""The model of an empty form, if it is installed."""
CHAINS = ("impute,standardize", "deskew,standardize")
"""Chains of several steps that are offered."""
FROM = "from"
"""In the address of the form: the job or group whose fields it is filled with."""
CHANGE = "change"
"""The field of the button that shows the form of another model or kind, and submits nothing."""
MORE = (
    *("preprocess", "validation", "class_weight", "positive", "seed", "device", "exact"),
    *("name", "tags", "pool", "priority"),
)
"""The fields that are folded away while all are empty."""


def submit_page(request: Request) -> Response:
    """Show the form for the model in the address, or as a job or group was trained."""
    context, filled = get_context(request), dict(request.query_params)
    try:
        if ref := filled.pop(FROM, ""):
            filled = submit_form.filled_from(jobs.find_reference(context.db, ref)) | filled
        return _form(context, request, filled)
    except ZooError as error:
        return context.error_page(request, error, 400)


def submit_training(request: Request) -> Response:
    """Submit a training or a sweep; after an error, show the form as it was filled in."""
    context, filled = get_context(request), request.state.form
    if filled.get(CHANGE):
        return _form(context, request, filled)
    try:
        done = submit_form.read_form(filled).submit(context.db, context.settings)
    except ZooError as error:
        return _form(context, request, filled, error)
    place = f"/groups/{done.group}" if done.group else f"/jobs/{done.ids[0]}"
    return RedirectResponse(place, 303)


def _form(
    context: PageContext, request: Request, filled: Mapping[str, str], error: ZooError | None = None
) -> Response:
    offers = catalogue.models()
    first = FIRST if FIRST in offers else next(iter(offers), "")
    chosen = filled.get("model") or first
    blamed = dict(error.fields) if isinstance(error, InvalidForm) else {}
    if chosen not in offers and (error or filled.get(CHANGE)):
        chosen = first
    offer = catalogue.model(chosen) if chosen else None
    known_steps = [*steps.known()]
    last = last_dataset(context)
    values: dict[str, Any] = {
        "offers": offers,
        "offer": offer,
        "fields": param_form.fields(offer.card) if offer else [],
        "datasets": known_datasets(context, last, filled.get("dataset", "")),
        "dataset": filled.get("dataset") or last,
        "steps": known_steps,
        "chains": [
            NO_STEPS,
            *known_steps,
            *(c for c in CHAINS if {*c.split(",")} <= {*known_steps}),
        ],
        "several": submit_form.SEVERAL,
        "several_help": submit_form.SEVERAL_HELP,
        "samplers": submit_form.SAMPLERS,
        "pruners": OWN,
        "pruning": submit_form.PRUNING,
        "label": submit_form.label,
        "pairs": lambda texts: [(text, text) for text in texts],
        "table_example": _table_example(offer.card) if offer else "",
        "metrics": jobs.list_ranking_metrics(context.db),
        "devices": CHOICES["device"],
        "filled": filled,
        "error": error,
        "errors": blamed,
        "is_more": any(
            filled.get(name, "").strip() or name in blamed
            for name in MORE
            # Validation rows stand with the options of a sweep.
            if name != "validation" or filled.get("several") != "sweep"
        ),
    }
    return context.page(request, "submit.html", status=400 if error else 200, **values)


def _table_example(card: Card) -> str:
    """Return a table of two trials, with the defaults of the first params that are numbers."""
    numbers = [each for each in param_form.fields(card) if each.is_number and each.default][:2]
    line = ",".join(each.default for each in numbers)
    return f"{','.join(each.name for each in numbers)}\n{line}\n…" if numbers else ""


def known_datasets(context: PageContext, *others: str) -> list[str]:
    """Return the datasets to choose from, with these if they can be had."""
    known = [*datasets.names(), *_added(context), *catalogue.elsewhere()]
    # The name of a file is only known from the jobs that used it.
    return [*known, *dict.fromkeys(each for each in others if ":" in each and each not in known)]


def _added(context: PageContext) -> list[str]:
    """Return the added datasets: each name, which is its newest version, and the older versions."""
    versions = jobs.list_datasets(context.db)
    # Of each name the newest version comes first, so it is the last one here.
    newest = {each.name: each.version for each in reversed(versions)}
    older = [each.label for each in versions if each.version != newest[each.name]]
    return sorted([*newest, *older])


def last_dataset(context: PageContext) -> str:
    """Return the dataset of the newest training, or an empty string."""
    found = jobs.listing(context.db, kind="train", limit=1)
    return found[0].dataset if found else ""


def cancel(request: Request) -> Response:
    """Cancel a job: a queued one ends at once, a running one within a second or so."""
    context = get_context(request)
    try:
        job = jobs.get(context.db, request.path_params["job"])
    except UsageError as error:
        return context.error_page(request, error, 404)
    if question := _question(context, request, job, "cancel"):
        return question
    jobs.cancel_many(context.db, [job.id])
    return RedirectResponse(f"/jobs/{job.id}", 303)


def _question(context: PageContext, request: Request, job: Job, verb: str) -> Response | None:
    """Ask whether the job of another user is meant; None if it is the own one, or was asked."""
    owner = context.other_owner(job)
    if not owner or request.state.form.get("sure") == "yes":
        return None
    short, status = job.id[:8], job.listed_status.replace("_", " ")
    return context.page(
        request,
        "confirm.html",
        title=verb.capitalize(),
        question=f"{verb.capitalize()} a job of {owner}?",
        about=f"{job.model} on {job.dataset_label}, {short}, is {status}.",
        action=f"/jobs/{job.id}/{verb}",
        back=f"/jobs/{job.id}",
    )


def stop(request: Request) -> Response:
    """End a training now, with what it has learned so far."""
    context = get_context(request)
    try:
        job = jobs.get(context.db, request.path_params["job"])
    except UsageError as error:
        return context.error_page(request, error, 404)
    if question := _question(context, request, job, "stop"):
        return question
    if refusal := stopping.request_stops(context.db, [job.id]).first_refusal():
        return context.error_page(request, refusal, 409)
    return RedirectResponse(f"/jobs/{job.id}", 303)


def retry(request: Request) -> Response:
    """Resubmit a job that did not succeed; with the field `resume` from its checkpoint."""
    context, resume = get_context(request), bool(request.state.form.get("resume"))
    try:
        job = jobs.get(context.db, request.path_params["job"])
        done = submit.retry(context.db, context.settings, [job.id], resume=resume)
    except UsageError as error:
        return context.error_page(request, error, 409)
    return RedirectResponse(f"/jobs/{done.ids[0]}", 303)
