"""The curves of a training as SVG, drawn without a library."""

from __future__ import annotations

import html as markup
import math
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any, NamedTuple

from zoo.jobs import Group, Job
from zoo.jobs.records import number_text
from zoo.results import learning_curves
from zoo.results.learning_curves import Run, step_unit
from zoo.sweeps.slice_plot import linear_ticks, short_number

WIDTH, HEIGHT = 340, 190
LEFT, RIGHT, TOP, BOTTOM = 46, 330, 26, 160
"""The axes, in units of the picture."""
MOST_CHARTS = 4
"""Further charts are left out, as are lines without a colour."""
COLOURS = ("#3450c8", "#c2410c", "#08793f", "#9327a8", "#0b7285", "#b3261e")
"""Those of page and report."""
Points = Sequence[tuple[float, float]]
"""(x, y) in the order of x."""


class Line(NamedTuple):
    """A curve."""

    name: str
    points: Points
    is_dashed: bool = False


class Chart(NamedTuple):
    """Lines with a common axis, such as all losses."""

    title: str
    across: str
    """The name of the horizontal axis."""
    lines: Sequence[Line]


def draw_steps(job: Job, steps: Sequence[Mapping[str, Any]]) -> str:
    """Return the curves of a job as SVG; empty before its second step.

    `steps` is as returned by `jobs.timed_steps`. The charts are those of page and report.
    """
    plain = [{"step": each["step"]} | each["metrics"] for each in steps]
    return draw(
        [
            Chart(
                found["title"],
                found["x"],
                [
                    Line(s["name"], [*zip(s["x"], s["y"], strict=True)], s["isDashed"])
                    for s in found["series"]
                ],
            )
            for found in learning_curves.charts([Run("", plain, step_unit(job))])
        ]
    )


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
    lines = [Line(by.metric, points)]
    if group.kind == "sweep" and group.best() is not None:  # else no trial has all its seeds
        best = accumulate((y for _, y in points), max if by.higher_is_better else min)
        lines.append(Line("best", [(n, y) for (n, _), y in zip(points, best, strict=True)], True))
    return draw([Chart(by.metric, "job", lines)])


def draw(charts: Sequence[Chart]) -> str:
    """Return the charts side by side; empty without any."""
    return "".join(_svg(chart) for chart in charts[:MOST_CHARTS])


def _svg(chart: Chart) -> str:
    lines = chart.lines[: len(COLOURS)]
    xs = [x for line in lines for x, _ in line.points]
    ys = [y for line in lines for _, y in line.points]
    across, up = _Axis.over(xs, LEFT, RIGHT, whole=True), _Axis.over(ys, BOTTOM, TOP)
    parts = [_grid(across, up, chart.across)]
    key = LEFT
    for line, colour in zip(lines, COLOURS, strict=False):
        parts.append(_line(line, across, up, colour, chart.across))
        parts.append(
            f'<text x="{key}" y="14" fill="{colour}" font-weight="bold">'
            f"{markup.escape(line.name)}</text>"
        )
        key += 7 * len(line.name) + 12
    last = ", ".join(f"{line.name} {number_text(line.points[-1][1])}" for line in lines)
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
        return cls(low, high, begin, end, linear_ticks(low, high, is_whole=whole))

    def place(self, value: float) -> float:
        # Halved, so that the span of two huge numbers is not infinite.
        span = self.high / 2 - self.low / 2
        share = (value / 2 - self.low / 2) / span if span > 0 else 0.5
        return round(self.begin + share * (self.end - self.begin), 1)


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


def _line(line: Line, across: _Axis, up: _Axis, colour: str, unit: str) -> str:
    placed = [(across.place(x), up.place(y)) for x, y in line.points]
    path = " ".join(f"{x},{y}" for x, y in placed)
    texts = [f"{line.name} {number_text(y)}, {unit} {short_number(x)}" for x, y in line.points]
    dots = "".join(
        f'<circle cx="{x}" cy="{y}" r="6" fill-opacity="0"><title>{markup.escape(text)}</title>'
        "</circle>"
        for (x, y), text in zip(placed, texts, strict=True)
    )
    x, y = placed[-1]
    dash = ' stroke-dasharray="5 3"' if line.is_dashed else ""
    drawn = f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.8"{dash}/>'
    return f'{drawn}<g fill="{colour}"><circle cx="{x}" cy="{y}" r="3"/>{dots}</g>'
