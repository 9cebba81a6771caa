"""Samplers: the params of a sweep's trials by grid, random search or TPE."""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from zoo.canonical_json import canonical
from zoo.errors import UsageError, ZooError
from zoo.sweeps.search_space import Space, Span

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

SAMPLERS = ("grid", "random", "tpe")
MAX_TRIALS = 100_000
MAX_ATTEMPTS = 20
"""Attempts to sample params that have not been tried."""

Params = dict[str, Any]


class Pruned(NamedTuple):
    """The last metric of a trial that was paused or pruned."""

    resource: int
    """Epochs of training."""
    value: float
    """Larger is better."""


Result = float | str | Pruned
"""The value of a trial, larger is better, or `running` or `failed`."""


def _missing_library(what: str) -> ZooError:
    return ZooError(f"A sweep needs {what}.", 'Install it: pip install "mnist-zoo[sweep]".')


def sample_grid(space: Space) -> list[Params]:
    """Return every combination, in the order of scikit-learn's ParameterGrid.

    Raises:
        UsageError: For a range of floats, or too many combinations.
    """
    # ParameterGrid itself takes longer to import than it takes to submit a thousand jobs.
    values = {name: _grid_values(name, found) for name, found in sorted(space.varied.items())}
    _refuse_too_many(math.prod(len(found) for found in values.values()))
    combinations = itertools.product(*values.values())
    return [space.fixed | dict(zip(values, found, strict=True)) for found in combinations]


def _grid_values(name: str, values: list[Any] | Span) -> Sequence[Any]:
    if not isinstance(values, Span):
        return values
    if not values.is_whole or values.log:
        raise UsageError(
            f"A grid needs single values; {name}={values} is a range.",
            f"List values, {name}=V1,V2, or use --sampler random --trials N.",
        )
    return range(int(values.low), int(values.high) + 1)


def _refuse_too_many(trials: int) -> None:
    if trials > MAX_TRIALS:
        raise UsageError(
            f"That would be {trials} trials; the limit is {MAX_TRIALS}.", "Use --sampler random."
        )


def sample_random(space: Space, trials: int, seed: int) -> list[Params]:
    """Return `trials` distinct random combinations, or fewer if there are no more."""
    try:
        from sklearn.model_selection import ParameterSampler
    except ImportError:
        raise _missing_library("scikit-learn") from None
    _refuse_too_many(trials)
    # ParameterSampler draws without replacement if all values are sequences, as integer ranges are.
    drawn = {
        name: values if isinstance(values, list) else _distribution(values)
        for name, values in space.varied.items()
    }
    found: dict[str, Params] = {}
    for attempt in range(MAX_ATTEMPTS):
        wanted = (trials - len(found)) * (1 if attempt == 0 else 4)
        with warnings.catch_warnings():
            # It warns if there are fewer combinations; the result's length says so.
            warnings.simplefilter("ignore", UserWarning)
            for params in ParameterSampler(drawn, wanted, random_state=(seed + attempt) % 2**32):
                plain = {name: _python_number(value) for name, value in params.items()}
                found.setdefault(canonical(plain), space.fixed | plain)
        if len(found) >= trials or all(isinstance(v, Sequence) for v in drawn.values()):
            break
    return list(found.values())[:trials]


def _python_number(value: Any) -> Any:
    """Convert a NumPy scalar to a Python number."""
    return value.item() if hasattr(value, "item") else value


def _distribution(span: Span) -> Any:
    from scipy import stats

    if span.is_whole and not span.log:
        return range(int(span.low), int(span.high) + 1)
    if span.is_whole:
        # Widened by half at both ends, so that rounding does not make the ends less likely.
        return _Rounded(stats.loguniform(span.low - 0.5, span.high + 0.5))
    if span.log:
        return _Rounded(stats.loguniform(span.low, span.high), _four_digits(span))
    return _Rounded(stats.uniform(span.low, span.high - span.low), _four_digits(span))


