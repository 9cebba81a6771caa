"""All hooks that a plugin can implement."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    from zoo.metrics import Metric
    from zoo.model import Dataset, Model, Step

hookspec = pluggy.HookspecMarker("zoo")
hookimpl = pluggy.HookimplMarker("zoo")


@hookspec
def register_models(register: Callable[[type[Model]], None]) -> None:
    """Call `register(MyModel)` for every model of the plugin."""


@hookspec
def register_datasets(register: Callable[[Dataset], None]) -> None:
    """Call `register(zoo.Dataset(...))` for every dataset of the plugin."""


@hookspec
def register_preprocessing(register: Callable[[type[Step]], None]) -> None:
    """Call `register(MyStep)` for every preprocessing step of the plugin."""


@hookspec
def register_metrics(register: Callable[[Metric], None]) -> None:
    """Call `register(zoo.Metric(...))` for every metric of the plugin.

    Each job is judged by it, and `--metric` ranks by it.
    """


@hookspec
def register_commands(app: Any) -> None:
    """Add commands to the Typer app; only for entry points of the group `zoo.commands`.

    `rich_help_panel` names the section of `zoo --help`, such as "Results".
    """


@hookspec
def job_finished(
    job: dict[str, Any], files: Path | None, extra: Path, steps: list[dict[str, Any]]
) -> None:
    """Handle the end of a job of this worker.

    Called in a separate process, at least once per job. An implementation declares only the
    arguments that it needs; the others are not prepared.

    Args:
        job: The job as printed by `zoo jobs --json`. `job["group_result"]` is the result of the
            group if this was the last of its jobs to end, else None.
        files: A read-only folder with the verified files of the artifact: `model.json`,
            `metrics.json`, `history.json`, `predictions.npz`, `weights/`... None if the job has no
            artifact, for example because it failed, or it cannot be read.
        extra: An empty folder for files of the plugin. When the call returns they are stored at
            `<job>/extra/<plugin>/` below the artifacts URL, with the sha256 of each, and replace
            those of an earlier call; `zoo files` lists them. Nothing is stored if the call raises,
            for more than 200 files or 20 MB, or if there are links.
        steps: What the training reported at each step: {"step", "at", "metrics"}; `at` is in
            seconds since 1970, or None. Also of a job that failed or was cancelled.
    """
