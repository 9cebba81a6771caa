"""The curves of a training as SVG, drawn without a library."""

from __future__ import annotations

import html as markup
import math
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any, NamedTuple

from zoo.jobs import Group, Job
from zoo.jobs.records import finite, number_text
from zoo.sweeps.slice_plot import short_number

WIDTH, HEIGHT = 340, 190
LEFT, RIGHT, TOP, BOTTOM = 46, 330, 26, 160
"""The axes, in units of the picture."""
MOST_POINTS, MOST_CHARTS, MOST_LINES = 120, 4, 6
"""No screen shows more points; further charts and lines are left out."""
COLOURS = ("#0969da", "#d95f02", "#1a7f37", "#8250df", "#9a6700", "#cf222e")
NO_CURVE = ("seconds",)
Points = Sequence[tuple[float, float]]
"""(x, y) in the order of x."""


class Chart(NamedTuple):
    """Lines with a common axis, such as all losses."""

    title: str
    across: str
    """The name of the horizontal axis."""
    lines: Mapping[str, Points]


def step_charts(steps: Sequence[Mapping[str, Any]], unit: str = "step") -> list[Chart]:
    """Return the curves of a job: a chart for each last part of a metric's name.

    Args:
        steps: As `jobs.timed_steps` returns them. A metric that was reported once has no curve.
        unit: The name of a step.
    """
    found: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for step in steps:
        for name, value in step["metrics"].items():
            if name not in NO_CURVE and (known := finite(value)) is not None:
                kind = found.setdefault(name.rpartition("_")[2], {})
                kind.setdefault(name, []).append((step["step"], float(known)))
    several = {
        kind: {name: points for name, points in lines.items() if len(points) > 1}
        for kind, lines in found.items()
    }
    return [Chart(kind, unit, lines) for kind, lines in several.items() if lines]


def draw_steps(job: Job, steps: Sequence[Mapping[str, Any]]) -> str:
    """Return the curves of a job as SVG; empty before its second step."""
    return draw(step_charts(steps, job.progress.unit or "step"))


def draw_results(group: Group) -> str:
    """Return the results of a group's jobs in the order in which they have ended, as SVG.

    Of a sweep, the best one so far, too. Empty before the second result.
    """
    by = group.objective
    ended = sorted(group.jobs, key=lambda job: job.finished_at or math.inf)
    values = [job.number(by.metric) for job in ended if job.status == "succeeded"]
    points = [(n, float(value)) for n, value in enumerate(values, 1) if value is not None]
    if len(points) < 2:
        return ""
    lines: dict[str, Points] = {by.metric: points}
    if group.kind == "sweep":
        best = accumulate((y for _, y in points), max if by.higher_is_better else min)
        lines["best"] = [(n, y) for (n, _), y in zip(points, best, strict=True)]
    return draw([Chart(by.metric, "job", lines)])


def draw(charts: Sequence[Chart]) -> str:
    """Return the charts side by side; empty without any."""
    return "".join(_svg(chart) for chart in charts[:MOST_CHARTS])


def _svg(chart: Chart) -> str:
    lines = dict(list(chart.lines.items())[:MOST_LINES])
    xs = [x for points in lines.values() for x, _ in points]
    ys = [y for points in lines.values() for _, y in points]
    across, up = _Axis.over(xs, LEFT, RIGHT, whole=True), _Axis.over(ys, BOTTOM, TOP)
    parts = [_grid(across, up, chart.across)]
    key = LEFT
    for (name, points), colour in zip(lines.items(), COLOURS, strict=False):
        parts.append(_line(name, _thinned(points), across, up, colour, chart.across))
        parts.append(
            f'<text x="{key}" y="14" fill="{colour}" font-weight="bold">'
            f"{markup.escape(name)}</text>"
        )
        key += 8 * len(name) + 12
    last = ", ".join(f"{name} {number_text(points[-1][1])}" for name, points in lines.items())
    label = markup.escape(f"{chart.title} over {chart.across}: last {last}")
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" role="img" '
        f'aria-label="{label}" style="max-width: 100%; font: 11px system-ui, sans-serif">'
        f"{''.join(parts)}</svg>"
    )


class _Axis(NamedTuple):
    """Numbers along a line from `begin` to `end`, in units of the picture."""

    low: float
    high: float
    begin: float
    end: float
    ticks: Sequence[float]

    @classmethod
    def over(
        cls, values: Sequence[float], begin: float, end: float, *, whole: bool = False
    ) -> _Axis:
        low, high = min(values), max(values)
        return cls(low, high, begin, end, _ticks(low, high, whole=whole))

    def place(self, value: float) -> float:
        # Halved, so that the span of two huge numbers is not infinite.
        span = self.high / 2 - self.low / 2
        share = (value / 2 - self.low / 2) / span if span > 0 else 0.5
        return round(self.begin + share * (self.end - self.begin), 1)


def _ticks(low: float, high: float, *, whole: bool) -> list[float]:
    """Return round numbers between two limits."""
    rough = (high / 2 - low / 2) / 2
    if not 1e-300 < rough < 1e300 or rough < 1e-12 * max(abs(low), abs(high)):
        return sorted({low, high})
    power = 10.0 ** math.floor(math.log10(rough))
    size = next(n * power for n in (1, 2, 5, 10) if n * power >= rough * 0.999)
    size = max(size, 1.0) if whole else size
    first, last = math.ceil(low / size - 1e-9), math.floor(high / size + 1e-9)
    return [n * size for n in range(first, last + 1)] or [low, high]


def _grid(across: _Axis, up: _Axis, unit: str) -> str:
    parts = [
        f'<path d="M{LEFT} {up.place(v)}H{RIGHT}" stroke="currentColor" stroke-opacity=".15"/>'
        f'<text x="{LEFT - 6}" y="{up.place(v) + 4}" text-anchor="end">{short_number(v)}</text>'
        for v in up.ticks
    ]
    parts += [
        f'<text x="{across.place(v)}" y="{BOTTOM + 14}" text-anchor="middle">'
        f"{short_number(v)}</text>"
        for v in across.ticks
    ]
    middle = (LEFT + RIGHT) / 2
    name = f'<text x="{middle}" y="{HEIGHT - 2}" text-anchor="middle">{markup.escape(unit)}</text>'
    axes = f'<path d="M{LEFT} {TOP}V{BOTTOM}H{RIGHT}" fill="none" stroke="currentColor"/>'
    return f'<g fill="currentColor">{"".join(parts)}{name}</g>{axes}'


def _line(name: str, points: Points, across: _Axis, up: _Axis, colour: str, unit: str) -> str:
    placed = [(across.place(x), up.place(y)) for x, y in points]
    path = " ".join(f"{x},{y}" for x, y in placed)
    dots = "".join(
        f'<circle cx="{x}" cy="{y}" r="6" fill="{colour}" fill-opacity="0">'
        f"<title>{markup.escape(f'{name} {number_text(value)}, {unit} {short_number(at)}')}</title>"
        "</circle>"
        for (x, y), (at, value) in zip(placed, points, strict=True)
    )
    x, y = placed[-1]
    end = f'<circle cx="{x}" cy="{y}" r="3" fill="{colour}"/>'
    line = f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.8"/>'
    return line + end + dots


def _thinned(points: Points) -> Points:
    every = max(1, -(-len(points) // MOST_POINTS))
    return [*points[:-1:every], points[-1]]
