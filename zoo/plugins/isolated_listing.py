"""List the plugins as another process finds them: whatever they do there, the list is whole."""

from __future__ import annotations

import dataclasses
import sys

from zoo.child_process import ReportingChild, reporting
from zoo.errors import PluginError, ZooError
from zoo.plugins import import_guard, registry
from zoo.plugins.registry import Plugin

PATIENCE = import_guard.IMPORT_SECONDS + import_guard.RINGS * import_guard.RING_SECONDS + 5
"""Seconds without news until a plugin is taken to hang in native code, where no signal arrives."""


def listing() -> list[Plugin]:
    """Every plugin of this machine, also those that add commands, and what is wrong with it.

    Raises PluginError if the other process cannot list them at all.
    """
    dead: dict[str, Plugin] = {}
    while True:
        found, victim = _look(dead)
        if victim is None:
            return found
        # Each look finds another one that is broken; else it would go on forever.
        if not victim.source or victim.source in dead:
            raise PluginError(
                f"The process that lists the plugins cannot do so: {victim.error}.",
                "What it said stands above; ZOO_PLUGINS=a,b loads only those.",
            )
        # The plugins after it are not yet known: look again, past this and the other broken ones.
        dead |= {plugin.source: plugin for plugin in [*found, victim] if plugin.error}


def _look(dead: dict[str, Plugin]) -> tuple[list[Plugin], Plugin | None]:
    """What another process finds; and the plugin that has ended it, if one has."""
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
