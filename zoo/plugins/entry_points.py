"""Entry points of the installed distributions, cached until one is installed or removed.

Reading them takes 40 ms, most of it the import of importlib.metadata, in every command.
"""

from __future__ import annotations

import contextlib
import json
import sys
from functools import reduce
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from zoo import atomic, private_folder, settings
from zoo.errors import ZooError

GROUPS = ("zoo", "zoo.commands")


class Entry(NamedTuple):
    """An entry point and its distribution."""

    name: str
    value: str
    """`module` or `module:object`."""
    distribution: str
    version: str

    def load(self) -> Any:
        """Import the object that the entry point names."""
        module, _, attributes = self.value.partition(":")
        return reduce(getattr, filter(None, attributes.split(".")), import_module(module))


def of(group: str) -> list[Entry]:
    """Return the entry points of a group, sorted by name."""
    now = key()
    file = remembered("entry-points.json")
    if file is not None:
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
            known = json.loads(file.read_text())
            if known["key"] == now:
                return [Entry(*each) for each in known[group]]
    found = {name: _ask(name) for name in GROUPS}
    if file is not None:
        keep(file, json.dumps({"key": now} | found))
    return found[group]


def remembered(name: str) -> Path | None:
    """Return the path of a cache file in the home; None if the home is unknown or not private."""
    try:
        home = settings.load().home
    except ZooError:  # the command itself reports it
        return None
    # A file that others may have written is not trusted.
    return None if private_folder.complaint_of(home) else home / name


def keep(file: Path, text: str) -> None:
    """Write a cache file; errors are ignored."""
    # A missing home is not created: `--help` leaves no files behind.
    with contextlib.suppress(OSError):
        atomic.write(file, text)


def key() -> list[Any]:
    """Return a key that changes when a distribution is installed or removed."""
    seen: list[Any] = [sys.version]
    for folder in sys.path:
        with contextlib.suppress(OSError):
            seen.append([folder, Path(folder).stat().st_mtime_ns])
    return seen


def _ask(group: str) -> list[Entry]:
    from importlib.metadata import entry_points

    found = []
    for entry in entry_points(group=group):
        name, version = (entry.dist.name, entry.dist.version) if entry.dist else ("", "")
        found.append(Entry(entry.name, entry.value, name, version))
    return sorted(found)
