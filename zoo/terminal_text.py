"""Make untrusted text safe for a terminal, and render logs as a terminal would."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

STEERING = ("Cc", "Cf", "Cs", "Zl", "Zp")
"""Unicode categories of control and format characters, lone surrogates, line separators."""
KEPT = ("\n", "\t")

# ECMA-48: CSI with its parameters; OSC, DCS, SOS, PM and APC up to their end; short sequences.
# Of a string without its terminator (ST) only the introducer is removed, not the text after it.
SEQUENCE = re.compile(
    r"""(?:\x1b\[|\x9b) [0-?]* [ -/]* [@-~]
      | (?:\x1b[\]PX^_]|[\x9d\x90\x98\x9e\x9f]) [^\x07\x1b\x9c\n]* (?:\x07|\x1b\\|\x9c)
      | \x1b [ -/]* [0-~]""",
    re.VERBOSE,
)
_BEGUN = re.compile(
    r"\x1b[ -/]*\Z|(?:\x1b\[|\x9b)[0-?]*[ -/]*\Z|\x1b[\]PX^_][^\x07\x1b\x9c\n]*\x1b?\Z"
)
"""An incomplete sequence at the end of a text."""
_MOVE = re.compile(rf"\n|\r|\x08|{SEQUENCE.pattern}", re.VERBOSE)
_ERASE = re.compile(r"(?:\x1b\[|\x9b)([012]?)K")
_LONGEST_BEGUN = 4096
"""Longest incomplete sequence, in characters; longer text is not a sequence."""


def safe(text: str) -> str:
    """Remove control sequences, and control and format characters except newline and tab."""
    if text.isprintable():
        return text
    if "\x1b" in text or not text.isascii():
        text = SEQUENCE.sub("", text)
    return "\n".join(line if line.isprintable() else _cleaned(line) for line in text.split("\n"))


def one_line(text: str) -> str:
    """Normalize a text (NFC) and turn each run of whitespace, also of line ends, into a space."""
    return unicodedata.normalize("NFC", " ".join(text.split()))


def counted(count: int, noun: str) -> str:
    """Return a number with its noun: `1 job`, `2,000 jobs`, `3 classes`."""
    return f"{count:,} {noun if count == 1 else plural(noun)}"


def plural(noun: str) -> str:
    """Return the plural of an English noun, such as `classes` of `class`."""
    if noun.endswith(("s", "x", "ch", "sh")):
        return f"{noun}es"
    if noun.endswith("y") and noun[-2:-1] not in "aeiou":
        return f"{noun[:-1]}ies"
    return f"{noun}s"


def is_plain(text: str) -> bool:
    """Return whether a text has no control or format characters, such as marks of direction."""
    return not any(_is_steering(char) for char in text)


def escaped(document: str) -> str:
    r"""Escape these characters in a JSON document as \uXXXX, which keeps its value."""
    if document.isascii() and "\x7f" not in document:
        return document  # json.dumps has escaped the other control characters
    lines = document.split("\n")
    return "\n".join(line if line.isprintable() else _in_json(line) for line in lines)


def _is_steering(char: str) -> bool:
    return not char.isprintable() and unicodedata.category(char) in STEERING


def _cleaned(line: str) -> str:
    return "".join(c for c in line if c in KEPT or not _is_steering(c))


def _in_json(line: str) -> str:
    return "".join(_as_escape(c) if _is_steering(c) else c for c in line)


def _as_escape(char: str) -> str:
    units = char.encode("utf-16-be", errors="surrogatepass").hex()
    return "".join(rf"\u{units[i : i + 4]}" for i in range(0, len(units), 4))


class LogReader:
    """Convert chunks of a log to the lines that a terminal would show.

    A carriage return moves to the start of the line and a backspace one character back, so a
    progress bar becomes its last state; other control sequences are removed. Positions count
    characters, not columns.
    """

    def __init__(self) -> None:
        self._line: list[str] = []
        self._at = 0
        self._is_overwritten = False
        self._begun = ""

    def feed(self, text: str) -> Iterator[str]:
        """Add the next chunk; yield each line that it completes, without its line end."""
        text = self._begun + text
        begun = _BEGUN.search(text[-_LONGEST_BEGUN:])
        self._begun = begun.group() if begun else ""
        text = text[: len(text) - len(self._begun)]
        start = 0
        for move in _MOVE.finditer(text):
            self._write(text[start : move.start()])
            start = move.end()
            if move.group() == "\n":
                yield self.rest
                self._line, self._at, self._is_overwritten = [], 0, False
            else:
                self._move(move.group())
        self._write(text[start:])

    @property
    def rest(self) -> str:
        """The line that has not ended, as it looks now."""
        shown = safe("".join(self._line))
        # Programs pad with blanks to overwrite a longer line.
        return shown.rstrip(" ") if self._is_overwritten else shown

    def _write(self, text: str) -> None:
        self._line[self._at : self._at + len(text)] = text
        self._at += len(text)

    def _move(self, what: str) -> None:
        self._is_overwritten = True
        if what == "\r":
            self._at = 0
        elif what == "\x08":
            self._at = max(self._at - 1, 0)
        elif erase := _ERASE.fullmatch(what):
            if erase[1] in ("", "0"):
                del self._line[self._at :]
            else:
                end = len(self._line) if erase[1] == "2" else self._at
                self._line[:end] = " " * end


class JobLogReader:
    """Convert chunks of a job's log to lines, attempt by attempt."""

    def __init__(self) -> None:
        self.attempt = 0
        self._reader = LogReader()

    def feed(self, attempt: int, text: str) -> Iterator[tuple[int, str]]:
        """Add the next chunk; yield (attempt, line) for each line that it completes.

        An unfinished line is complete when the next attempt begins.
        """
        if attempt != self.attempt:
            if self.rest:
                yield self.attempt, self.rest
            self.attempt, self._reader = attempt, LogReader()
        for line in self._reader.feed(text):
            yield attempt, line

    @property
    def rest(self) -> str:
        """The line that has not ended, as it looks now."""
        return self._reader.rest


def log_lines(text: str) -> list[str]:
    """Return the lines of a complete log as a terminal would show them."""
    reader = LogReader()
    lines = list(reader.feed(text))
    return [*lines, reader.rest] if reader.rest else lines
