"""Make docs/pictures/zoo.svg: a moving picture of a real run in a terminal (`make cast`; tmux).

The commands run in tmux, whose screen is read ten times a second. Each row of each screen becomes a
group of the SVG, shown while the screen has it; long waits are shortened. A reader who asks for no
motion sees the last screen.
"""

from __future__ import annotations

import html
import itertools
import os
import re
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from PIL import Image, ImageDraw
from rich.ansi import AnsiDecoder
from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

OUT = Path(__file__).parent / "pictures" / "zoo.svg"
SCENES = (
    ("zoo train logistic", "zoo train dense-softmax --seeds 3", "zoo leaderboard"),
    ("zoo predict @best:mnist seven.png",),
)
"""Commands that share a screen."""
SEVEN = [(60, 60), (190, 55), (120, 230)]
"""Strokes of the digit in seven.png, in pixels."""
PROMPT = "$ "
COLUMNS, ROWS = 116, 22
CELL, LINE, MARGIN, TOP = 8.4, 18, 20, 46
"""Width of a character, height of a row, and the space around them, in pixels."""
KEY, PAUSE, END = 0.045, 1.6, 6.0
"""Seconds per letter that is typed, after a command, and after the last one."""
LONGEST, STEP = 4.0, 0.2
"""A command that takes longer is shown in this many seconds, in steps of that length."""
MOST_BYTES = 250_000
COLOURS = [(22, 24, 29), (240, 113, 120), (126, 211, 133), (240, 196, 105), (110, 168, 254)]
COLOURS += [(199, 146, 234), (105, 208, 224), (214, 219, 226)]
THEME = TerminalTheme(COLOURS[0], COLOURS[-1], COLOURS, [(110, 118, 130), *COLOURS[1:]])

BLOCKS = {"█": (0, LINE), "▀": (0, LINE / 2), "▄": (LINE / 2, LINE / 2)}
"""Where the rectangle of a block begins, and its height."""
STYLE = (
    "path{shape-rendering:crispEdges}use{visibility:hidden}.e{visibility:visible}"
    ".b{font-weight:bold}.d{opacity:.6}"
    "text{font:14px ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace;"
    "white-space:pre}"
)


class Part(NamedTuple):
    """Characters of one style."""

    text: str
    fore: str | None = None
    back: str | None = None
    classes: str = ""


Row = tuple[Part, ...]
Screen = list[Row]


class Shown(NamedTuple):
    """A row of the screen from one second to another."""

    row: int
    parts: Row
    since: float
    until: float


def main() -> None:
    """Run the commands, and write the picture."""
    with tempfile.TemporaryDirectory(prefix="zoo-") as home:
        env = {**os.environ, "ZOO_HOME": home, "ZOO_SLOTS": "2", "PS1": PROMPT}
        env["PATH"] = f"{Path(sys.executable).parent}:{env['PATH']}"
        try:
            draw_seven(Path(home) / "seven.png")
            subprocess.run(["zoo", "up"], env=env, check=True, stdout=subprocess.DEVNULL)
            screens, length = record(env)
        finally:
            subprocess.run(["zoo", "down"], env=env, check=True)
    text = drawing(list(rows_shown(screens, length)), length)
    OUT.write_text(text, encoding="utf-8")
    sys.stdout.write(f"{OUT}: {len(text.encode()) / 1000:.0f} kB, {length:.0f} s\n")
    if len(text.encode()) > MOST_BYTES:
        raise SystemExit("The picture is too large for a page.")


def draw_seven(file: Path) -> None:
    """Write the picture of a digit, dark on light."""
    picture = Image.new("L", (260, 290), 245)
    ImageDraw.Draw(picture).line(SEVEN, fill=30, width=24, joint="curve")
    picture.save(file)


def record(env: dict[str, str]) -> tuple[list[tuple[float, Screen]], float]:
    """Return each screen with the second at which it begins, and the length of all."""
    on_digits = not env.get("ZOO_DATA_DIR")
    at = 0.5
    screens: list[tuple[float, Screen]] = [(0.0, [(Part(PROMPT),)])]
    for scene in SCENES:
        above: Screen = []
        for words in scene:
            if on_digits:
                words = words.replace("mnist", "digits")
                words += " --dataset digits" * words.startswith("zoo train")
            for n in range(1, len(words) + 1):
                screens.append((at, [*above, (Part(PROMPT + words[:n]),)]))
                at += KEY
            taken = run(words, env)
            pace = min(1.0, LONGEST / taken[-1][0])
            for since, rows in taken:
                if at + since * pace - screens[-1][0] >= STEP or rows is taken[-1][1]:
                    screens.append((at + since * pace, [*above, *rows]))
            at += taken[-1][0] * pace + PAUSE
            above += taken[-1][1][:-1]
    return screens, at - PAUSE + END


def run(words: str, env: dict[str, str]) -> list[tuple[float, Screen]]:
    """Return the screens of a terminal while the command runs, by the second since its start."""
    tmux = ["tmux", "-L", f"zoo-{os.getpid()}-{uuid.uuid4().hex[:8]}", "-f", "/dev/null"]
    said = f"printf '%s\\n' '{PROMPT}{words}'; env -u COLUMNS -u LINES {words}"
    size = ["-x", str(COLUMNS), "-y", str(ROWS), "-c", env["ZOO_HOME"]]
    shell = f"{said}; printf '%s' '{PROMPT}'; cat"
    subprocess.run([*tmux, "new-session", "-d", *size, shell], env=env, check=True)
    began = time.monotonic()
    taken: list[tuple[float, Screen]] = []
    try:
        while (
            not taken or "".join(part.text for part in taken[-1][1][-1]).strip() != PROMPT.strip()
        ):
            if time.monotonic() - began > 300:
                raise SystemExit(f"'{words}' has not ended within five minutes.")
            time.sleep(0.1)
            shown = subprocess.run([*tmux, "capture-pane", "-pe"], check=True, capture_output=True)
            rows = [parts(line) for line in AnsiDecoder().decode(shown.stdout.decode().rstrip())]
            if rows and (not taken or rows != taken[-1][1]):
                taken.append((time.monotonic() - began, rows))
    finally:
        subprocess.run([*tmux, "kill-server"], check=True)
    return taken


