"""Learning curves as SVG's numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from zoo.jobs.records import finite

WIDTH, HEIGHT = 320, 120
"""Units of the drawing area; the picture is as wide as its place."""
MOST = 200
"""Points of a line: more than that no screen shows."""


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
    """Metrics of one kind in one picture: those of accuracy, or those of loss."""

    title: str
    lines: Sequence[Line]
    low: float
    high: float
    first: int
    last: int


def charts(steps: Sequence[Mapping[str, Any]]) -> list[Chart]:
    """The curves of a job, from what `jobs.steps` gives: a picture for each last word of a name.

    A metric that was reported once is no curve: `single_values` has it.
    """
    kinds: dict[str, dict[str, Values]] = {}
    for name, values in _reported(steps).items():
        if len(values) > 1:
            kinds.setdefault(name.rpartition("_")[2], {})[name] = values
    span = (int(steps[0]["step"]), int(steps[-1]["step"])) if steps else (0, 0)
    return [_chart(kind, members, *span) for kind, members in kinds.items()]


def single_values(steps: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """The metrics that were reported at a single step."""
    return {name: line[0][1] for name, line in _reported(steps).items() if len(line) == 1}


NO_CURVE = ("step", "total", "unit", "seconds")
Values = list[tuple[int, float]]
"""The finite values of a metric, each with its step."""


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
    # Halves: the span of two huge numbers would be infinite.
    span = high / 2 - low / 2
    return (value / 2 - low / 2) / span if span > 0 else 0.5
