"""Importance of the params of a sweep, by Optuna."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from zoo.jobs import Group, RungEntry
from zoo.sweeps import samplers
from zoo.sweeps.search_space import Space
from zoo.sweeps.trials import Trial

LEAST = 10
"""Trials with a metric, below which the importance says nothing."""


@dataclass(frozen=True)
class Importance:
    """Share of each param in how the metric varies between trials."""

    metric: str
    epoch: int | None
    """The epoch of the metric, which pruned trials have, too; None: that of complete trainings."""
    shares: dict[str, float]
    """The most important param first; they add up to 1."""

    def to_json(self) -> dict[str, Any]:
        """Return the importance in the JSON of commands."""
        return {"metric": self.metric, "epoch": self.epoch, "shares": self.shares}


def param_importance(
    group: Group, found: Sequence[Trial], rungs: Sequence[RungEntry]
) -> Importance | None:
    """Return the importance of the params of a sweep by PED-ANOVA.

    S. Watanabe, A. Bansal and F. Hutter, "PED-ANOVA: Efficiently Quantifying Hyperparameter
    Importance in Arbitrary Subspaces", IJCAI 2023. Returns None with fewer than two params or ten
    trials, for a file of trials, for a group whose search space is damaged, or without Optuna.
    """
    try:
        space = Space.from_json(group.about.get("fixed") or {}, group.about.get("space") or {})
    except (AttributeError, KeyError, TypeError, ValueError):
        return None  # the rest of the group can be shown
    if len(space.varied) < 2 or not all(space.varied.values()) or find_spec("optuna") is None:
        return None
    values = {t.group.jobs[0].id: t.result for t in found if isinstance(t.result, float)}
    metric, maximize, epoch = group.objective.metric, group.objective.higher_is_better, None
    pruner = group.about.get("pruner")
    if len(values) < LEAST and isinstance(pruner, dict) and pruner.get("name") == "asha":
        lowest = [each for each in rungs if each.rung == 0 and each.value is not None]
        values = {each.job_id: float(each.value or 0) for each in lowest}
        metric, maximize = pruner["metric"], pruner["maximize"]
        epoch = lowest[0].resource if lowest else None
    if len(values) < LEAST or len(set(values.values())) < 2:
        return None
    trials = [
        ({name: trial.value(name) for name in space.varied}, values[trial.group.jobs[0].id])
        for trial in found
        if trial.group.jobs[0].id in values
    ]
    return Importance(metric, epoch, _shares(space, trials, maximize))


def _shares(
    space: Space, trials: Sequence[tuple[samplers.Params, float]], maximize: bool
) -> dict[str, float]:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        study = samplers.study_of(space, trials, maximize=maximize)
        evaluator = optuna.importance.PedAnovaImportanceEvaluator()
        found = optuna.importance.get_param_importances(study, evaluator=evaluator)
    return {name: float(share) for name, share in found.items()}
