"""Which params the trials of a sweep have: every combination, random ones, or the promising."""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from zoo.canonical_json import canonical
from zoo.errors import UsageError, ZooError
from zoo.sweeps.search_space import Space, Span

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

SAMPLERS = ("grid", "random", "tpe")
MOST_TRIALS = 100_000
TRIES = 20
"""So often is a sampler asked again when it comes with what was tried already."""

Params = dict[str, Any]


def _missing(what: str) -> ZooError:
    return ZooError(f"A sweep needs {what}.", 'Install it: pip install "mnist-zoo[sweep]".')


def grid(space: Space) -> list[Params]:
    """Every combination, in the order of scikit-learn's ParameterGrid: the last name changes first.

    Raises UsageError for a range that has no end of values.
    """
    # Not ParameterGrid itself: to import it takes longer than to submit a thousand jobs.
    values = {name: _listed(name, found) for name, found in sorted(space.varied.items())}
    _refuse_too_many(math.prod(len(found) for found in values.values()))
    combinations = itertools.product(*values.values())
    return [space.fixed | dict(zip(values, found, strict=True)) for found in combinations]


def _listed(name: str, values: list[Any] | Span) -> Sequence[Any]:
    if not isinstance(values, Span):
        return values
    if not values.is_whole or values.log:
        raise UsageError(
            f"A grid needs single values; {name}={values} is a range.",
            f"Give some, {name}=V1,V2, or take --sampler random --trials N.",
        )
    return range(int(values.low), int(values.high) + 1)


def _refuse_too_many(trials: int) -> None:
    if trials > MOST_TRIALS:
        raise UsageError(
            f"That would be {trials} trials; {MOST_TRIALS} are the most.", "Take --sampler random."
        )


def random(space: Space, trials: int, seed: int) -> list[Params]:
    """So many combinations drawn at random, none twice; fewer if there are no more."""
    try:
        from sklearn.model_selection import ParameterSampler
    except ImportError:
        raise _missing("scikit-learn") from None
    _refuse_too_many(trials)
    # Lists alone are drawn without putting back; so are whole numbers, which are as good as a list.
    drawn = {
        name: values if isinstance(values, list) else _distribution(values)
        for name, values in space.varied.items()
    }
    found: dict[str, Params] = {}
    for attempt in range(TRIES):
        wanted = (trials - len(found)) * (1 if attempt == 0 else 4)
        with warnings.catch_warnings():
            # It warns that there are no more combinations than those; the count says so.
            warnings.simplefilter("ignore", UserWarning)
            for params in ParameterSampler(drawn, wanted, random_state=(seed + attempt) % 2**32):
                plain = {name: _plain(value) for name, value in params.items()}
                found.setdefault(canonical(plain), space.fixed | plain)
        if len(found) >= trials or all(isinstance(v, Sequence) for v in drawn.values()):
            break
    return list(found.values())[:trials]


def _plain(value: Any) -> Any:
    """The Python number of one of numpy's."""
    return value.item() if hasattr(value, "item") else value


def _distribution(span: Span) -> Any:
    from scipy import stats

    if span.is_whole and not span.log:
        return range(int(span.low), int(span.high) + 1)
    if span.is_whole:
        # From half below to half above, so that rounding is fair to both ends.
        return _Rounded(stats.loguniform(span.low - 0.5, span.high + 0.5))
    if span.log:
        return _Rounded(stats.loguniform(span.low, span.high), _shortened(span))
    return _Rounded(stats.uniform(span.low, span.high - span.low), _shortened(span))


class _Rounded:
    """A distribution whose numbers are rounded, to whole ones unless told otherwise."""

    def __init__(self, of: Any, to: Callable[[float], float] = round) -> None:
        self.of = of
        self.to = to

    def rvs(self, **options: Any) -> float:
        return self.to(float(self.of.rvs(**options)))


def _shortened(span: Span) -> Callable[[float], float]:
    """Numbers that can be read and typed again: four digits, where the span is not too narrow."""
    if span.high - span.low < 0.01 * max(abs(span.low), abs(span.high)):
        return float
    return lambda value: min(max(float(f"{value:.4g}"), span.low), span.high)


def promising(
    space: Space, tried: Sequence[tuple[Params, float | str]], seed: int
) -> Params | None:
    """The next params by Optuna's TPE, given those tried with their accuracy, in their order.

    Instead of an accuracy stands "running" or "failed". What was tried is all that is known: the
    same trials and seed give the same answer, so a sweep goes on after a crash as if there had
    been none. None if nothing new was found. Raises ZooError where Optuna is missing.
    """
    try:
        import optuna
    except ImportError:
        raise _missing("Optuna") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    space_of = {name: _optuna(values) for name, values in space.varied.items()}
    known = {canonical(params) for params, _ in tried}
    sampler: Any
    for attempt in range(TRIES):
        number = (seed + len(tried) + attempt * 1_000_003) % 2**32
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            if attempt < TRIES // 2:
                sampler = optuna.samplers.TPESampler(seed=number, constant_liar=True)
            else:
                sampler = optuna.samplers.RandomSampler(seed=number)
        study = optuna.create_study(direction="maximize", sampler=sampler)
        for params, result in tried:
            study.add_trial(_told(params, result, space_of, optuna))
        asked = study.ask({name: distribution for name, (distribution, _) in space_of.items()})
        params = space.fixed | {
            name: meant(asked.params[name]) for name, (_, meant) in space_of.items()
        }
        if canonical(params) not in known:
            return params
    return None


Meaning = Callable[[Any], Any]


def _optuna(values: list[Any] | Span) -> tuple[BaseDistribution, Meaning]:
    """A param's distribution, and what a drawn value means."""
    from optuna.distributions import (
        CategoricalDistribution,
        FloatDistribution,
        IntDistribution,
    )

    if not isinstance(values, Span):
        # Optuna knows texts and numbers, not lists: each value is named by its JSON.
        return CategoricalDistribution([canonical(value) for value in values]), _read
    if values.is_whole:
        return IntDistribution(int(values.low), int(values.high), log=values.log), int
    return FloatDistribution(values.low, values.high, log=values.log), _shortened(values)


def _read(text: Any) -> Any:
    from zoo.canonical_json import read_json

    return read_json(text)


def _told(params: Params, result: float | str, space_of: dict[str, Any], optuna: Any) -> Any:
    distributions = {name: distribution for name, (distribution, _) in space_of.items()}
    values = {
        name: canonical(params[name]) if meant is _read else params[name]
        for name, (_, meant) in space_of.items()
    }
    state = optuna.trial.TrialState
    how = {"running": state.RUNNING, "failed": state.FAIL}
    if isinstance(result, str):
        return optuna.trial.create_trial(
            state=how[result], params=values, distributions=distributions
        )
    return optuna.trial.create_trial(params=values, distributions=distributions, value=result)
