"""The slice plot of a sweep: its metric against each param, as coordinates for SVG.

Page and report draw the same coordinates, each with its own colours and addresses.
"""

from __future__ import annotations

import math
import sys
import unicodedata
from collections import Counter
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from zoo.canonical_json import canonical
from zoo.jobs import Group, RungEntry
from zoo.jobs.records import finite, number_text
from zoo.param_values import typed
from zoo.sweeps.importance import Importance
from zoo.sweeps.search_space import Space, Span
from zoo.sweeps.trials import Trial, list_trials, varied_params
from zoo.terminal_text import counted

WIDTH, HEIGHT = 320, 212
"""Size of a panel in units; the picture scales to its place."""
LEFT, RIGHT, TOP, BOTTOM = 60, 310, 8, 174
"""The axes, in these units."""
INSET = 9
"""Distance of the outermost dots from the axes, so that they are drawn whole."""
LETTER = 7.8
"""Width of a letter of a label, in units."""
MOST_DOTS, MOST_PANELS = 300, 12
"""Maximum numbers of dots in a panel and of panels; the rest is left out and said."""
MOST_CATEGORIES = 8
"""Numbers of a list are categories up to this many different ones, then an axis of numbers."""
LARGEST = sys.float_info.max
WIDE_RANGE = 1000
"""Ratio of the largest to the smallest of positive numbers from which their axis is logarithmic."""


@dataclass(frozen=True)
class Tick:
    """A label of an axis."""

    at: float
    text: str
    whole: str
    """The text before it was shortened to its place."""
    line: int = 0
    """1 on the second line of labels."""


@dataclass(frozen=True)
class Dot:
    """A trial in a panel."""

    x: float
    y: float
    job: str
    """The id of its first job."""
    kind: str
    """`done`, `partial` (paused, pruned or running: the metric of an earlier epoch), or `best`."""
    text: str
    """The metric and all params that vary."""


@dataclass(frozen=True)
class Panel:
    """The metric against one param."""

    name: str
    scale: str
    """`linear`, `log` or `categories`."""
    ticks: Sequence[Tick]
    dots: Sequence[Dot]
    """The best one last, so that it is drawn on top."""
    about: str
    """Alternative text."""


@dataclass(frozen=True)
class PlottedTrial:
    """A trial as a line of the parallel coordinates."""

    job: str
    """The id of its first job."""
    kind: str
    """As in `Dot`."""
    value: str
    """The metric."""
    params: Sequence[str]
    """The values of the panels' params, in their order."""
    places: Sequence[float]
    """Its places on the axes of the panels' params and of the metric, from 0 to 1."""


@dataclass(frozen=True)
class SlicePlot:
    """The panels of a sweep, which share the axis of the metric."""

    metric: str
    is_log: bool
    """Whether the axis of the metric is logarithmic."""
    ticks: Sequence[Tick]
    panels: Sequence[Panel]
    """The most important param first, else in the order of the search space."""
    has_partial: bool
    notes: Sequence[str]
    """What is not drawn, a sentence each."""
    importance: Importance | None
    has_best: bool
    higher_is_better: bool
    trials: Sequence[PlottedTrial]
    """The best one first."""

    width, height = WIDTH, HEIGHT
    left, right, top, bottom = LEFT, RIGHT, TOP, BOTTOM

    def parallel(self, link: str, linked: Container[str] | None = None) -> dict[str, Any]:
        """Return parallel coordinates, the data of a `<zoo-chart>`.

        A job has the address `link` and its id; with `linked`, only one that is in it.
        """
        axes = [
            {
                "name": panel.name,
                "scale": panel.scale,
                "ticks": [[_place(tick.at), tick.whole] for tick in panel.ticks],
            }
            for panel in self.panels
        ]
        ticks = [[(BOTTOM - INSET - tick.at) / _TALL, tick.text] for tick in self.ticks]
        scale = "log" if self.is_log else "linear"
        trials = [
            {
                "at": each.places,
                "rank": each.places[-1] if self.higher_is_better else 1 - each.places[-1],
                "kind": each.kind,
                "value": each.value,
                "params": each.params,
                "job": each.job if linked is None or each.job in linked else "",
            }
            for each in self.trials
        ]
        return {
            "kind": "parallel",
            "title": f"{self.metric} and all params",
            "link": link,
            "axes": [*axes, {"name": self.metric, "scale": scale, "ticks": ticks}],
            "trials": trials,
        }