class _Rounded:
    """A distribution whose samples are rounded, by default to integers."""

    def __init__(self, distribution: Any, rounding: Callable[[float], float] = round) -> None:
        self.distribution = distribution
        self.rounding = rounding

    def rvs(self, **options: Any) -> float:
        return self.rounding(float(self.distribution.rvs(**options)))


def _four_digits(span: Span) -> Callable[[float], float]:
    """Round to four significant digits, unless the range is too narrow for that."""
    if span.high - span.low < 0.01 * max(abs(span.low), abs(span.high)):
        return float
    return lambda value: min(max(float(f"{value:.4g}"), span.low), span.high)


def suggest_tpe(space: Space, tried: Sequence[tuple[Params, Result]], seed: int) -> Params | None:
    """Suggest the next params by Optuna's TPE sampler.

    No other state is kept: the same trials and seed suggest the same params, so a sweep resumes
    after a crash as if there had been none.

    Args:
        tried: Params and result of each trial in order: a number, the larger the better, or
            "running" or "failed".

    Returns:
        New params, or None if none were found.

    Raises:
        ZooError: If Optuna is not installed.
    """
    try:
        import optuna
    except ImportError:
        raise _missing_library("Optuna") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    distributions = {
        name: _distribution_and_decoder(values) for name, values in space.varied.items()
    }
    known = {canonical(params) for params, _ in tried}
    sampler: Any
    for attempt in range(MAX_ATTEMPTS):
        number = (seed + len(tried) + attempt * 1_000_003) % 2**32
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            if attempt < MAX_ATTEMPTS // 2:
                sampler = optuna.samplers.TPESampler(seed=number, constant_liar=True)
            else:
                sampler = optuna.samplers.RandomSampler(seed=number)
        study = optuna.create_study(direction="maximize", sampler=sampler)
        for params, result in tried:
            study.add_trial(_optuna_trial(params, result, distributions, optuna))
        asked = study.ask({name: each for name, (each, _) in distributions.items()})
        params = space.fixed | {
            name: decode(asked.params[name]) for name, (_, decode) in distributions.items()
        }
        if canonical(params) not in known:
            return params
    return None


def study_of(space: Space, tried: Sequence[tuple[Params, float]], *, maximize: bool) -> Any:
    """Return an Optuna study of trials that have ended with these values."""
    import optuna

    distributions = {
        name: _distribution_and_decoder(values) for name, values in space.varied.items()
    }
    study = optuna.create_study(direction="maximize" if maximize else "minimize")
    for params, value in tried:
        study.add_trial(_optuna_trial(params, value, distributions, optuna))
    return study


Decoder = Callable[[Any], Any]


def _distribution_and_decoder(values: list[Any] | Span) -> tuple[BaseDistribution, Decoder]:
    """Return a param's Optuna distribution, and the function from its samples to values."""
    from optuna.distributions import (
        CategoricalDistribution,
        FloatDistribution,
        IntDistribution,
    )

    if not isinstance(values, Span):
        # Optuna has no list values: each value is represented by its JSON.
        return CategoricalDistribution([canonical(value) for value in values]), _from_json
    if values.is_whole:
        return IntDistribution(int(values.low), int(values.high), log=values.log), int
    return FloatDistribution(values.low, values.high, log=values.log), _four_digits(values)


def _from_json(text: Any) -> Any:
    from zoo.canonical_json import read_json

    return read_json(text)


def _optuna_trial(
    params: Params,
    result: Result,
    distributions: dict[str, tuple[BaseDistribution, Decoder]],
    optuna: Any,
) -> Any:
    values = {
        name: canonical(params[name]) if decode is _from_json else params[name]
        for name, (_, decode) in distributions.items()
    }
    by_name = {name: each for name, (each, _) in distributions.items()}
    create, states = optuna.trial.create_trial, optuna.trial.TrialState
    if isinstance(result, str):
        state = {"running": states.RUNNING, "failed": states.FAIL}[result]
        return create(state=state, params=values, distributions=by_name)
    if isinstance(result, Pruned):
        reported = {result.resource: result.value}
        return create(
            state=states.PRUNED,
            params=values,
            distributions=by_name,
            intermediate_values=reported,
        )
    return create(params=values, distributions=by_name, value=result)