def parts(line: Text) -> Row:
    """Return the parts of a line that have one style each."""
    found = []
    for text, style, _ in line.render(_CONSOLE):
        if not style or text == "\n":
            found += [Part(text)] * (text != "\n")
            continue
        fore, back = (
            None if not each or each.is_default else each.get_truecolor(THEME, n == 0)
            for n, each in enumerate((style.color, style.bgcolor))
        )
        classes = " ".join(["b"] * bool(style.bold) + ["d"] * bool(style.dim))
        found.append(Part(text, fore and _hex(fore), back and _hex(back), classes))
    return tuple(found)


def rows_shown(screens: Sequence[tuple[float, Screen]], length: float) -> Iterator[Shown]:
    """Yield each row with the time for which the screen shows it unchanged."""
    ends = [at for at, _ in screens[1:]] + [length]
    for row in range(ROWS):
        texts = [
            (screen[row] if row < len(screen) else (), at, until)
            for (at, screen), until in zip(screens, ends, strict=True)
        ]
        for text, same in itertools.groupby(texts, key=lambda each: each[0]):
            times = list(same)
            if any(part.text.strip() or part.back for part in text):
                yield Shown(row, text, times[0][1], times[-1][2])


def drawing(shown: Sequence[Shown], length: float) -> str:
    """Return the SVG. Equal rows are drawn once and used wherever they are shown."""
    names = {text: f"t{n}" for n, text in enumerate(dict.fromkeys(each.parts for each in shown))}
    width, height = COLUMNS * CELL + 2 * MARGIN, ROWS * LINE + TOP + MARGIN
    spans = sorted({(each.since, each.until) for each in shown})
    moves = {span: f"k{n}" for n, span in enumerate(spans)}
    frames = "".join(
        f"@keyframes {name}{{0%{{visibility:hidden}}{since / length:.3%}{{visibility:visible}}"
        + (f"{until / length:.3%}{{visibility:hidden}}" if until < length else "")
        + "}"
        for (since, until), name in moves.items()
    )
    used = "".join(
        f'<use href="#{names[each.parts]}" y="{each.row * LINE}"'
        + (' class="e"' if each.until >= length else "")
        + f' style="animation-name:{moves[each.since, each.until]}"/>'
        for each in shown
    )
    drawn = "".join(f'<g id="{name}">{row(text)}</g>' for text, name in names.items())
    dots = "".join(
        f'<circle cx="{MARGIN + 4 + n * 18}" cy="20" r="5.5" fill="{_hex(COLOURS[colour])}"/>'
        for n, colour in enumerate((1, 3, 2))
    )
    moving = f"use{{animation:{length:.1f}s step-end infinite}}{frames}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}"'
        f' viewBox="0 0 {width:.0f} {height:.0f}" role="img"'
        f' aria-label="{"; ".join(itertools.chain(*SCENES))}">'
        f"<style>{STYLE}@media(prefers-reduced-motion:no-preference){{{moving}}}</style>"
        f'<rect width="100%" height="100%" rx="9" fill="{_hex(COLOURS[0])}"/>{dots}'
        f'<defs>{drawn}</defs><g transform="translate({MARGIN} {TOP})" fill="{_hex(COLOURS[-1])}">'
        f"{used}</g></svg>\n"
    )


def row(found: Row) -> str:
    """Return a row of the screen as texts, and as rectangles where it is drawn with blocks."""
    behind: dict[str, list[str]] = {}
    front: dict[str, list[str]] = {}
    texts, column = [], 0
    for part in found:
        fill = part.fore or _hex(COLOURS[-1])
        for piece in re.findall(r"█+|▀+|▄+|[^█▀▄]+", part.text):
            x, wide = column * CELL, len(piece) * CELL
            column += len(piece)
            if part.back:
                behind.setdefault(part.back, []).append(_box(x, 0, wide, LINE))
            if piece[0] in "█▀▄":
                top, tall = BLOCKS[piece[0]]
                front.setdefault(fill, []).append(_box(x, top, wide, tall))
            elif word := piece.strip():
                x += (len(piece) - len(piece.lstrip())) * CELL
                attributes = f' class="{part.classes}"' if part.classes else ""
                attributes += f' fill="{fill}"' if part.fore else ""
                length = f'textLength="{len(word) * CELL:.1f}"'
                text = html.escape(word, quote=False)
                texts.append(f'<text x="{x:.1f}" y="13" {length}{attributes}>{text}</text>')
    boxes = [*behind.items(), *front.items()]
    drawn = (f'<path d="{"".join(each)}" fill="{fill}"/>' for fill, each in boxes)
    return "".join([*drawn, *texts])


def _box(x: float, y: float, wide: float, tall: float) -> str:
    return f"M{x:.1f} {y:g}h{wide:.1f}v{tall:g}h-{wide:.1f}z"


def _hex(colour: Sequence[int]) -> str:
    return "#" + "".join(f"{part:02x}" for part in colour[:3])


_CONSOLE = Console(color_system="truecolor", width=COLUMNS, force_terminal=True)

if __name__ == "__main__":
    main()
