"""Pruners of a sweep: trials that fall behind end early, or wait at rungs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from zoo.errors import UsageError, unknown
from zoo.jobs import Pruner
from zoo.jobs.cards import Card
from zoo.jobs.pruning import PRUNERS
from zoo.jobs.queue_options import bounded, check_bounds
from zoo.metrics import Objective
from zoo.sweeps.search_space import Space

RESOURCE = "epochs"
"""The param that is the length of a training."""
REPORTED = ("val_accuracy", "val_loss")
"""Metrics that models with validation rows report after each epoch."""
OWN = {
    "asha": ("min_resource", "max_resource", "reduction_factor"),
    "median": ("n_startup_trials", "n_warmup_steps"),
}
"""The options of each pruner."""


@dataclass(frozen=True)
class PruningOptions:
    """Options of a pruner; None: its default. Raises UsageError for those of another one."""

    pruner: str | None = None
    min_resource: int | None = bounded(None, 1)
    max_resource: int | None = bounded(None, 1)
    reduction_factor: int | None = bounded(None, 2)
    n_startup_trials: int | None = bounded(None, 0)
    n_warmup_steps: int | None = bounded(None, 0)

    def __post_init__(self) -> None:
        check_bounds(self)
        if self.pruner is not None and self.pruner not in PRUNERS:
            raise unknown("pruner", self.pruner, PRUNERS)
        for each in fields(self)[1:]:
            owner = next(name for name, own in OWN.items() if each.name in own)
            if getattr(self, each.name) is not None and owner != self.pruner:
                option = f"--{each.name.replace('_', '-')}"
                raise UsageError(f"{option} is an option of --pruner {owner}.")

    def given(self) -> dict[str, int]:
        """Return the options that are not the pruner's defaults, by name."""
        values = {each.name: getattr(self, each.name) for each in fields(self)[1:]}
        return {name: value for name, value in values.items() if value is not None}


def choose_pruner(
    options: PruningOptions,
    card: Card,
    space: Space,
    defaults: Mapping[str, Any],
    objective: Objective,
) -> tuple[Pruner, Space]:
    """Return the pruner of a sweep, and the space in which every trial has the same length.

    Args:
        options: The options, of which `pruner` is set.
        card: What the model asks for.
        space: The space as typed.
        defaults: The model's params.
        objective: The metric by which trials are ranked.

    Raises:
        UsageError: If the model cannot be pruned, or its trials are of different lengths.
    """
    name = str(options.pruner)
    _check_model(name, card, defaults)
    if not objective.metric.startswith("val_"):  # nor by what a training costs
        raise UsageError(
            "Trials are pruned by metrics of validation rows, and these jobs have none.",
            "Add --validation 0.1.",
        )
    metric = objective.metric if objective.metric in REPORTED else REPORTED[0]
    maximize = objective.higher_is_better if metric == objective.metric else True
    given = options.given()
    if name == "asha":
        given["max_resource"], space = _length(space, defaults, options.max_resource)
    pruner = Pruner(name, metric, maximize, **given)
    if name == "asha" and not pruner.rungs:
        raise UsageError(
            f"The trainings end at epoch {pruner.max_resource}, before the first rung at epoch "
            f"{pruner.min_resource}.",
            "Take a larger --max-resource, or a smaller --min-resource.",
        )
    return pruner, space


def check_number(pruner: Pruner, trials: int) -> None:
    """Raise UsageError if so few trials are planned that none might come to the last rung."""
    least = pruner.reduction_factor ** len(pruner.rungs)
    if trials < least:
        raise UsageError(
            f"With {trials} trials none may come to its end at epoch {pruner.max_resource}: of "
            f"{pruner.reduction_factor} trials at a rung one is promoted, and there are "
            f"{len(pruner.rungs)} rungs.",
            f"Plan at least {least} trials, or take a larger --min-resource.",
        )


def expected_epochs(pruner: Pruner, trials: int) -> float:
    """Estimate the epochs of all trials of a sweep with ASHA, if they come in no special order.

    Of n trials at a rung 1/reduction_factor go on, and about (sqrt(n) - 2) / 2 that were among the
    best at first. That is within a fifth of plain simulations of 9 to 256 trials.
    """
    total, before, left = 0.0, 0, float(trials)
    for resource in (*pruner.rungs, pruner.max_resource):
        total += left * (resource - before)
        before = resource
        left = left / pruner.reduction_factor + max(0.0, math.sqrt(left) - 2) / 2
    return total


def _check_model(name: str, card: Card, defaults: Mapping[str, Any]) -> None:
    """Raise UsageError unless `fit` takes validation rows, and for asha can pause at an epoch.

    Whether it reports metrics of these rows after each epoch only a training shows.
    """
    asked = card.fit_arguments or ()
    if "validation" not in asked:
        raise UsageError(
            f"The training of '{card.name}' uses no validation rows, so that its trials cannot be "
            "pruned.",
            "`zoo models --where '\"validation\" in uses'` lists those that do.",
        )
    if name == "asha" and RESOURCE not in defaults:
        raise UsageError(
            f"The model '{card.name}' has no param {RESOURCE}, by which --pruner asha sets the "
            "length of a training.",
            "Use --pruner median.",
        )
    if name == "asha" and "checkpoint" not in asked:
        raise UsageError(
            f"The model '{card.name}' takes no checkpoints, so that its trials cannot pause.",
            "Use --pruner median.",
        )


def _length(space: Space, defaults: Mapping[str, Any], wanted: int | None) -> tuple[int, Space]:
    """Return the epochs of a complete training, and the space with this number."""
    if RESOURCE in space.varied:
        raise UsageError(
            f"With --pruner asha all trials are trained for the same {RESOURCE}, which cannot vary."
        )
    typed = space.fixed.get(RESOURCE)
    if None not in (typed, wanted) and typed != wanted:
        raise UsageError(
            f"-p {RESOURCE}={typed} contradicts --max-resource {wanted}.", "Leave one of them out."
        )
    length = wanted or typed or defaults[RESOURCE]
    return int(length), replace(space, fixed=space.fixed | {RESOURCE: int(length)})
