"""The form of a training or a sweep: read, checked field by field, and filled in from a job."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from zoo.errors import UsageError, ZooError, unknown
from zoo.job_spec import NO_STEPS, JobSpec
from zoo.jobs import Database, Group, Job
from zoo.jobs.queue_options import QueueOptions, limits
from zoo.param_values import read_pairs, typed
from zoo.queue import catalogue, submit
from zoo.queue.options import TrainingOptions
from zoo.settings import Settings
from zoo.sweeps import driver, plan, search_space
from zoo.sweeps.pruners import OWN, PruningOptions
from zoo.sweeps.search_space import RANGE, Span
from zoo_web import param_form
from zoo_web.param_form import PREFIX

SEVERAL = {
    "one": "one training",
    "cv": "cross-validation",
    "seeds": "several seeds",
    "sweep": "sweep of params",
}
SAMPLERS = {"grid": "every combination", "random": "random combinations"}
"""Those of `zoo sweep`; `tpe` picks each trial in the process that submits it."""
NEEDED = ("model", "dataset", "several")
"""Fields without which no other one can be checked."""
MOST_TRIALS = 10_000
"""Random trials; a larger sweep would be planned while a browser waits."""


@dataclass(frozen=True)
class Submission:
    """What a filled form submits."""

    specs: Sequence[JobSpec]
    queue: QueueOptions
    group_kind: str | None = None
    sweep: plan.Plan | None = None

    def submit(self, db: Database, settings: Settings) -> submit.Submitted:
        """Submit it; raises ZooError."""
        if self.sweep:
            return driver.submit_sweep(db, settings, self.sweep, self.queue)
        return submit.submit(db, settings, self.specs, self.queue, group_kind=self.group_kind)


class InvalidForm(UsageError):
    """A form is refused; `fields` has the error of each field that is to blame."""

    def __init__(self, error: ZooError, fields: Mapping[str, ZooError]) -> None:
        super().__init__(error.message, error.hint)
        self.fields = fields


def read_form(filled: Mapping[str, str]) -> Submission:
    """Return what a filled form submits; nothing is written.

    Raises:
        InvalidForm: With the fields to blame, if there are any.
    """
    try:
        return _read(filled)
    except ZooError as error:
        raise InvalidForm(error, blamed_fields(filled, error, _read)) from None


def blamed_fields(
    filled: Mapping[str, str], error: ZooError, read: Callable[[Mapping[str, str]], object]
) -> dict[str, ZooError]:
    """Return the error of each field that `read` refuses by itself, beside the needed ones.

    If there is none, it is the field without which the rest is accepted; if there is none either,
    the result is empty.
    """
    needed = {name: filled[name] for name in NEEDED if name in filled}
    others = [name for name, text in filled.items() if name not in needed and text.strip()]
    usual = _error(read, needed)
    found = {name: _error(read, needed | {name: filled[name]}) for name in others}
    alone = {name: each for name, each in found.items() if each and str(each) != str(usual)}
    if alone:
        return alone
    for name in (*others, *needed):
        if _error(read, {key: text for key, text in filled.items() if key != name}) is None:
            return {name: error}
    with contextlib.suppress(UsageError):
        catalogue.model(filled.get("model", ""))
        return {}
    return {"model": error}


def _error(
    read: Callable[[Mapping[str, str]], object], filled: Mapping[str, str]
) -> ZooError | None:
    try:
        read(filled)
    except ZooError as error:
        return error
    return None


def _read(filled: Mapping[str, str]) -> Submission:
    several = filled.get("several", "one")
    if several not in SEVERAL:
        raise unknown("kind of training", several, SEVERAL)
    card = catalogue.model(filled.get("model", "")).card
    given = param_form.filled_params(filled, [*card.param_schemas])
    training, queue = _training(filled, several), _queue(filled)
    if several == "sweep":
        return _sweep(filled, card.name, given, training, queue)
    specs = submit.training(card.name, read_pairs(given), training)
    return Submission(specs, queue, training.group_kind)


def _training(filled: Mapping[str, str], several: str) -> TrainingOptions:
    number = None
    if several in ("cv", "seeds"):
        number = read_whole_number(filled, "number", 5, *limits(TrainingOptions, several)[1:])
    return TrainingOptions(
        dataset=filled.get("dataset", "") or TrainingOptions.dataset,
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


def _queue(filled: Mapping[str, str]) -> QueueOptions:
    return QueueOptions(
        pool=filled.get("pool", "").strip() or None,
        priority=read_whole_number(filled, "priority", *limits(QueueOptions, "priority")),
        tags=filled.get("tags", "").split(),
        name=filled.get("name", "").strip() or None,
    )


def _sweep(
    filled: Mapping[str, str],
    model: str,
    given: Sequence[str],
    training: TrainingOptions,
    queue: QueueOptions,
) -> Submission:
    sampler = filled.get("sampler") or "grid"
    if sampler not in SAMPLERS:
        raise unknown("sampler", sampler, SAMPLERS)
    trials = None
    if filled.get("trials", "").strip():
        trials = read_whole_number(filled, "trials", None, 1, MOST_TRIALS)
    space = search_space.parse_search_space(given)
    wanted = plan.SweepRequest(
        model,
        training,
        sampler,
        trials,
        filled.get("metric", "").strip() or None,
        PruningOptions(filled.get("pruner") or None),
    )
    found = plan.plan_sweep(wanted, space)
    return Submission(found.specs, queue, "sweep", found)


def _read_share(filled: Mapping[str, str], name: str) -> float | None:
    text = filled.get(name, "").strip()
    with contextlib.suppress(ValueError):
        return float(text) if text else None
    raise UsageError(f"The {name} is '{text}', but it must be a share such as 0.1.")


def read_whole_number(
    filled: Mapping[str, str], name: str, default: Any, least: Any, most: Any
) -> int:
    """Return a field as a whole number within bounds; raises UsageError for any other text."""
    text = filled.get(name, "").strip() or str(default)
    sign, digits = (-1, text[1:]) if text.startswith("-") else (1, text)
    is_whole = digits.isascii() and digits.isdecimal() and len(digits) < 12
    value = sign * int(digits) if is_whole else least - 1
    if not least <= value <= most:
        raise UsageError(
            f"The {name} is '{text}', but it must be a whole number from {least:,} to {most:,}."
        )
    return value


def filled_from(found: Job | Group) -> dict[str, str]:
    """Return the fields of a form that trains again what a job or a sweep has trained.

    A job of a cross-validation stands for all of its folds. The seed, pool, priority and tags are
    those of the job; its name is left out, so that a name stands for one result.
    """
    if isinstance(found, Group):
        return _filled_from_group(found)
    spec = found.spec
    filled = _options(spec) | _of_queue(found)
    if fold := spec.get("fold"):
        filled |= {"several": "cv", "number": str(fold["k"])}
    return filled | {f"{PREFIX}{name}": typed(value) for name, value in found.changed.items()}


def _options(spec: Mapping[str, Any]) -> dict[str, str]:
    texts = {
        "model": spec["model"],
        "dataset": _dataset(spec),
        "preprocess": spec.get("preprocess") if spec.get("preprocess") != NO_STEPS else None,
        "seed": None if spec.get("seed") == TrainingOptions.seed else spec.get("seed"),
        "exact": "yes" if spec.get("exact") else None,
    }
    texts |= {name: spec.get(name) for name in ("validation", "class_weight", "positive", "device")}
    return {name: str(value) for name, value in texts.items() if value is not None}


def _dataset(spec: Mapping[str, Any]) -> str:
    version = spec.get("version")
    return f"{spec['dataset']}@{version}" if version else str(spec["dataset"])


def _of_queue(job: Job) -> dict[str, str]:
    found = {"tags": " ".join(job.tags)}
    if job.pool not in ("default", "gpu"):
        found["pool"] = job.pool
    if job.priority:
        found["priority"] = str(job.priority)
    return {name: text for name, text in found.items() if text}


def _filled_from_group(group: Group) -> dict[str, str]:
    if not group.jobs:
        raise UsageError(f"The group {group.id[:8]} has no jobs left.", "Fill in the form anew.")
    first = group.jobs[0]
    if group.kind == "seeds":
        return filled_from(first) | {"several": "seeds", "number": str(len(group.jobs))}
    if group.kind != "sweep":
        return filled_from(first)
    filled = _options(first.spec) | _of_queue(first) | {"several": "sweep"}
    about = group.about
    # The search space of a grid is all of its combinations; others have a number of trials.
    filled["sampler"] = "grid" if about.get("sampler") == "grid" else "random"
    if filled["sampler"] == "random" and about.get("trials"):
        filled["trials"] = str(about["trials"])
    filled["metric"] = str(about.get("objective") or "")
    pruner = about.get("pruner")
    if isinstance(pruner, dict) and pruner.get("name") in OWN:
        filled["pruner"] = str(pruner["name"])
    try:
        space = search_space.Space.from_json(about.get("fixed") or {}, about.get("space") or {})
    except (AttributeError, KeyError, TypeError, ValueError):
        return filled
    texts = {name: _values_text([value]) for name, value in space.fixed.items()}
    texts |= {name: _values_text(values) for name, values in space.varied.items()}
    return filled | {f"{PREFIX}{name}": text for name, text in texts.items() if text}


def _values_text(values: Sequence[Any] | Span) -> str:
    """Format the values of a param of a sweep as `parse_search_space` reads them."""
    return str(values) if isinstance(values, Span) else ",".join(map(_value_text, values))


def _value_text(value: Any) -> str:
    text = typed(value)
    is_plain = not isinstance(value, str) or ("," not in text and not RANGE.fullmatch(text))
    return text if is_plain else json.dumps(value)
