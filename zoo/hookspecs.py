"""The hooks a plugin can implement: the whole list."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
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
def job_finished(job: dict[str, Any], files: Path | None, extra: Path) -> None:
    """A job of this worker has ended; `job` is what `zoo jobs --json` prints of it.

    Called in a process of its own, at least once. `job["group_result"]` is the group's result if
    this was the last of its jobs to end, else None. An implementation names the arguments that it
    wants, and pays for no other.

    `files` is a folder with the files of the job's artifact, checked: `model.json`,
    `metrics.json`, `history.json`, `predictions.npz`, `weights/`...; to be read only. None if the
    job has none, as one that failed, or they cannot be had.

    `extra` is an empty folder of the plugin's own. What is in it when the call returns is stored
    beside the artifact, at `<job>/extra/<plugin>/` below the artifacts URL, with the sha256 of
    each file, in place of what an earlier call for the job left; `zoo files` lists it. Nothing is
    kept of a call that raises, of over 200 files or 20 MB, or if there are links among them.
    """
