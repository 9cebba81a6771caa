"""The hooks a plugin can implement: the whole list."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    from zoo.model import Dataset, Model

hookspec = pluggy.HookspecMarker("zoo")
hookimpl = pluggy.HookimplMarker("zoo")


@hookspec
def register_models(register: Callable[[type[Model]], None]) -> None:
    """Call `register(MyModel)` for every model of the plugin."""


@hookspec
def register_datasets(register: Callable[[Dataset], None]) -> None:
    """Call `register(zoo.Dataset(...))` for every dataset of the plugin."""


@hookspec
def register_commands(app: Any) -> None:
    """Add commands to the Typer app; only for entry points of the group `zoo.commands`."""


@hookspec
def job_finished(job: dict[str, Any]) -> None:
    """A job of this worker has ended; `job` is what `zoo jobs --json` prints of it.

    Called in a process of its own, at least once. `job["group_result"]` is the group's result if
    this was the last of its jobs to end, else None.
    """
