"""Draw figures with matplotlib, without a display or global state."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from zoo.results.learning_curves import kind_of
from zoo_report.predictions import Calibration

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from zoo.model import Array

DPI = 100
INKS = (*("#3450c8", "#c2410c", "#08793f", "#9327a8", "#0b7285", "#b3261e", "#7a6200", "#495066"),)
"""The colours of lines, those of the light page: --c0 to --c7 of zoo/templates/design/zoo.css."""
BLUE, ORANGE = INKS[:2]
PALE, GREY, TEXT, LINE = "#b9c3ee", "#56607a", "#1a2033", "#dfe4ef"
SHADES = ("#ffffff", "#b9c3ee", "#6c82db", BLUE, "#1c2d7a")
STYLE: dict[str, Any] = {
    "font.size": 10,
    "text.color": TEXT,
    "axes.labelcolor": TEXT,
    "axes.edgecolor": GREY,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "grid.color": LINE,
    "axes.titlesize": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    # A class may be called "$5": names are text, not formulas.
    "text.parse_math": False,
}
NAMED, NUMBERED = 20, 60
"""Maximum number of classes for counts in the cells of a confusion matrix, and to draw one."""
FIRST_SIDE = 28
"""Height and width of the images whose weights older artifacts keep flat."""
PER_ROW, LEAST = 5, 3
TILE = 112
"""Pixels of a figure for the longer side of an image, about."""
HEAD = 0.25
"""Inches above the tiles, for the title."""
DARK = 0.25
"""Grey images with a lower mean are ink on a dark ground."""
FEW = 10
"""Bins with fewer images are drawn pale."""
CONTRAST = 99.5
"""Percentile of the weights with full colour, so that outliers do not pale the rest."""


@contextlib.contextmanager
def style() -> Iterator[None]:
    """Context for drawing figures, independent of the user's matplotlibrc."""
    import matplotlib
    from cycler import cycler

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE, **{"axes.prop_cycle": cycler(color=INKS)})
        yield


