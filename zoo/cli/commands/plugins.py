"""`zoo plugins`: list plugins, create one, check one."""

from __future__ import annotations

import dataclasses
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zoo.cli import completion
from zoo.cli.dataset_paths import spelled
from zoo.cli.options import has_no_subcommand

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from zoo.plugins.registry import Plugin
    from zoo.testing.checks import Result

SLOW_SECONDS = 1.0
"""A slower import is reported, because many commands wait for it."""
COLOURS = {"passed": "green", "failed": "red", "skipped": "yellow"}

AsJson = Annotated[bool, typer.Option("--json", help="JSON on stdout.")]

plugins = typer.Typer(
    invoke_without_command=True,
    rich_markup_mode=None,
    help="List the plugins, create one, or check one.",
)


def add_to(app: typer.Typer) -> None:
    app.add_typer(plugins, name="plugins")


@plugins.callback()
def list_plugins(context: typer.Context, as_json: AsJson = False) -> None:
    if not has_no_subcommand(context):
        return
    from zoo.cli import lazy_group
    from zoo.cli.render import console
    from zoo.plugins import isolated_listing

    found = isolated_listing.listing()
    # The listing has import errors; conflicts of commands are known only to this process.
    commands = context.find_root().command
    if isinstance(commands, lazy_group.Commands):
        lazy_group.load_all(commands.app)
    for plugin in found:
        if "register_commands" in plugin.hooks:
            plugin.error = plugin.error or lazy_group.problems.get(plugin.name, "")
    if as_json:
        console.json_out([dataclasses.asdict(plugin) for plugin in found])
        return
    columns = ["plugin", "distribution", "from", "hooks", "datasets", "models"]
    console.table(columns, [_row(p) for p in found], optional=["hooks", "from", "datasets"])
    broken = [f"{plugin.name} is broken: {plugin.error}" for plugin in found if plugin.error]
    if broken:
        console.out.print(console.safe("\n".join(["", *broken])), markup=False)
    for plugin in found:
        if plugin.seconds > SLOW_SECONDS:
            console.note(
                f"{plugin.name} took {plugin.seconds:.1f} s to import, and many commands wait for "
                "it: import frameworks inside the methods."
            )


def _row(plugin: Plugin) -> list[str]:
    lists = (plugin.hooks, plugin.datasets, plugin.models)
    return [plugin.name, plugin.label, plugin.source, *(", ".join(each) for each in lists)]


@plugins.command("new")
def new(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="Name of the plugin and its model or dataset.")
    ],
    dataset: Annotated[
        bool, typer.Option("--dataset", help="Create a dataset instead of a model.")
    ] = False,
    base: Annotated[
        str | None,
        typer.Option(
            metavar="PLUGIN",
            help="Build the model on the base class of keras, sklearn or torch.",
            autocompletion=completion.one_of("keras", "sklearn", "torch"),
        ),
    ] = None,
    single_file: Annotated[
        bool,
        typer.Option("--single-file", help="Create one file in the plugins folder, no package."),
    ] = False,
    folder: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", metavar="FOLDER", help="Folder of the package. [default: ./NAME]"
        ),
    ] = None,
) -> None:
    """Create a plugin with a small working model or dataset: a package with a test, or one file."""
    from zoo.cli.render import console
    from zoo.errors import UsageError
    from zoo.plugins import scaffold
    from zoo.storage.output_file import check_folder

    if single_file and folder:
        raise UsageError(
            "--single-file writes to the plugins folder; it cannot be combined with -o.",
            "Set ZOO_PLUGINS_DIR to use another plugins folder.",
        )
    if folder:
        check_folder(folder)
    kind: scaffold.Kind = "dataset" if dataset else "model"
    if single_file:
        place = scaffold.new_file(name, kind, base)
    else:
        place = scaffold.new_package(name, folder, kind, base)
    console.line(str(place))
    install = [] if single_file else [(f"pip install -e {shlex.quote(str(place))}", "once")]
    steps = [
        *install,
        (scaffold.train_command(name, kind), "train on it" if dataset else "train it on MNIST"),
        (f"zoo plugins check {name}", "after each change"),
    ]
    console.commands(steps)


