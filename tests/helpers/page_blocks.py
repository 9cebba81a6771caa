"""The blocks of a page that show commands with their output, and their comparison with a real one.

An output is compared in shape: numbers, ids, times and drawings may be others. `...` stands for any
lines, and within a line for any text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

ANY = "..."
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", flags=re.M | re.S)
ID = r"(?<![\w.])(?:[0-9a-f]{64}|[0-9a-f]{32}|[0-9a-f]{16}|[0-9a-f]{12}|[0-9a-f]{8})\b"
SHAPES = (
    (r"^user: \S+@\S+", "user: USER"),
    (r"[▀▄█▁▂▃▅▆▇━][ ▀▄█▁▂▃▅▆▇━]*", "▒"),
    (ID, "ID"),
    (r"@\d+\b", "@N"),
    (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "TIME"),
    (r"(?<![a-z_@\d-])[-+]?\d[\d,]*(?:\.\d+)*(?:e[-+]?\d+)?", "N"),
    (r"\b(image|job|row|slot)s\b", r"\1"),
    (r"\s+", " "),
)
PROGRESS = re.compile(
    r"[0-9a-f]{8} .*: (queued|running|succeeded|pruned)$|Details: `zoo show |"
    r"Reading |Preparing |\d+ of \d+ jobs have ended"
)
"""What a command prints on stderr while a job runs and after it; the pages leave it out."""


IDS = re.compile(ID)


class Step(NamedTuple):
    """A command of a page and the output that the page shows; None if its block shows none."""

    page: str
    chapter: str
    line: int
    command: str
    output: list[str] | None


def name(page: Path) -> str:
    """Return the name of a page; that of a plugin's is the plugin's."""
    return page.parent.name if page.parent.parent.name == "plugins" else page.name


def steps(page: Path) -> list[Step]:
    """Return the commands of the page, those with `$ ` before them, in their order."""
    found: list[Step] = []
    text = page.read_text(encoding="utf-8")
    for block in BLOCK.finditer(text):
        if not block[2].startswith("$ "):
            continue
        chapters = re.findall(r"^## (.*)$", text[: block.start()], flags=re.M)
        line = text.count("\n", 0, block.start()) + 2
        is_silent = all(each[:2] in ("$ ", "") for each in block[2].splitlines())
        for part in re.split(r"^\$ ", block[2], flags=re.M)[1:]:
            lines = part.replace("\\\n", " ").splitlines()
            output = None if is_silent else [each for each in lines[1:] if each.strip()]
            found.append(Step(name(page), (chapters or [""])[-1], line, lines[0], output))
            line += part.count("\n")
    return found


def files(found: Sequence[Step]) -> list[tuple[str, str]]:
    """Return the files that the steps show with `cat`."""
    shown = [each for each in found if each.command.startswith("cat ")]
    return [(each.command[4:], "\n".join([*(each.output or ()), ""])) for each in shown]


def replaced(command: str, ids: Mapping[str, str]) -> str:
    """Return the command with the ids of this run for those of the page."""
    return IDS.sub(lambda found: ids.get(found[0], found[0]), command)


def matched_ids(shown: Sequence[str], printed: Sequence[str]) -> dict[str, str]:
    """Return the ids that the output has where the page has others, and their beginnings."""
    rest, ids = list(printed), {}
    for line in shown:
        fits = next((n for n, each in enumerate(rest) if _is(shape(line), shape(each))), None)
        if fits is not None:
            for old, new in zip(IDS.findall(line), IDS.findall(rest[fits]), strict=False):
                ids |= {old: new, old[:8]: new[:8]}
            del rest[: fits + 1]
    return ids


def shape(line: str) -> str:
    """Return the line without what differs from run to run."""
    for pattern, word in SHAPES:
        line = re.sub(pattern, word, line)
    return line.strip()


def shapes(lines: Sequence[str]) -> list[str]:
    """Return the shape of each line; lines that are drawn count once."""
    found: list[str] = []
    for line in map(shape, lines):
        is_drawn = line and not line.strip("▒ ")
        if line and not (is_drawn and found and found[-1] == "▒"):
            found.append("▒" if is_drawn else line)
    return found


def differences(shown: Sequence[str], printed: Sequence[str]) -> list[str]:
    """Return the lines of a page that the output does not have in this order; [] if it fits.

    Rows of a table may come in another order.
    """
    expected, actual = shapes(shown), shapes(printed)
    if ANY not in expected:
        missing = _left(expected, actual) + [f"+ {each}" for each in _left(actual, expected)]
        return missing
    at, missing, anywhere = 0, [], False
    for line in expected:
        if line == ANY:
            anywhere = True
            continue
        found = next((n for n in range(at, len(actual)) if _is(line, actual[n])), None)
        if found is None or (found > at and not anywhere):
            missing.append(f"- {line}")
        else:
            at, anywhere = found + 1, False
    if at < len(actual) and not anywhere:
        missing += [f"+ {each}" for each in actual[at:]]
    return missing


def _left(lines: Sequence[str], others: Sequence[str]) -> list[str]:
    """Return the lines that the others do not have."""
    rest = list(others)
    left = []
    for line in lines:
        fits = next((each for each in rest if _is(line, each) or _is(each, line)), None)
        if fits is None:
            left.append(line)
        else:
            rest.remove(fits)
    return left


def _is(pattern: str, line: str) -> bool:
    parts = (re.escape(part.strip()) for part in pattern.split(ANY))
    return re.fullmatch(r"\s?.*\s?".join(parts), line) is not None


def headings(lines: Sequence[str]) -> list[str]:
    """Return the lines without a number: those that no result changes."""
    return [line for line in shapes(lines) if not re.search(r"\bN\b|\bID\b|▒", line)]
