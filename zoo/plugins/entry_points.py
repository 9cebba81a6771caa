"""What installed distributions offer under a group's name, remembered until one comes or goes.

To ask takes 40 ms, most of it the import of importlib.metadata: every command would wait for it.
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
    """An entry point, and the distribution that has it."""

    name: str
    value: str
    """`module` or `module:object`."""
    distribution: str
    version: str

    def load(self) -> Any:
        """Import what it names."""
        module, _, attributes = self.value.partition(":")
        return reduce(getattr, filter(None, attributes.split(".")), import_module(module))


def of(group: str) -> list[Entry]:
    """The entry points of a group, in the order of their names."""
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
    """The file in the home where something is remembered; None if it is not known where that is."""
    try:
        home = settings.load().home
    except ZooError:  # the command itself will say so
        return None
    # What others may have written there is not believed.
    return None if private_folder.complaint_of(home) else home / name


def keep(file: Path, text: str) -> None:
    """Write such a file, if that is possible."""
    # A home that is not there yet stays so: a mere `--help` leaves nothing behind.
    with contextlib.suppress(OSError):
        atomic.write(file, text)


def key() -> list[Any]:
    """Changes when a distribution is installed or removed: its folder in one of these is."""
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
