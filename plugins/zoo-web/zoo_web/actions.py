"""What changes something: submit, cancel, retry. Each is a POST that has come through the door."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from zoo import jobs
from zoo.data import datasets
from zoo.errors import UsageError, ZooError
from zoo.job_spec import Preprocess
from zoo.jobs.queue_options import QueueOptions, limits
from zoo.param_values import read_pairs
from zoo.queue import catalogue, submit
from zoo.queue.options import TrainingOptions
from zoo_web import param_form
from zoo_web.context import Desk, desk

FIRST = "logistic"
"""The model that an empty form begins with, where there is one of that name."""
SEVERAL = {"one": "one training", "cv": "cross-validation", "seeds": "several seeds"}


def form(request: Request) -> Response:
    """The form of the model that the address names."""
    at = desk(request)
    try:
        return _form(at, request, dict(request.query_params))
    except ZooError as error:
        return at.refusal(request, error, 400)


def submitted(request: Request) -> Response:
    """Submit a training; what is refused comes back with the form as it was filled in."""
    at, filled = desk(request), request.state.form
    try:
        done = _submit(at, filled)
    except ZooError as error:
        return _form(at, request, filled, error)
    place = f"/?group={done.group}" if done.group else f"/jobs/{done.ids[0]}"
    return RedirectResponse(place, 303)


def _submit(at: Desk, filled: Mapping[str, str]) -> submit.Submitted:
    several = filled.get("several", "one")
    if several not in SEVERAL:
        raise UsageError(f"'{several}' is not one of {', '.join(SEVERAL)}.")
    number = None
    if several != "one":
        number = _whole(filled, "number", 5, *limits(TrainingOptions, several)[1:])
    schema = catalogue.model(filled.get("model", "")).card["schema"]
    params = read_pairs(param_form.given(filled, [*schema.get("properties", {})]))
    training = TrainingOptions(
        dataset=filled.get("dataset", ""),
        preprocess=filled.get("preprocess", TrainingOptions.preprocess),
        seed=_whole(filled, "seed", *limits(TrainingOptions, "seed")),
        cv=number if several == "cv" else None,
        seeds=number if several == "seeds" else None,
    )
    queue = QueueOptions(
        pool=filled.get("pool", "").strip() or QueueOptions.pool,
        priority=_whole(filled, "priority", *limits(QueueOptions, "priority")),
        tags=filled.get("tags", "").split(),
    )
    specs = submit.training(filled["model"], params, training)
    return submit.submit(at.db, at.settings, specs, queue, group_kind=training.group_kind)


def _whole(filled: Mapping[str, str], name: str, default: Any, least: Any, most: Any) -> int:
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
    at: Desk, request: Request, filled: Mapping[str, str], error: ZooError | None = None
) -> Response:
    offers = catalogue.models()
    first = FIRST if FIRST in offers else next(iter(offers), "")
    chosen = filled.get("model") or first
    if error and chosen not in offers:
        chosen = first
    offer = catalogue.model(chosen) if chosen else None
    known = [*datasets.names(), *catalogue.elsewhere()]
    last = _last_dataset(at)
    # A file's name is known to who has used it alone.
    known += [last] if ":" in last and last not in known else []
    values: dict[str, Any] = {
        "offers": offers,
        "offer": offer,
        "fields": param_form.fields(offer.card) if offer else [],
        "datasets": known,
        "dataset": filled.get("dataset") or last,
        "preprocesses": get_args(Preprocess),
        "several": SEVERAL,
        "filled": filled,
        "error": error,
    }
    return at.page(request, "submit.html", status=400 if error else 200, **values)


def _last_dataset(at: Desk) -> str:
    """The dataset of the newest training; nothing where there is none."""
    found = jobs.listing(at.db, kind="train", limit=1)
    return found[0].dataset if found else ""


def cancel(request: Request) -> Response:
    """Cancel a job: a queued one ends at once, a running one within a second or so."""
    at = desk(request)
    try:
        job = jobs.get(at.db, request.path_params["job"])
    except UsageError as error:
        return at.refusal(request, error, 404)
    jobs.cancel_many(at.db, [job.id])
    return RedirectResponse(f"/jobs/{job.id}", 303)


def retry(request: Request) -> Response:
    """Submit a job that did not succeed once more."""
    at = desk(request)
    try:
        job = jobs.get(at.db, request.path_params["job"])
        done = submit.retry(at.db, at.settings, [job.id])
    except UsageError as error:
        return at.refusal(request, error, 409)
    return RedirectResponse(f"/jobs/{done.ids[0]}", 303)
