"""Learning curves as coordinates for SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from zoo.jobs.records import finite

WIDTH, HEIGHT = 320, 120
"""Size of the drawing area in units; the picture scales to its place."""
MOST = 200
"""Maximum number of points of a line; no screen shows more."""


@dataclass(frozen=True)
class Point:
    """One step of a curve."""

    x: float
    y: float
    step: int
    value: float


@dataclass(frozen=True)
class Line:
    """One metric over the steps."""

    name: str
    points: Sequence[Point]

    @property
    def path(self) -> str:
        return " ".join(f"{p.x:.1f},{p.y:.1f}" for p in self.points)


@dataclass(frozen=True)
class Chart:
    """Metrics of one kind in one picture, such as accuracies or losses."""

    title: str
    lines: Sequence[Line]
    low: float
    high: float
    first: int
    last: int


def charts(steps: Sequence[Mapping[str, Any]]) -> list[Chart]:
    """Return the curves of a job: a chart for each last part of a metric's name.

    `steps` is as returned by `jobs.steps`. A metric that was reported once is in `single_values`.
    """
    kinds: dict[str, dict[str, Values]] = {}
    for name, values in _reported(steps).items():
        if len(values) > 1:
            kinds.setdefault(name.rpartition("_")[2], {})[name] = values
    span = (int(steps[0]["step"]), int(steps[-1]["step"])) if steps else (0, 0)
    return [_chart(kind, members, *span) for kind, members in kinds.items()]


def single_values(steps: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Return the metrics that were reported at a single step."""
    return {name: line[0][1] for name, line in _reported(steps).items() if len(line) == 1}


NO_CURVE = ("step", "total", "unit", "seconds")
Values = list[tuple[int, float]]
"""Finite values of a metric, each with its step."""


def _reported(steps: Sequence[Mapping[str, Any]]) -> dict[str, Values]:
    names = dict.fromkeys(name for step in steps for name in step)
    return {name: _values(name, steps) for name in names if name not in NO_CURVE}


def _chart(title: str, values: Mapping[str, Values], first: int, last: int) -> Chart:
    every = [value for line in values.values() for _, value in line]
    low, high = min(every), max(every)
    lines = []
    for name, line in values.items():
        points = [
            Point(
                _scaled(step, first, last) * WIDTH,
                (1 - _scaled(value, low, high)) * HEIGHT,
                step,
                value,
            )
            for step, value in line
        ]
        lines.append(Line(name, points))
    return Chart(title, lines, low, high, first, last)


def _values(name: str, steps: Sequence[Mapping[str, Any]]) -> Values:
    found = ((int(s["step"]), finite(s.get(name))) for s in steps)
    known = [(step, float(value)) for step, value in found if value is not None]
    every = max(1, -(-len(known) // MOST))
    return known[:-1:every] + known[-1:]


def _scaled(value: float, low: float, high: float) -> float:
    # Halved, so that the span of two huge numbers is not infinite.
    span = high / 2 - low / 2
    return (value / 2 - low / 2) / span if span > 0 else 0.5
