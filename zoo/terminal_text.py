"""Text from elsewhere for a terminal: without control sequences, and a log as it would look."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

STEERING = ("Cc", "Cf", "Cs", "Zl", "Zp")
"""Unicode's categories of control and format characters, lone surrogates, line separators."""
KEPT = ("\n", "\t")

# ECMA-48: CSI with its parameters; OSC, DCS, SOS, PM and APC up to their end; the short ones.
# A string that never ends (a missing ST) would swallow the text behind it: only its start goes.
SEQUENCE = re.compile(
    r"""(?:\x1b\[|\x9b) [0-?]* [ -/]* [@-~]
      | (?:\x1b[\]PX^_]|[\x9d\x90\x98\x9e\x9f]) [^\x07\x1b\x9c\n]* (?:\x07|\x1b\\|\x9c)
      | \x1b [ -/]* [0-~]""",
    re.VERBOSE,
)
_BEGUN = re.compile(
    r"\x1b[ -/]*\Z|(?:\x1b\[|\x9b)[0-?]*[ -/]*\Z|\x1b[\]PX^_][^\x07\x1b\x9c\n]*\x1b?\Z"
)
"""The start of a sequence at the end of a text."""
_MOVE = re.compile(rf"\n|\r|\x08|{SEQUENCE.pattern}", re.VERBOSE)
_ERASE = re.compile(r"(?:\x1b\[|\x9b)([012]?)K")
_LONGEST_BEGUN = 4096
"""Characters; what is longer and has no end is no sequence."""


def safe(text: str) -> str:
    """Remove control sequences, and control and format characters but newline and tab."""
    if text.isprintable():
        return text
    if "\x1b" in text or not text.isascii():
        text = SEQUENCE.sub("", text)
    return "\n".join(line if line.isprintable() else _cleaned(line) for line in text.split("\n"))


def escaped(document: str) -> str:
    r"""Write the same characters of a JSON document as \uXXXX; the value stays the same."""
    if document.isascii() and "\x7f" not in document:
        return document  # json.dumps has escaped the others
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
    """Read a log piece by piece into the lines that a terminal would show.

    A carriage return goes back to the start of the line and a backspace one character back, so
    that a progress bar becomes its last state; other control sequences are removed. Characters
    count, not columns.
    """

    def __init__(self) -> None:
        self._line: list[str] = []
        self._at = 0
        self._is_overwritten = False
        self._begun = ""

    def feed(self, text: str) -> Iterator[str]:
        """Take the next piece, and yield each line that it completes, without its end."""
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
        # A program that overwrites a longer line pads it with blanks.
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
    """Read the pieces of a job's log, attempt by attempt, into the lines of a terminal."""

    def __init__(self) -> None:
        self.attempt = 0
        self._reader = LogReader()

    def feed(self, attempt: int, text: str) -> Iterator[tuple[int, str]]:
        """Take the next piece, and yield each line that it completes, and of which attempt it is.

        A line that an attempt has not ended is complete when the next attempt begins.
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
    """A whole log as the lines that a terminal would show."""
    reader = LogReader()
    lines = list(reader.feed(text))
    return [*lines, reader.rest] if reader.rest else lines
