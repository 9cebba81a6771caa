"""The form of a training or a sweep: read, checked field by field, and filled in from a job."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple

from zoo.errors import UsageError, ZooError, unknown
from zoo.job_spec import NO_STEPS, JobSpec
from zoo.jobs import Database, Group, Job, Pruner
from zoo.jobs.queue_options import QueueOptions, limits
from zoo.param_values import read_pairs, typed
from zoo.queue import catalogue, submit
from zoo.queue.options import TrainingOptions
from zoo.settings import Settings
from zoo.sweeps import driver, plan, search_space, trials
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
SEVERAL_HELP = {
    "one": "Train once and measure on the test rows.",
    "cv": "Divide the rows into K folds, and train K times, each time without the fold that "
    "measures. The result is the mean of the folds.",
    "seeds": "Train N times with successive random seeds. The result is the mean.",
    "sweep": "Train with many combinations of params and rank them.",
}
TABLE = "file"
"""The choice of trials that are listed one by one."""
SAMPLERS = {
    "grid": "every combination",
    "random": "random combinations",
    TABLE: "listed in a table",
}
"""Those of `zoo sweep`; `tpe` picks each trial in the process that submits it."""
NEEDED = ("model", "dataset", "several", "sampler")
"""Fields without which no other one can be checked."""
MOST_TRIALS = 10_000
"""Random or listed trials; a larger sweep would be planned while a browser waits."""


class Entry(NamedTuple):
    """A field for an option."""

    label: str
    help: str = ""
    default: str = ""
    """What an empty field stands for."""


PRUNING = {
    "min_resource": Entry("Epochs before the first rung", "There the first trials wait.", "1"),
    "max_resource": Entry("Epochs of a complete training", "", "that of the param epochs"),
    "reduction_factor": Entry(
        "Promote one of N trials", "Of N trials that wait at a rung the best one goes on.", "3"
    ),
    "n_startup_trials": Entry(
        "Trials before pruning", "None is ended before this number has succeeded.", "5"
    ),
    "n_warmup_steps": Entry("Epochs before pruning", "No trial is ended before this epoch.", "0"),
}
"""The options of pruners; `OWN` has those of each."""
LABELS = {
    "several": "Kind",
    "number": "Folds or seeds",
    "preprocess": "Preprocessing",
    "validation": "Validation share",
    "class_weight": "Class weight",
    "positive": "Positive class",
    "exact": "After an interruption",
    "sampler": "Trials",
    "trials": "Number of trials",
    "table": "Table of trials",
    "cv": "Folds per trial",
    "seeds": "Seeds per trial",
    "metric": "Ranked by",
    "pruner": "Pruner",
} | {name: each.label for name, each in PRUNING.items()}
"""Labels of fields; others are called as their option is."""
BESIDE: dict[str, tuple[str, ...]] = {
    "metric": ("validation",),
    "pruner": ("validation", "metric"),
    **dict.fromkeys(PRUNING, ("validation", "metric", "pruner")),
}
"""Other fields that a field is checked together with."""


def label(name: str) -> str:
    """Return the label of a field."""
    plain = name.removeprefix(PREFIX)
    return LABELS.get(name) or (plain if plain != name else plain.replace("_", " ").capitalize())


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
        super().__init__(_with_labels(error.message), _with_labels(error.hint))
        self.fields = {
            name: UsageError(_with_labels(each.message), _with_labels(each.hint))
            for name, each in fields.items()
        }


def _with_labels(text: str) -> str:
    """Return a sentence with the labels of fields where it names options of the command line."""
    random = f"“{SAMPLERS['random']}”"
    text = text.replace("--sampler random --trials N", random)
    text = re.sub("(?<=[Uu]se )--sampler random", random, text)
    text = text.replace("--sampler random", f"with {random}")
    text = re.sub(r"--([a-z][a-z-]+)", lambda found: _quoted(found[1], found[0]), text)
    return re.sub(r"(?<!\S)-p (?=\S)", "", text)


def _quoted(option: str, given: str) -> str:
    name = option.replace("-", "_")
    known = {each.name for each in fields(TrainingOptions)} | {*LABELS}
    return f"“{label(name)}”" if name in known else given


def read_form(filled: Mapping[str, str]) -> Submission:
    """Return what a filled form submits; nothing is written.

    Raises:
        InvalidForm: With the fields to blame, if there are any.
    """
    try:
        return _read(filled)
    except InvalidForm:
        raise
    except ZooError as error:
        raise InvalidForm(error, blamed_fields(filled, error, _read)) from None


def blamed_fields(
    filled: Mapping[str, str], error: ZooError, read: Callable[[Mapping[str, str]], object]
) -> dict[str, ZooError]:
    """Return the error of each field that `read` refuses, beside the needed ones and `BESIDE`.

    If there is none, it is the field without which the rest is accepted; if there is none either,
    the result is empty.
    """
    needed = {name: filled[name] for name in NEEDED if name in filled}
    if needed.get("sampler") not in SAMPLERS:
        needed.pop("sampler", None)
    others = [name for name, text in filled.items() if name not in needed and text.strip()]
    alone = {}
    for name in others:
        beside = {*BESIDE.get(name, ()), "table"} - {name}
        base = needed | {each: filled[each] for each in filled if each in beside}
        usual, found = _error(read, base), _error(read, base | {name: filled[name]})
        if found and str(found) != str(usual):
            alone[name] = found
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
    parts: dict[str, Any] = {}
    if several in ("cv", "seeds"):
        bounds = limits(TrainingOptions, several)[1:]
        parts[several] = read_whole_number(filled, "number", 5, *bounds)
    elif several == "sweep":
        parts = {name: _read_optional(filled, TrainingOptions, name) for name in ("cv", "seeds")}
    return TrainingOptions(
        dataset=filled.get("dataset", "") or TrainingOptions.dataset,
        preprocess="".join(filled.get("preprocess", "").split()) or NO_STEPS,
        validation=_read_share(filled, "validation"),
        class_weight=filled.get("class_weight") or None,
        positive=filled.get("positive") or None,
        seed=read_whole_number(filled, "seed", *limits(TrainingOptions, "seed")),
        **parts,
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
    number = None
    if filled.get("trials", "").strip():
        number = read_whole_number(filled, "trials", None, 1, MOST_TRIALS)
    space = search_space.parse_search_space(given)
    if sampler == TABLE:
        space, sampler = replace(space, table=_table(filled)), "grid"
    pruning = {name: _read_optional(filled, PruningOptions, name) for name in PRUNING}
    wanted = plan.SweepRequest(
        model,
        training,
        sampler,
        number,
        filled.get("metric", "").strip() or None,
        PruningOptions(filled.get("pruner") or None, **pruning),
    )
    found = plan.plan_sweep(wanted, space)
    return Submission(found.specs, queue, "sweep", found)


def _table(filled: Mapping[str, str]) -> str:
    """Return the table of trials; raises InvalidForm if there is none, or it is too long."""
    text = filled.get("table", "")
    error = None
    if not text.strip():
        error = UsageError("The trials are missing.", "Paste a table, or choose a file.")
    elif text.count("\n") > MOST_TRIALS:
        error = UsageError(f"The table has more than {MOST_TRIALS:,} lines.", "Use `zoo sweep`.")
    if error:
        raise InvalidForm(error, {"table": error})
    return text


def _read_optional(filled: Mapping[str, str], record: type, name: str) -> int | None:
    """Return a field as a whole number within the bounds of an option, None if it is empty."""
    if not filled.get(name, "").strip():
        return None
    _, least, most = limits(record, name)
    return read_whole_number(filled, name, None, least, MOST_TRIALS if most is None else most)


def _read_share(filled: Mapping[str, str], name: str) -> float | None:
    text = filled.get(name, "").strip()
    with contextlib.suppress(ValueError):
        return float(text) if text else None
    raise UsageError(f"{label(name)} is '{text}', but it must be a number such as 0.1.")


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
            f"{label(name)} is '{text}', but it must be a whole number from {least:,} to {most:,}."
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
    sampler = about.get("sampler")
    filled["sampler"] = str(sampler) if sampler in SAMPLERS else "random"
    if filled["sampler"] == "random" and about.get("trials"):
        filled["trials"] = str(about["trials"])
    if filled["sampler"] == TABLE:
        filled["table"] = _listed(group)
    filled["metric"] = str(about.get("objective") or "")
    training = about.get("training")
    if isinstance(training, dict):
        filled |= {name: str(training[name]) for name in ("cv", "seeds") if training.get(name)}
    filled |= _pruning(about.get("pruner"))
    try:
        space = search_space.Space.from_json(about.get("fixed") or {}, about.get("space") or {})
    except (AttributeError, KeyError, TypeError, ValueError):
        return filled
    texts = {name: _values_text([value]) for name, value in space.fixed.items()}
    texts |= {name: _values_text(values) for name, values in space.varied.items()}
    return filled | {f"{PREFIX}{name}": text for name, text in texts.items() if text}


def _listed(group: Group) -> str:
    """Return the trials of a sweep as the table that lists them."""
    names = trials.varied_params(group)
    found = [{name: each.value(name) for name in names} for each in trials.list_trials(group)]
    return trials.format_trials(found)


def _pruning(pruner: Any) -> dict[str, str]:
    """Return the fields of a pruner; those with its defaults stay empty."""
    if not isinstance(pruner, dict) or pruner.get("name") not in OWN:
        return {}
    usual = {each.name: each.default for each in fields(Pruner)}
    # The length of a training is the param `epochs`, which is fixed.
    own = [name for name in OWN[pruner["name"]] if name != "max_resource"]
    given = {name: pruner.get(name) for name in own}
    changed = {name: str(each) for name, each in given.items() if each not in (None, usual[name])}
    return {"pruner": str(pruner["name"])} | changed


def _values_text(values: Sequence[Any] | Span) -> str:
    """Format the values of a param of a sweep as `parse_search_space` reads them."""
    return str(values) if isinstance(values, Span) else ",".join(map(_value_text, values))


def _value_text(value: Any) -> str:
    text = typed(value)
    is_plain = not isinstance(value, str) or ("," not in text and not RANGE.fullmatch(text))
    return text if is_plain else json.dumps(value)
