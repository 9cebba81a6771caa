"""Exceptions: each has a message of one sentence, and a hint."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class ZooError(Exception):
    """An operation failed; the message is a sentence, the hint is what to do next."""

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()


class UsageError(ZooError):
    """The command itself was wrong; nothing was started."""

    exit_code = 2


class DatasetError(ZooError):
    """A dataset is missing, damaged or of the wrong shape."""


class PictureError(ZooError):
    """A picture cannot be read, or shows nothing."""


class PluginError(ZooError):
    """A plugin broke the contract."""


class ArtifactError(ZooError):
    """An artifact is missing, or is not what its manifest says."""


class StoreError(ZooError):
    """The database cannot be used."""


class BrokerError(ZooError):
    """The broker cannot be reached or started."""


def unknown(what: str, name: str, known: Iterable[str], listing: str = "") -> UsageError:
    """Return a UsageError for an unknown name, with the nearest known one.

    `listing` is the command that lists all known names.
    """
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    if near:
        hint = f"Did you mean '{near[0]}'?"
    elif names and (len(names) <= 12 or not listing):
        hint = f"Known: {', '.join(names)}."
    else:
        hint = f"There is no {what} here." if not names else ""
    if listing:
        hint = f"{hint} `{listing}` lists them all.".strip()
    return UsageError(f"No {what} is called '{name}'.", hint)


def reason(error: BaseException) -> str:
    """Return the message of the operating system or library, without a full stop."""
    words = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(words).partition("\n")[0].rstrip(".")


def as_sentence(text: str) -> str:
    """Return the text, ending in a full stop."""
    text = text.rstrip()
    return text if text.endswith((".", "!", "?", "…")) else f"{text}."