def slice_plot(
    group: Group, rungs: Sequence[RungEntry], importance: Importance | None = None
) -> SlicePlot | None:
    """Return the slice plot of a sweep; None if no trial has a metric yet or no param varies.

    `rungs` has the metrics of trials that were paused or pruned, in the order of arrival.
    """
    found = list_trials(group)
    values = _values(group, found, rungs)
    names = varied_params(group)
    shares = importance.shares if importance else {}
    names = sorted(names, key=lambda name: -shares.get(name, 0.0))
    if not values or not names:
        return None
    every = -(-len(values) // MOST_DOTS)
    best = group.best()
    best_id = best.jobs[0].id if best else None
    drawn = [each for n, each in enumerate(values) if n % every == 0 or each.job == best_id]
    metrics = [each.value for each in drawn]
    y = _metric_axis(metrics, is_cost=not group.objective.higher_is_better)
    space = _space(group)
    shown = names[:MOST_PANELS]
    metric = group.objective.metric
    panels = [_panel(name, space.get(name), metric, drawn, y, shown, best_id) for name in shown]
    return SlicePlot(
        metric,
        y.scale == "log",
        [Tick(BOTTOM - INSET - y.place(v) * _TALL, t, t) for v, t in y.labels],
        panels,
        any(each.last for each in drawn),
        _notes(found, values, len(drawn), names),
        importance,
        best is not None,
        group.objective.higher_is_better,
        _plotted(drawn, panels, y, best_id, higher_is_better=group.objective.higher_is_better),
    )


def _plotted(
    values: Sequence[_Value],
    panels: Sequence[Panel],
    y: _Axis,
    best: str | None,
    *,
    higher_is_better: bool,
) -> list[PlottedTrial]:
    """Return the trials with their places on all axes, the best one first."""
    places = [{dot.job: _place(dot.x) for dot in panel.dots} for panel in panels]
    found = []
    for each in sorted(values, key=lambda each: -each.value if higher_is_better else each.value):
        text = number_text(each.value) + (f" at epoch {each.last.resource}" if each.last else "")
        params = [_cut(typed(each.trial.value(panel.name)), 40) for panel in panels]
        at = [*(panel[each.job] for panel in places), round(y.place(each.value), 4)]
        found.append(PlottedTrial(each.job, _kind(each, best), text, params, at))
    return sorted(found, key=lambda trial: trial.kind != "best")


def _place(across: float) -> float:
    """Return the place from 0 to 1 of a dot or tick of a panel."""
    return round((across - LEFT - INSET) / _WIDE, 4)


def _kind(each: _Value, best: str | None) -> str:
    return "best" if each.job == best else "partial" if each.last else "done"


@dataclass(frozen=True)
class _Value:
    """A trial and its metric."""

    trial: Trial
    value: float
    last: RungEntry | None = None
    """Where a trial without a result got its metric."""

    @property
    def job(self) -> str:
        return self.trial.group.jobs[0].id


def _values(group: Group, found: Sequence[Trial], rungs: Sequence[RungEntry]) -> list[_Value]:
    """Return the trials with a metric, those that were pruned with that of their last rung."""
    pruner = group.about.get("pruner")
    is_same = isinstance(pruner, dict) and pruner.get("metric") == group.objective.metric
    last = {each.job_id: each for each in rungs if is_same and finite(each.value) is not None}
    values = []
    for trial in found:
        entry = last.get(trial.group.jobs[0].id)
        if trial.statistics:
            values.append(_Value(trial, trial.statistics.mean))
        elif entry and entry.value is not None and trial.status not in _BAD:
            values.append(_Value(trial, float(entry.value), entry))
    return values


_BAD = ("failed", "timed_out", "cancelled", "lost")


def _space(group: Group) -> Mapping[str, list[Any] | Span]:
    """Return the search space of a sweep; empty if it is damaged or a file."""
    try:
        found = Space.from_json({}, group.about.get("space") or {}).varied
    except (AttributeError, KeyError, TypeError, ValueError):
        return {}
    return {name: each for name, each in found.items() if _is_sound(each)}


def _is_sound(values: object) -> bool:
    if not isinstance(values, Span):
        return isinstance(values, list)
    return finite(values.low) is not None and finite(values.high) is not None


@dataclass(frozen=True)
class _Axis:
    """An axis of numbers."""

    low: float
    high: float
    scale: str
    labels: Sequence[tuple[float, str]]

    def place(self, value: float) -> float:
        """Return the place of a value, from 0 to 1."""
        return _share(value, self.low, self.high, self.scale)


def _share(value: float, low: float, high: float, scale: str) -> float:
    if scale == "log":
        value, low, high = math.log(value), math.log(low), math.log(high)
    # Halved, so that the span of two huge numbers is not infinite.
    span = high / 2 - low / 2
    return min(max((value / 2 - low / 2) / span, 0.0), 1.0) if span > 0 else 0.5


_WIDE, _TALL = RIGHT - LEFT - 2 * INSET, BOTTOM - TOP - 2 * INSET


def _metric_axis(values: Sequence[float], *, is_cost: bool) -> _Axis:
    """Return the axis of a metric; a loss over several powers of ten has a logarithmic one."""
    low, high = min(values), max(values)
    return _number_axis(low, high, is_log=is_cost and 0 < low < high / 100)


def _number_axis(low: float, high: float, *, is_log: bool, is_whole: bool = False) -> _Axis:
    if is_log:
        return _Axis(low, high, "log", [(v, short_number(v)) for v in _log_ticks(low, high)])
    ticks = linear_ticks(low, high, is_whole=is_whole)
    digits = _digits(ticks)
    return _Axis(low, high, "linear", [(v, short_number(v, digits)) for v in ticks])


def linear_ticks(low: float, high: float, *, is_whole: bool) -> list[float]:
    """Return round numbers between two limits, two to six of them."""
    rough = (high / 2 - low / 2) / 2.5
    if not 1e-300 < rough < 1e300 or rough < 1e-12 * max(abs(low), abs(high)):
        return sorted({low, high})
    power = 10.0 ** math.floor(math.log10(rough))
    size = next(n * power for n in (1, 2, 5, 10) if n * power >= rough * 0.999)
    size = max(size, 1.0) if is_whole else size
    first, last = math.ceil(low / size - 1e-9), math.floor(high / size + 1e-9)
    if last - first < 1:  # the next smaller size
        size = size / 2 if not is_whole else 1.0
        first, last = math.ceil(low / size - 1e-9), math.floor(high / size + 1e-9)
    return [n * size for n in range(first, last + 1)] or [low, high]


def _log_ticks(low: float, high: float) -> list[float]:
    """Return powers of ten between two positive limits, or also 2 and 5 times these."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    every = -(-(last - first + 1) // 6)
    powers = [float(f"1e{n}") for n in range(first, last + 1) if n % every == 0]
    found = [v for v in powers if low * 0.999 <= v <= min(high * 1.001, LARGEST)]
    if len(found) >= 2:
        return found
    finer = [n * float(f"1e{e}") for e in range(first, last + 1) for n in (1, 2, 5)]
    found = [v for v in finer if low * 0.999 <= v <= min(high * 1.001, LARGEST)]
    return found if len(found) >= 2 else [low, high]


def _digits(ticks: Sequence[float]) -> int:
    """Return the number of significant digits that tell neighbouring ticks apart."""
    most = max(map(abs, ticks))
    steps = [b - a for a, b in pairwise(ticks) if b > a]
    if not steps or not most:
        return 4
    return min(max(3, 1 + math.ceil(math.log10(most / min(steps)) + 1e-9)), 7)


def short_number(value: float, digits: int = 3) -> str:
    """Format a number for a label: 0.003, 1e-5, 2000, 1e6."""
    text = f"{value:.{digits}g}"
    if "e" not in text:
        return "0" if text == "-0" else text
    number, _, exponent = text.partition("e")
    if 0 <= int(exponent) < 6:
        return f"{value:.0f}"
    return f"{number}e{int(exponent)}"


def _panel(
    name: str,
    space: list[Any] | Span | None,
    metric: str,
    values: Sequence[_Value],
    y: _Axis,
    names: Sequence[str],
    best: str | None,
) -> Panel:
    params = [each.trial.value(name) for each in values]
    places, ticks, scale = _places(params, space)
    dots = []
    for each, place in zip(values, places, strict=True):
        across, up = LEFT + INSET + place * _WIDE, BOTTOM - INSET - y.place(each.value) * _TALL
        kind = _kind(each, best)
        text = _dot_text(each, metric, names)
        dots.append(Dot(round(across, 1), round(up, 1), each.job, kind, text))
    ends = f"from {number_text(y.low)} to {number_text(y.high)}"
    about = f"{metric} against {name}, {counted(len(values), 'trial')}, {ends}"
    first = next((n for n, each in enumerate(values) if each.job == best), None)
    if first is not None:
        at = _cut(typed(params[first]), 40)
        about += f"; the best, {number_text(values[first].value)}, at {at}"
    order = ("partial", "done", "best")
    return Panel(name, scale, ticks, sorted(dots, key=lambda dot: order.index(dot.kind)), about)


def _dot_text(each: _Value, metric: str, names: Sequence[str]) -> str:
    at = f" at epoch {each.last.resource}, {each.trial.status}" if each.last else ""
    pairs = ", ".join(f"{name}={_cut(typed(each.trial.value(name)), 40)}" for name in names)
    return f"{metric} {number_text(each.value)}{at}: {pairs}, job {each.job[:8]}"


def _places(
    params: Sequence[Any], space: list[Any] | Span | None
) -> tuple[list[float], Sequence[Tick], str]:
    """Return the place of each value from 0 to 1, the labels and the scale of the axis."""
    numbers = [n for each in params if (n := finite(each)) is not None]
    are_numbers = len(numbers) == len(params)
    if are_numbers and isinstance(space, Span) and space.low < space.high:
        low, high = min(space.low, *numbers), max(space.high, *numbers)
        axis = _number_axis(
            low, high, is_log=space.log and low > 0, is_whole=space.is_whole and not space.log
        )
    elif are_numbers and len(set(numbers)) > MOST_CATEGORIES:
        low, high = min(numbers), max(numbers)
        is_whole = all(isinstance(n, int) for n in numbers)
        axis = _number_axis(low, high, is_log=0 < low <= high / WIDE_RANGE, is_whole=is_whole)
    else:
        return _categories(params, space if isinstance(space, list) else [])
    ticks = [Tick(LEFT + INSET + axis.place(v) * _WIDE, text, text) for v, text in axis.labels]
    return [axis.place(n) for n in numbers], _without_overlap(ticks), axis.scale


def _without_overlap(ticks: Sequence[Tick]) -> Sequence[Tick]:
    """Leave out every second label, or more of them, until each has its place."""
    for every in range(1, len(ticks)):
        kept = ticks[::every]
        widths = [(letters(one.text) + letters(two.text) + 1) / 2 for one, two in pairwise(kept)]
        gaps = [two.at - one.at for one, two in pairwise(kept)]
        if all(gap >= wide * LETTER for gap, wide in zip(gaps, widths, strict=True)):
            return kept
    return ticks[:1]


def _categories(
    params: Sequence[Any], listed: Sequence[Any]
) -> tuple[list[float], Sequence[Tick], str]:
    """Return places, labels and scale of an axis of categories: those of the space, or found."""
    known = {canonical(each): each for each in [*listed, *params]}
    if all(finite(each) is not None for each in known.values()):
        known = dict(sorted(known.items(), key=lambda pair: float(pair[1])))
    order = {key: n for n, key in enumerate(known)}
    slot = 1 / len(order)
    counts = Counter(canonical(each) for each in params)
    # Dots of one category are spread, always in the same way, where they would hide each other.
    spread = 0.5 * slot if max(counts.values()) > 3 else 0.0
    places = [
        (order[canonical(each)] + 0.5) * slot + spread * ((n * 0.618034) % 1 - 0.5)
        for n, each in enumerate(params)
    ]
    texts = [typed(each) for each in known.values()]
    room, longest = slot * _WIDE / LETTER, max(map(letters, texts)) + 1
    # Labels that do not fit are on two lines in turn, and shortened, but not below four letters:
    # then some are left out.
    lines = 1 if longest <= room else 2
    every = math.ceil(min(5, longest) / (room * lines))
    shown = list(enumerate(texts))[::every]
    ticks = [
        Tick(
            LEFT + INSET + (n + 0.5) * slot * _WIDE,
            _cut(text, int(room * lines * every) - 1),
            text,
            place % lines,
        )
        for place, (n, text) in enumerate(shown)
    ]
    return places, ticks, "categories"


def letters(text: str) -> int:
    """Return the width of a text in letters; East Asian ones are twice as wide."""
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def _cut(text: str, most: int) -> str:
    """Shorten a text to a width in letters."""
    if len(text) <= most and letters(text) <= most:
        return text
    kept, width = "", 1
    for letter in text:
        width += letters(letter)
        if width > max(most, 2):
            break
        kept += letter
    return f"{kept}…"


def _notes(
    found: Sequence[Trial], values: Sequence[_Value], drawn: int, names: Sequence[str]
) -> list[str]:
    notes = []
    shown = {each.job for each in values}
    missing = Counter(
        trial.status
        for trial in found
        if trial.group.is_terminal and trial.group.jobs[0].id not in shown
    )
    if missing:
        counts = ", ".join(f"{n} {name.replace('_', ' ')}" for name, n in missing.most_common())
        one = missing.total() == 1
        notes.append(f"{missing.total():,} trial{'' if one else 's'} without a value: {counts}.")
    if drawn < len(values):
        notes.append(f"{drawn:,} of {len(values):,} trials are drawn.")
    if len(names) > MOST_PANELS:
        notes.append(f"{len(names) - MOST_PANELS} more params vary.")
    return notes
