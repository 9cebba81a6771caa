"""List the plugins in a separate process, so that a plugin that ends it does not hide others."""

from __future__ import annotations

import dataclasses
import itertools
import sys
from collections.abc import Iterable

from zoo.child_process import ReportingChild, reporting
from zoo.errors import PluginError, ZooError
from zoo.plugins import import_guard, registry
from zoo.plugins.registry import Plugin

PATIENCE = import_guard.IMPORT_SECONDS + import_guard.RINGS * import_guard.RING_SECONDS + 5
"""Seconds without a message after which a plugin counts as hanging in native code."""


def listing() -> list[Plugin]:
    """Return all plugins of this machine, also those with commands, with their errors.

    Raises PluginError if the separate process cannot list them at all.
    """
    dead: dict[str, Plugin] = {}
    while True:
        found, victim = _look(dead)
        if victim is None:
            return merged(found)
        # Each round must find another broken plugin; otherwise the loop would not end.
        if not victim.source or victim.source in dead:
            raise PluginError(
                f"The process that lists the plugins failed: {victim.error}.",
                "Its output is above; ZOO_PLUGINS=a,b loads only the named plugins.",
            )
        # The plugins after it are unknown yet: list again without the broken ones.
        dead |= {plugin.source: plugin for plugin in [*found, victim] if plugin.error}


def merged(found: list[Plugin]) -> list[Plugin]:
    """Return the parts of a plugin as one: it may have entry points for hooks and for commands."""
    parts: dict[tuple[str, ...], list[Plugin]] = {}
    for each in found:
        key = (each.name, each.distribution) if each.distribution else (each.source, each.name, "")
        parts.setdefault(key, []).append(each)
    return [_together(each) for each in parts.values()]


def _together(parts: list[Plugin]) -> Plugin:
    first = parts[0]
    if len(parts) == 1:
        return first
    return dataclasses.replace(
        first,
        source=", ".join(dict.fromkeys(each.source for each in parts)),
        seconds=sum(each.seconds for each in parts),
        error="; ".join(dict.fromkeys(each.error for each in parts if each.error)),
        hooks=_all(each.hooks for each in parts),
        models=_all(each.models for each in parts),
        datasets=_all(each.datasets for each in parts),
    )


def _all(lists: Iterable[list[str]]) -> list[str]:
    return [*dict.fromkeys(itertools.chain.from_iterable(lists))]


def _look(dead: dict[str, Plugin]) -> tuple[list[Plugin], Plugin | None]:
    """The plugins found by a separate process; and the plugin that ended it, if one did."""
    found: list[Plugin] = []
    entering = Plugin("zoo")
    other = ReportingChild("zoo.plugins.isolated_listing", *dead)
    how = ""
    try:
        while message := other.receive(PATIENCE):
            if "error" in message:  # it is the installation's, not a plugin's
                raise PluginError(*message["error"])
            plugin = Plugin(**message["plugin"])
            if message["has"] == "begun":
                entering = plugin
            elif message["has"] == "ended":
                return found, None
            else:
                found.append(dead.get(plugin.source, plugin))
    except TimeoutError:
        how = f"it hung at import for {PATIENCE:g} s"
    finally:
        ended = other.end()
    entering.error = how or f"it ended the process that imported it ({ended})"
    return found, entering


def main(dead: list[str]) -> None:
    """In the other process: load every plugin but the dead ones, and tell of each."""
    with reporting() as send:

        def say(has: str, plugin: Plugin) -> None:
            send({"has": has, "plugin": dataclasses.asdict(plugin)})

        try:
            every = registry.candidates(), registry.command_candidates()
        except ZooError as error:
            send({"error": [error.message, error.hint]})
            return
        for candidates in every:
            catalogue = registry.empty()
            for plugin, load in candidates:
                if plugin.source not in dead:
                    say("begun", plugin)
                    registry.enter(catalogue, plugin, load)
                say("loaded", plugin)
        say("ended", Plugin("zoo"))


if __name__ == "__main__":
    main(sys.argv[1:])
