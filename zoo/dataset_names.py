"""Names of models and datasets, `FORM:PATH?OPTIONS` of files among them, and paths as typed."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from typing import NamedTuple

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
"""A valid name of a model, dataset, plugin or table row (use with fullmatch)."""
FILE_FORMS = ("idx", "npz", "folder", "csv", "parquet")
"""The first words of datasets in files, as in `csv:wine.csv?target=class`."""
LITERAL_FORMS = ("idx", "npz")
"""Forms that had no options once: a path that exists as it is typed needs no quoting."""
FLAGS = ("drop-missing-target", "grey", "transpose")
"""Options without a value."""
OFF = "off"
FLAG_VALUES = {"true": "", "yes": "", "on": "", "1": "", "false": OFF, "no": OFF, "0": OFF}
"""Values of flags as typed; a flag that is on has none."""
LISTS = ("category", "drop")
"""Options that may be repeated."""
CLASSES = "classes"
"""Option with several names, separated by commas; a comma in a name is %2C."""
SEPARATORS = {"\t": "tab", "\\t": "tab"}
"""Names of values of `sep`."""
SHARES = ("test", "validation")
"""Options whose value is a number, or else a path."""


NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE | re.ASCII)
SIDES = re.compile(r"(\d{1,9})x(\d{1,9})", re.IGNORECASE | re.ASCII)
QUOTED = "%?#&"
"""Characters that are percent-encoded, besides those that cannot be printed."""


class Spelling(NamedTuple):
    """A dataset in files, taken apart; its options are in normal form, but not checked."""

    form: str
    path: str
    """Absolute."""
    options: tuple[tuple[str, str], ...]
    """Names and values, sorted by name; the value of a flag is empty."""


def expanded(path: str) -> str:
    """Put the home folder for `~` and `~name`; a name that there is not stays as it is."""
    return os.path.expanduser(path)  # noqa: PTH111 (Path.expanduser raises RuntimeError)


def absolute(path: str) -> str:
    """Make a path absolute, `~` included; links stay, and nothing is looked for."""
    return os.path.abspath(expanded(path))  # noqa: PTH100 (Path.resolve follows links)


def split_version(name: str) -> tuple[str, int | None]:
    """Take NAME@VERSION apart; the version is None for any other name."""
    base, _, version = name.rpartition("@")
    is_number = version.isascii() and version.isdigit() and len(version) < 10 and int(version) > 0
    return (base, int(version)) if is_number and NAME.fullmatch(base) else (name, None)


def scheme_of(name: str) -> str:
    """Return the `SCHEME:` by which a plugin reads a dataset; nothing for files and plain names."""
    form, colon, _ = name.partition(":")
    return f"{form}:" if colon and form not in FILE_FORMS else ""


def canonical(name: str) -> str:
    """Give the name by which jobs know a dataset: of files, as `joined` spells it."""
    found = split(name)
    return joined(found) if found else name


def short(name: str) -> str:
    """Give the name of a dataset without folders of this machine."""
    if found := split(name):
        options = [
            (key, os.path.basename(value) if key in SHARES else value)  # noqa: PTH119
            for key, value in found.options
        ]
        return joined(Spelling(found.form, os.path.basename(found.path), tuple(options)))  # noqa: PTH119
    form, colon, path = name.partition(":")
    return f"{form}:{path.rpartition('/')[2]}" if colon else name


def split(name: str) -> Spelling | None:
    """Take the name of a dataset in files apart; None for any other name, or without a path."""
    form, _, rest = name.partition(":")
    if form not in FILE_FORMS:
        return None
    path, _, query = rest.partition("?")
    if form in LITERAL_FORMS and path != _unquoted(rest) and os.path.lexists(absolute(rest)):
        path, query = rest, ""
    else:
        path = _unquoted(path)
    if not path:
        return None
    options: set[tuple[str, str]] = set()
    for each in query.split("&") if query else ():
        key, _, value = each.partition("=")
        options.update(normal_option(key, value if key == CLASSES else _unquoted(value)))
    return Spelling(form, absolute(path), tuple(sorted(options)))


def joined(spelling: Spelling) -> str:
    """Spell a dataset in files: options sorted, `%`, `?`, `#` and `&` percent-encoded."""
    options = [
        f"{key}={value if key == CLASSES else _quoted(value)}" if value else key
        for key, value in spelling.options
    ]
    query = f"?{'&'.join(options)}" if options else ""
    return f"{spelling.form}:{_quoted(spelling.path)}{query}"


def normal_option(key: str, value: str) -> list[tuple[str, str]]:
    """Return an option in normal form, in a list; an empty one for a flag that is off.

    `value` is as meant; of `classes`, a list as `quoted_list` makes it.
    """
    key = key.replace("_", "-")
    if key in FLAGS:
        value = FLAG_VALUES.get(value.lower(), value)
        return [] if value == OFF else [(key, value)]
    if key == CLASSES:
        return [(key, quoted_list(unquoted_list(value)))]
    if key in SHARES and value:
        return [(key, _number(value) or absolute(value))]
    if key == "size" and (sides := SIDES.fullmatch(value)):
        return [(key, "x".join(str(int(side)) for side in sides.groups()))]
    if key == "encoding":
        return [(key, value.lower())]
    if key == "sep":
        return [(key, SEPARATORS.get(value, value))]
    return [(key, value)]


def quoted_list(values: Iterable[str]) -> str:
    """Join names with commas; those within a name are percent-encoded."""
    return ",".join(_quoted(value, f"{QUOTED},") for value in values)


def unquoted_list(text: str) -> list[str]:
    """Take apart what `quoted_list` has joined."""
    return [_unquoted(each) for each in text.split(",")]


def _number(text: str) -> str:
    return repr(float(text)) if NUMBER.fullmatch(text) else ""


def _quoted(text: str, quoted: str = QUOTED) -> str:
    return "".join(_quoted_character(c) if c in quoted or not c.isprintable() else c for c in text)


def _quoted_character(character: str) -> str:
    import urllib.parse  # here: most commands have nothing to quote

    try:
        return urllib.parse.quote(character, safe="", errors="surrogateescape")
    except UnicodeEncodeError:  # half of a character, which no file has in its name
        return character


def _unquoted(text: str) -> str:
    if "%" not in text:
        return text
    import urllib.parse

    return urllib.parse.unquote(text, errors="surrogateescape")
