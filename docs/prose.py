"""Find words that this project does not use, in code and docs (`make lint` runs it).

Comments, docstrings and texts of programs, pages in Markdown, templates and scripts of web pages
are searched for PHRASES; names in Python code for NAMES. Each finding is printed with the plain
words to write instead. Add to the tables what a reader stumbles over.
"""

from __future__ import annotations

import io
import re
import sys
import token
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
PLACES = (
    *("zoo", "workers", "plugins", "benchmarks", "docs"),
    *("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"),
)
SUFFIXES = (".py", ".md", ".html", ".js")
LEFT_OUT = {"docs/decisions.md", "docs/prose.py"}
"""Decisions are a record: they keep the words of their time."""

PHRASES = {
    # phrase (a regular expression; a space matches any white space) -> what to write
    r"nobody has buried": "a zombie process (not yet reaped)",
    r"bears? with": "tolerate",
    r"bears (?:a|an|no|its|the)": "handles",
    r"halves of letters|half letters?": "lone surrogates",
    r"despairs?": "times out",
    r"(?:not|is) heard\b": "ignored, or applied",
    r"stands between a queued job": "conditions under which a queued job may be claimed",
    r"will any end do": "whether any terminal status satisfies the dependency",
    r"signs? of life": "heartbeat",
    r"two files without a name": "anonymous temporary files",
    r"need not be at once": "background work",
    r"what a stranger|by strangers|stranger's": "third-party",
    r"there is none to act on": "cannot be cancelled, or does not apply",
    r"nobody (?:can|could) be asked|nobody to ask": "stdin is not a terminal",
    r"nobody (?:looks|listens|waits|is there)": "name the condition",
    r"of everything random": "random seed",
    r"end it (?:after|above) this": "stop the job after SECONDS, limit in MB",
    r"here and now": "in this process",
    r"goes? on with this": "resume",
    r"what to turn": "tuning",
    r"of a moment are ended": "short jobs are committed in batches",
    r"so many": "N, or the number of",
    r"outlives?": "continue after",
    r"once more": "again",
    r"all the same": "nevertheless",
    r"whoever|whomever": "name the person or the process",
    r"a word to find": "tag",
    r"send(?:s|ing)? the word|the last word": "notify, the final status",
    r"take(?:s)? the terminal with it": "breaks the other commands",
    r"lets? near": "imports",
    r"comes? to work": "is registered",
}

NAMES = {
    # part of a name -> a noun or verb of the field
    "told": "result, reported",
    "hear": "apply",
    "heard": "applied",
    "news": "progress update",
    "gate": "scheduling condition",
    "gates": "scheduling conditions",
    "fence": "fencing token",
    "glance": "overview",
    "crowd": "group progress",
    "settle": "complete",
    "owe": "enqueue",
    "vigil": "waiting for the local worker",
    "eye": "poller",
    "bears": "handles",
}


class Finding(NamedTuple):
    """A word that is not used here, and where it stands."""

    path: Path
    line: int
    text: str
    instead: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: '{self.text}' -> {self.instead}"


def _pattern(phrases: dict[str, str]) -> re.Pattern[str]:
    parts = (rf"(?P<p{i}>{each})".replace(" ", r"\s+") for i, each in enumerate(phrases))
    return re.compile(rf"\b(?:{'|'.join(parts)})\b", re.IGNORECASE)


_PHRASES, _INSTEAD = _pattern(PHRASES), list(PHRASES.values())
_TEXTS = {token.STRING, token.COMMENT} | {
    getattr(token, name) for name in ("FSTRING_MIDDLE",) if hasattr(token, name)
}


def files() -> Iterator[Path]:
    """The files to search, without virtual environments and tests."""
    for name in PLACES:
        place = ROOT / name
        found = [place] if place.is_file() else sorted(place.rglob("*"))
        for path in (each for each in found if each.suffix in SUFFIXES):
            inside = path.relative_to(ROOT)
            if not {".venv", "tests"} & {*inside.parts} and inside.as_posix() not in LEFT_OUT:
                yield inside


def search(path: Path, source: str) -> Iterator[Finding]:
    """Search the text of one file, and only the unreleased part of a changelog."""
    if path.name == "CHANGELOG.md":
        source = re.split(r"^## \[\d", source, maxsplit=1, flags=re.MULTILINE)[0]
    if path.suffix in (".html", ".js"):
        prose = source
    elif path.suffix == ".md":
        prose = re.sub(r"`[^`\n]*`", lambda found: " " * len(found[0]), source)
    else:
        prose = _prose(source)
        yield from _names(path, source)
    for found in _PHRASES.finditer(prose):
        instead = _INSTEAD[int(str(found.lastgroup)[1:])]
        text = " ".join(found[0].split())
        yield Finding(path, prose.count("\n", 0, found.start()) + 1, text, instead)


def _prose(source: str) -> str:
    """Comments and texts of the source at their places, everything else blank."""
    lines = [list(re.sub(r"[^\n]", " ", line)) for line in source.splitlines(keepends=True)]
    for each in tokenize.generate_tokens(io.StringIO(source).readline):
        if each.type not in _TEXTS:
            continue
        (row, column), (end_row, end_column) = each.start, each.end
        for number in range(row, end_row + 1):
            line = each.line if row == end_row else source.splitlines(keepends=True)[number - 1]
            first = column if number == row else 0
            last = end_column if number == end_row else len(lines[number - 1]) - 1
            lines[number - 1][first:last] = line[first:last].replace("#", " ")
    return "".join("".join(line) for line in lines)


def _names(path: Path, source: str) -> Iterator[Finding]:
    for each in tokenize.generate_tokens(io.StringIO(source).readline):
        if each.type == token.NAME:
            for part in re.split(r"_|(?<=[a-z])(?=[A-Z])", each.string):
                if part.lower() in NAMES:
                    yield Finding(path, each.start[0], each.string, NAMES[part.lower()])


def main() -> int:
    """Print every finding; returns 1 if there is one."""
    found = [each for path in files() for each in search(path, (ROOT / path).read_text("utf-8"))]
    for each in found:
        sys.stdout.write(f"{each}\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
