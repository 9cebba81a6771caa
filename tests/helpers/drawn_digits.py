"""Digits that the tests draw themselves, by strokes of a pen, and photographs of them."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

Box = tuple[float, float, float, float]
Colour = tuple[int, int, int]
BLACK, WHITE = (0, 0, 0), (255, 255, 255)

STROKES: dict[int, list[str]] = {
    0: ["50,5 25,15 15,50 25,85 50,95 75,85 85,50 75,15 50,5"],
    1: ["52,5 50,95"],
    2: ["20,25 35,8 60,5 78,20 75,40 50,65 20,92 85,92"],
    3: ["20,10 50,5 75,20 65,42 42,48 70,55 80,75 60,93 30,95 15,85"],
    4: ["30,8 20,50 75,50", "70,10 65,95"],
    5: ["80,7 30,7 25,45 55,40 80,60 70,88 40,95 15,85"],
    6: ["65,5 40,25 25,60 30,88 55,95 75,80 70,60 50,52 28,65"],
    7: ["15,10 85,10 60,50 45,95"],
    8: ["70,20 50,5 28,18 35,40 65,60 72,82 50,95 27,82 35,60 62,42 70,20"],
    9: ["75,25 55,7 30,15 25,35 45,50 70,38 75,25 70,60 60,95"],
}
"""The corners of each stroke, in percent of the digit's box."""


def drawn(
    digit: int,
    size: tuple[int, int] = (280, 280),
    *,
    box: Box | None = None,
    width: int = 24,
    ink: Any = BLACK,
    paper: Any = WHITE,
    mode: str = "RGB",
) -> Image.Image:
    """A digit in its box (left, top, width, height), by default in the middle."""
    picture = Image.new(mode, size, paper)
    pen = ImageDraw.Draw(picture)
    side = 0.7 * min(size)
    middle = (size[0] / 2 - 0.38 * side, size[1] / 2 - side / 2, 0.76 * side, side)
    left, top, wide, high = box or middle
    for stroke in STROKES[digit]:
        corners = [tuple(map(int, corner.split(","))) for corner in stroke.split()]
        points = [(left + x / 100 * wide, top + y / 100 * high) for x, y in corners]
        pen.line(points, fill=ink, width=width, joint="curve")
        for x, y in points:
            half = width / 2
            pen.ellipse([x - half, y - half, x + half, y + half], fill=ink)
    return picture


def photographed(picture: Image.Image, noise: float = 10, shade: float = 0.6) -> Image.Image:
    """As a camera sees it: out of focus, in warm light that falls off to one side, with noise."""
    blurred = picture.convert("RGB").filter(ImageFilter.GaussianBlur(1.5))
    pixels = np.asarray(blurred).astype("float64")
    rows, columns = np.mgrid[0 : pixels.shape[0], 0 : pixels.shape[1]]
    light = 1 - shade * (0.6 * columns / pixels.shape[1] + 0.4 * rows / pixels.shape[0])
    lit = pixels * 0.8 * light[..., None] * [1, 0.96, 0.86] + 12
    grainy = lit + np.random.default_rng(0).normal(0, noise, lit.shape)
    return Image.fromarray(grainy.clip(0, 255).astype("uint8"))


WAYS = {
    "inverted": lambda d: drawn(d, ink=WHITE, paper=BLACK),
    "shifted": lambda d: drawn(d, (400, 300), box=(250, 20, 110, 150)),
    "in colour": lambda d: drawn(d, ink=(200, 20, 20), paper=(20, 150, 40)),
    "in two colours of one brightness": lambda d: drawn(d, ink=(200, 60, 60), paper=(60, 124, 60)),
    "1000 x 800": lambda d: drawn(d, (1000, 800), width=60),
    "with a fine pen": lambda d: drawn(d, (1000, 800), width=8),
    "photographed": lambda d: photographed(drawn(d, (500, 400), width=24, ink=(40, 45, 90))),
    "a blackboard": lambda d: photographed(
        drawn(d, (500, 400), width=24, ink=(230, 230, 220), paper=(40, 60, 50))
    ),
    "small in a large photograph": lambda d: photographed(
        drawn(d, (1000, 750), box=(650, 450, 75, 100), width=9, ink=(50, 50, 120))
    ),
    "touching the border": lambda d: drawn(d, (200, 280), box=(-20, 0, 240, 280)),
    "in ink on nothing": lambda d: drawn(d, ink=(0, 0, 90, 255), paper=(0, 0, 0, 0), mode="RGBA"),
    "in light on nothing": lambda d: drawn(
        d, ink=(255, 255, 200, 255), paper=(0, 0, 0, 0), mode="RGBA"
    ),
}
"""The same digit, as it may come."""