@plugins.command("check")
def check(
    name: Annotated[
        str,
        typer.Argument(metavar="NAME", help="Name of a plugin, a model, or a plugin's dataset."),
    ],
    param: Annotated[
        list[str] | None,
        typer.Option(
            "-p",
            "--param",
            metavar="NAME=VALUE",
            help="Set a param of the model, if the default is slow (repeatable).",
        ),
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option(
            "--dataset",
            metavar="NAME",
            help="Dataset to check models on. [default: digits, iris for models of tables alone]",
            callback=spelled,
        ),
    ] = None,
    timeout: Annotated[
        float, typer.Option(metavar="SECONDS", min=0.1, help="Time limit of each check.")
    ] = 60,
    verbose: Annotated[
        bool, typer.Option("-v", "--verbose", help="Show the output of the plugin.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Check that models and datasets of a plugin keep the contract. Exit code 1 if one does not."""
    from functools import partial

    from zoo.cli.render import console
    from zoo.param_values import read_pairs
    from zoo.testing import isolation

    params = read_pairs(param or [])
    if dataset and ":" in dataset:  # a path, to be resolved here: the checks run in another folder
        from zoo.data import datasets

        dataset = datasets.resolve(dataset)
    on = dataset or "digits"
    plugin, models, own = _subjects(name)
    runs: list[tuple[str, str, Callable[..., Iterator[Result]]]] = [
        *(("model", each, partial(isolation.run, each, on, params)) for each in models),
        *(("dataset", each, partial(isolation.run_dataset, each)) for each in own),
    ]
    reports: list[dict[str, Any]] = []
    for kind, subject, run in runs:
        if not as_json:
            where = f" on {on}" if kind == "model" else ""
            console.out.print(console.safe(f"{subject} ({plugin.label}){where}"), markup=False)
        results = []
        for result in run(seconds=timeout, is_quiet=not verbose):
            results.append(result)
            if not as_json:
                _print_result(result)
        reports.append({kind: subject, "plugin": plugin.label} | _summary(results))
        if not as_json:
            counts = " / ".join(f"{reports[-1][status]} {status}" for status in COLOURS)
            console.out.print(f"{counts} in {reports[-1]['seconds']:.1f} s")
    if as_json:
        console.json_out(reports)
    if any(each["failed"] or not each["passed"] for each in reports):
        raise typer.Exit(1)


def _subjects(name: str) -> tuple[Plugin, list[str], list[str]]:
    """Find a plugin by its name or by that of a model or dataset.

    Returns it, and the models and datasets to check. Raises UsageError for an unknown name,
    PluginError for a broken plugin or one with neither.
    """
    from zoo.errors import PluginError, unknown
    from zoo.plugins import isolated_listing

    found = isolated_listing.listing()
    for plugin in found:
        if name in plugin.models:
            return plugin, [name], []
        if name.partition(":")[0] in plugin.datasets:
            return plugin, [], [name]
    for plugin in (each for each in found if each.name == name):
        if plugin.error:
            raise PluginError(
                f"The plugin {name} cannot be imported: {plugin.error}.", "Fix that first."
            )
        if not plugin.models and not plugin.datasets:
            raise PluginError(f"The plugin {name} has no model and no dataset to check.")
        return plugin, plugin.models, plugin.datasets
    known = [plugin.name for plugin in found]
    known += [each for plugin in found for each in (*plugin.models, *plugin.datasets)]
    raise unknown("plugin, model or dataset", name, known, "zoo plugins")


def _summary(results: list[Result]) -> dict[str, Any]:
    counts = {status: sum(each.status == status for each in results) for status in COLOURS}
    return counts | {
        "seconds": sum(each.seconds for each in results),
        "checks": [dataclasses.asdict(each) for each in results],
    }


def _print_result(result: Result) -> None:
    from rich.text import Text

    from zoo.cli.render import console

    line = Text("  ").append(f"{result.status:8}", COLOURS[result.status])
    line.append(result.check)
    if result.detail:
        line.append(": " + console.safe(result.detail))
    console.out.print(line)
