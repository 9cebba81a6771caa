"""Learning curves of one or several jobs, as data for the charts of page and report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from zoo.jobs import Job
from zoo.jobs.records import finite

POINTS = 200
"""Maximum number of points of a curve; no screen shows more."""
NO_CURVE = ("step", "total", "unit", "seconds")
ROWS = ("train_", "val_")
"""What metrics begin with that were measured on other rows than those of the test."""


@dataclass(frozen=True)
class Run:
    """A job whose curves are drawn."""

    name: str
    steps: Sequence[Mapping[str, Any]]
    """As returned by `jobs.steps`."""
    unit: str = ""
    """The name of a step; empty if it is not known."""
    link: str = ""
    """The address of its page."""


def step_unit(job: Job) -> str:
    """Return the name of a step of a job, such as `epoch`; empty if it is not known."""
    return job.progress.unit or ""


def kind_of(metric: str) -> str:
    """Return what a metric measures: `loss` of `train_loss` and `val_loss`."""
    return next((metric.removeprefix(rows) for rows in ROWS if metric.startswith(rows)), metric)


def thinned(steps: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Return {"step": [...], metric: [...]}, thinned out but with the last step."""
    every = -(-len(steps) // POINTS) or 1
    kept = [each for n, each in enumerate(steps) if (len(steps) - 1 - n) % every == 0]
    names = dict.fromkeys(name for each in kept for name in each)
    columns = {name: [five_digits(each.get(name)) for each in kept] for name in names}
    return {name: values for name, values in columns.items() if any(v is not None for v in values)}


def charts(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Return the data of a `<zoo-chart>` for each kind of metric, accuracy and loss first.

    A job has a colour, or, where there is only one, each of its metrics; metrics of validation rows
    are dashed. A metric that was reported at a single step is left out.
    """
    kinds: dict[str, list[_Line]] = {}
    for number, run in enumerate(runs):
        for metric, points in _curves(run.steps).items():
            kinds.setdefault(kind_of(metric), []).append(_Line(number, metric, points))
    units = {run.unit for run in runs if run.unit}
    unit = units.pop() if len(units) == 1 else "step"
    order = dict.fromkeys([kind for kind in ("accuracy", "loss") if kind in kinds] + [*kinds])
    return [
        {
            "kind": "lines",
            "title": kinds[kind][0].metric if len(runs) > 1 and _is_same(kinds[kind]) else kind,
            "x": unit,
            "series": _series(kinds[kind], runs),
        }
        for kind in order
    ]


class _Line(NamedTuple):
    run: int
    metric: str
    points: list[tuple[int, Any]]


def _is_same(lines: Sequence[_Line]) -> bool:
    return len({line.metric for line in lines}) == 1


def _series(lines: Sequence[_Line], runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Name the lines by job, and by metric if it is not always the same."""
    is_one, is_same = len(runs) == 1, _is_same(lines)
    found = []
    for number, line in enumerate(lines):
        run = runs[line.run]
        steps, values = zip(*line.points, strict=True)
        found.append(
            {
                "name": line.metric if is_one else run.name,
                "part": "" if is_one or is_same else line.metric,
                "x": steps,
                "y": values,
                "ink": number if is_one else line.run,
                "isDashed": line.metric.startswith("val_"),
                "href": run.link,
            }
        )
    return found


def _curves(steps: Sequence[Mapping[str, Any]]) -> dict[str, list[tuple[int, Any]]]:
    """Return (step, value) of each metric that has several values."""
    columns = thinned(steps)
    found = {
        name: [(step, v) for step, v in zip(columns["step"], values, strict=True) if v is not None]
        for name, values in columns.items()
        if name not in NO_CURVE
    }
    return {name: points for name, points in found.items() if len(points) > 1}


def five_digits(value: Any) -> Any:
    """Round a number to five digits; return None for anything else."""
    value = finite(value)
    # Rounding may turn the largest floats into infinity.
    return finite(float(f"{value:.5g}")) if isinstance(value, float) else value
