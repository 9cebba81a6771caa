"""Actions: submit, cancel, stop, retry. Each is an authenticated POST."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from zoo import jobs
from zoo.data import datasets, steps
from zoo.errors import UsageError, ZooError
from zoo.job_spec import NO_STEPS
from zoo.jobs import Job
from zoo.jobs.queue_options import QueueOptions, limits
from zoo.param_values import read_pairs
from zoo.queue import catalogue, stopping, submit
from zoo.queue.options import CHOICES, TrainingOptions
from zoo_web import param_form
from zoo_web.context import PageContext, get_context

FIRST = "logistic"
"""The model of an empty form, if it is installed."""
CHAINS = ("impute,standardize", "deskew,standardize")
"""Chains of several steps that are offered."""
SEVERAL = {"one": "one training", "cv": "cross-validation", "seeds": "several seeds"}


def submit_page(request: Request) -> Response:
    """Show the form for the model in the address."""
    context = get_context(request)
    try:
        return _form(context, request, dict(request.query_params))
    except ZooError as error:
        return context.error_page(request, error, 400)


def submit_training(request: Request) -> Response:
    """Submit a training; after an error, show the form as it was filled in."""
    context, filled = get_context(request), request.state.form
    try:
        done = _submit(context, filled)
    except ZooError as error:
        return _form(context, request, filled, error)
    place = f"/?group={done.group}" if done.group else f"/jobs/{done.ids[0]}"
    return RedirectResponse(place, 303)


def _submit(context: PageContext, filled: Mapping[str, str]) -> submit.Submitted:
    several = filled.get("several", "one")
    if several not in SEVERAL:
        raise UsageError(f"'{several}' is not one of {', '.join(SEVERAL)}.")
    number = None
    if several != "one":
        number = read_whole_number(filled, "number", 5, *limits(TrainingOptions, several)[1:])
    card = catalogue.model(filled.get("model", "")).card
    params = read_pairs(param_form.filled_params(filled, [*card.param_schemas]))
    training = TrainingOptions(
        dataset=filled.get("dataset", ""),
        preprocess="".join(filled.get("preprocess", "").split()) or NO_STEPS,
        validation=_read_share(filled, "validation"),
        class_weight=filled.get("class_weight") or None,
        positive=filled.get("positive") or None,
        seed=read_whole_number(filled, "seed", *limits(TrainingOptions, "seed")),
        cv=number if several == "cv" else None,
        seeds=number if several == "seeds" else None,
        device=filled.get("device") or None,
        exact=bool(filled.get("exact")),
    )
    queue = QueueOptions(
        pool=filled.get("pool", "").strip() or None,
        priority=read_whole_number(filled, "priority", *limits(QueueOptions, "priority")),
        tags=filled.get("tags", "").split(),
        name=filled.get("name", "").strip() or None,
    )
    specs = submit.training(filled["model"], params, training)
    return submit.submit(context.db, context.settings, specs, queue, group_kind=training.group_kind)


def _read_share(filled: Mapping[str, str], name: str) -> float | None:
    text = filled.get(name, "").strip()
    with contextlib.suppress(ValueError):
        return float(text) if text else None
    raise UsageError(f"The {name} is '{text}', but it must be a share such as 0.1.")


def read_whole_number(
    filled: Mapping[str, str], name: str, default: Any, least: Any, most: Any
) -> int:
    text = filled.get(name, "").strip() or str(default)
    sign, digits = (-1, text[1:]) if text.startswith("-") else (1, text)
    is_whole = digits.isascii() and digits.isdecimal() and len(digits) < 12
    value = sign * int(digits) if is_whole else least - 1
    if not least <= value <= most:
        raise UsageError(
            f"The {name} is '{text}', but it must be a whole number from {least:,} to {most:,}."
        )
    return value


def _form(
    context: PageContext, request: Request, filled: Mapping[str, str], error: ZooError | None = None
) -> Response:
    offers = catalogue.models()
    first = FIRST if FIRST in offers else next(iter(offers), "")
    chosen = filled.get("model") or first
    if error and chosen not in offers:
        chosen = first
    offer = catalogue.model(chosen) if chosen else None
    known_steps = [*steps.known()]
    known = [*datasets.names(), *_added(context), *catalogue.elsewhere()]
    last = _last_dataset(context)
    # The name of a file is only known from the jobs that used it.
    known += [last] if ":" in last and last not in known else []
    values: dict[str, Any] = {
        "offers": offers,
        "offer": offer,
        "fields": param_form.fields(offer.card) if offer else [],
        "datasets": known,
        "dataset": filled.get("dataset") or last,
        "steps": known_steps,
        "chains": [
            NO_STEPS,
            *known_steps,
            *(c for c in CHAINS if {*c.split(",")} <= {*known_steps}),
        ],
        "several": SEVERAL,
        "devices": CHOICES["device"],
        "filled": filled,
        "error": error,
    }
    return context.page(request, "submit.html", status=400 if error else 200, **values)


def _added(context: PageContext) -> list[str]:
    """Return the added datasets: each name, which is its newest version, and the older versions."""
    versions = jobs.list_datasets(context.db)
    newest = {
        each.name: max(v.version for v in versions if v.name == each.name) for each in versions
    }
    older = [each.label for each in versions if each.version != newest[each.name]]
    return sorted([*newest, *older])


def _last_dataset(context: PageContext) -> str:
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
    return context.page(request, "confirm.html", job=job, owner=owner, verb=verb)


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
