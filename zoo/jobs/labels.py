"""Names and notes of jobs, and names of workers: one line of text without control characters."""

from __future__ import annotations

import re

from zoo.errors import UsageError
from zoo.terminal_text import is_plain, one_line

MAX_NAME = 64
MAX_NOTE = 1000
"""Largest numbers of characters."""
SHORT_HEX = re.compile(r"[0-9a-f]{1,7}")
"""A name like this would often be read as the beginning of an id."""


WORKER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def check_name(text: str) -> str:
    """Return the name in its normal form (NFC, single spaces).

    Raises UsageError for a text that is no name, or would be taken for another reference.
    """
    name = _check("name", text, MAX_NAME)
    if not name:
        raise UsageError("The name is empty.", "Leave out --name for a job without one.")
    if name.startswith(("@", "-", "+")):
        raise UsageError(f"The name '{name}' begins with {name[0]}.", "Begin it with a letter.")
    if SHORT_HEX.fullmatch(name):
        raise UsageError(
            f"The name '{name}' reads like the beginning of an id.",
            "Take one of at least 8 characters, or with a letter after f.",
        )
    return name


def check_worker_name(name: str) -> str:
    """Return the name, which log lines, metrics and Celery take as it is. Raises UsageError."""
    if not WORKER_NAME.fullmatch(name):
        raise UsageError(
            f"'{name}' is no name of a worker.",
            "Up to 64 letters, digits, dots, dashes and underscores, the first a letter or digit.",
        )
    return name


def check_note(text: str) -> str | None:
    """Return the note in its normal form; None for an empty text. Raises UsageError."""
    return _check("note", text, MAX_NOTE) or None


def _check(what: str, text: str, longest: int) -> str:
    found = one_line(text)
    if not is_plain(found):
        raise UsageError(
            f"The {what} has a control or format character.", "Use letters, digits and punctuation."
        )
    if len(found) > longest:
        raise UsageError(
            f"The {what} has {len(found):,} characters, more than {longest:,}.", "Shorten it."
        )
    return found