def figure(width: float, height: float, layout: Any = "constrained") -> Figure:
    """Make a figure; width and height are in hundreds of pixels."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    made = Figure(figsize=(width, height), dpi=DPI, layout=layout)
    FigureCanvasAgg(made)
    engine: Any = made.get_layout_engine()
    if engine:
        engine.set(w_pad=0.1, h_pad=0.06)
    return made


def learning_curves(
    history: Sequence[Mapping[str, Any]], held_out: Mapping[str, float | None]
) -> Figure | None:
    """Draw losses, accuracies and other metrics over the steps, side by side.

    `held_out` are the final metrics on the held-out images, drawn as dashed lines. None if no
    metric was measured at more than one step.
    """
    panels = _panels(history)
    if not panels:
        return None
    made = figure(max(4.8, 3.6 * len(panels)), 3.3)
    unit = str(history[-1].get("unit", "step"))
    axes = made.subplots(1, len(panels), squeeze=False)[0]
    for ax, (title, names) in zip(axes, panels.items(), strict=True):
        for name in names:
            points = [(s["step"], s[name]) for s in history if s.get(name) is not None]
            line = "--" if name.startswith("val_") else "-"
            ax.plot(*zip(*points, strict=True), line, marker="o", markersize=3, label=name)
        final = held_out.get(title)
        if final is not None:
            ax.axhline(final, color=GREY, linestyle=":", linewidth=1.5)
            label = f"held out, at the end: {final:.4f}"
            ax.plot([], [], color=GREY, linestyle=":", linewidth=1.5, label=label)
        ax.set(title=title, xlabel=unit)
        ax.xaxis.get_major_locator().set_params(integer=True)
        ax.grid()
        ax.set_axisbelow(True)
        ax.legend(fontsize=8, frameon=False)
    return made


def _panels(history: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """Group metrics into panels by what they measure, accuracy and loss first."""
    found: dict[str, list[str]] = {}
    for name in dict.fromkeys(name for step in history for name in step):
        n_points = sum(step.get(name) is not None for step in history)
        if name not in ("step", "total", "unit") and n_points > 1:
            found.setdefault(kind_of(name), []).append(name)
    first = {kind: found[kind] for kind in ("accuracy", "loss") if kind in found}
    return dict(list((first | found).items())[:4])


def confusion_matrix(matrix: Sequence[Sequence[int]], names: Sequence[str]) -> Figure:
    """Draw counts of (true class, predicted class); the colour is the share of the true class."""
    import numpy as np
    from matplotlib.colors import LinearSegmentedColormap, PowerNorm

    counts = np.array(matrix)
    parts = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = min(2.6 + 0.33 * len(names), 9.0)
    made = figure(side + 0.8, side)
    ax = made.subplots()
    shades = LinearSegmentedColormap.from_list("zoo", SHADES)
    # Not linear: otherwise one wrong image in a hundred would look like none.
    shown = ax.imshow(parts, cmap=shades, norm=PowerNorm(0.5, 0, 1))
    if len(names) <= NAMED:
        size = 9 if len(names) <= 10 else 7
        for row, column in zip(*np.nonzero(counts), strict=True):
            colour = "white" if parts[row, column] > 0.3 else TEXT
            number = str(counts[row, column])
            cell = ax.text(column, row, number, ha="center", va="center", color=colour)
            cell.set_fontsize(size)
            # Measuring a hundred texts would take longer than everything else.
            cell.set_in_layout(False)
        upright = sum(map(len, names)) <= 30
        ax.set_xticks(range(len(names)), names, rotation=0 if upright else 60)
        ax.set_yticks(range(len(names)), names)
    ax.set(xlabel="predicted", ylabel="true")
    ax.tick_params(length=0)
    bar = made.colorbar(shown, ax=ax, ticks=[0, 0.01, 0.1, 0.25, 0.5, 1])
    bar.ax.set_yticklabels(["0", "1 %", "10 %", "25 %", "50 %", "100 %"], fontsize=8)
    bar.set_label("part of the true class", fontsize=9)
    bar.outline.set_visible(False)
    return made


def calibration(found: Calibration, unit: str = "images") -> Figure:
    """Draw a reliability diagram: accuracy per bin of the confidence, and numbers of inputs."""
    import numpy as np

    made = figure(4.4, 4.6)
    upper, lower = made.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    bins = len(found.counts)
    middles, width = (np.arange(bins) + 0.5) / bins, 0.92 / bins
    upper.plot([0, 1], [0, 1], color=GREY, linestyle="--", linewidth=1)
    for colour, label, chosen in (
        (BLUE, "accuracy", found.counts >= FEW),
        (PALE, f"of fewer than {FEW} {unit}", (found.counts > 0) & (found.counts < FEW)),
    ):
        upper.bar(middles[chosen], found.accuracy[chosen], width, color=colour, label=label)
    claimed = found.confidence[found.counts > 0]
    upper.plot(claimed, claimed, "_", color=ORANGE, markersize=9, mew=2, label="confidence")
    upper.set(xlim=(0, 1), ylim=(0, 1), ylabel="part that is right")
    upper.legend(fontsize=8, frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3)
    lower.bar(middles, found.counts, width, color=GREY)
    lower.set_yscale("log")
    lower.yaxis.set_major_formatter("{x:,.0f}")
    lower.set(xlabel="probability of the predicted class", ylabel=unit)
    return made


def mistakes(images: Array, captions: Sequence[str]) -> Figure:
    """Draw images from 0 to 1 side by side, each with a caption of two lines.

    Colours are those of the images; grey ink on a dark ground is drawn dark on white.
    """
    grey = "gray_r" if images.mean() < DARK else "gray"
    made, _ = _tiles(images, captions, 2, cmap=grey, vmin=0, vmax=1)
    return made


def weights(images: Array, names: Sequence[str]) -> Figure:
    """Draw the weights of each class as an image: red for it, blue against it.

    Args:
        images: (n, height, width), of colour images (n, height, width, 3), whose three weights of
            a pixel are added; or (n, 784), of 28 x 28 pixels.
        names: The classes.
    """
    import numpy as np

    if images.ndim == 2:
        images = images.reshape(-1, FIRST_SIDE, FIRST_SIDE)
    pixels = images.sum(axis=3) if images.ndim == 4 else images
    most = float(np.percentile(abs(pixels), CONTRAST)) or 1.0
    made, shown = _tiles(pixels, names, 1, right=0.7, cmap="RdBu_r", vmin=-most, vmax=most)
    width, height = made.get_size_inches()
    place = made.add_axes((1 - 0.6 / width, 0.12 / height, 0.1 / width, 1 - 0.4 / height))
    bar: Any = made.colorbar(shown, cax=place, extend="both")
    bar.ax.tick_params(labelsize=8)
    bar.outline.set_visible(False)
    return made


def _tiles(
    images: Array, captions: Sequence[str], lines: int, right: float = 0, **shades: Any
) -> tuple[Figure, Any]:
    """Draw images of one size in rows of five, each below its caption, in one pair of axes.

    A pixel of an image is a square of pixels of the figure; of images with more than 224 every
    second one is drawn, or every third, and so on. `right` inches stay empty.
    """
    import numpy as np

    every = -(-max(images.shape[1:3]) // (2 * TILE))
    images = images[:, ::every, ::every]
    columns = max(min(len(images), PER_ROW), LEAST)
    rows = -(-len(images) // columns)
    tall, broad = images.shape[1:3]
    scale = max(1, round(TILE / max(tall, broad)))
    # In pixels of the images; captions need 16 pixels of the figure a line, and some width.
    above = -(-(8 + 16 * lines) // scale)
    wide, high = max(broad, TILE // scale) + -(-16 // scale), tall + -(-8 // scale) + above
    # A single row that is not full is centred.
    indent = (columns - min(len(images), columns)) * wide // 2 + (wide - broad) // 2
    corners = [
        (i // columns * high + above, i % columns * wide + indent) for i in range(len(images))
    ]
    # NaN is not drawn; colours have no NaN, so their ground is white.
    ground = np.nan if images.ndim == 3 else 1.0
    canvas = np.full((rows * high, columns * wide, *images.shape[3:]), ground)
    for image, (top, left) in zip(images, corners, strict=True):
        canvas[top : top + tall, left : left + broad] = image
    inch = scale / DPI
    width, height = canvas.shape[1] * inch, canvas.shape[0] * inch
    made = figure(width + right, height + HEAD, layout=None)
    ax = made.add_axes((0, 0, width / (width + right), height / (height + HEAD)))
    ax.axis("off")
    shown = ax.imshow(canvas, interpolation="nearest", aspect="auto", **shades)
    for caption, (top, left) in zip(captions, corners, strict=True):
        middle = left + broad / 2 - 0.5
        ax.text(middle, top - 1, caption, fontsize=9, ha="center", va="bottom", linespacing=1.1)
    return made, shown
