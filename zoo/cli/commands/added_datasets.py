"""`zoo data add`, `refresh`, `rm` and `export`: datasets that somebody gives a name."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zoo.cli import completion
from zoo.cli.dataset_paths import source_spelled
from zoo.cli.option_groups import option, takes
from zoo.terminal_text import counted

if TYPE_CHECKING:
    from zoo.data.added import Added
    from zoo.jobs import DatasetVersion

AsJson = Annotated[bool, typer.Option("--json", help="JSON on stdout.")]
Name = Annotated[
    str,
    typer.Argument(
        metavar="NAME",
        help="Added dataset: NAME, or NAME@VERSION for older contents.",
        autocompletion=completion.datasets,
    ),
]


@dataclass(frozen=True)
class SourceWords:
    """The options of a source, as typed; those that are not given stay as in its spelling."""

    target: str | None = None
    drop: Sequence[str] | None = None
    category: Sequence[str] | None = None
    weight: str | None = None
    drop_missing_target: bool = False
    sep: str | None = None
    decimal: str | None = None
    encoding: str | None = None
    test: str | None = None
    validation: str | None = None
    size: str | None = None
    grey: bool = False
    transpose: bool = False
    classes: str | None = None
    metric: str | None = None


OPTIONS = {
    "target": option(metavar="COLUMN", help="Table: the column with the classes."),
    "drop": option(metavar="COLUMN", help="Table: leave this column out (repeatable)."),
    "category": option(
        metavar="COLUMN", help="Table: this column of numbers is categories (repeatable)."
    ),
    "weight": option(metavar="COLUMN", help="Table: the column with the weights of the rows."),
    "drop_missing_target": option(
        "--drop-missing-target", help="Table: leave out rows without a target."
    ),
    "sep": option(metavar="CHARACTER", help="CSV: the separator, or 'tab'. Default: found."),
    "decimal": option(metavar="CHARACTER", help="CSV: the decimal point. Default: found."),
    "encoding": option(metavar="NAME", help="CSV: the encoding. Default: UTF-8, or found."),
    "test": option(metavar="SHARE|FILE", help="Test split: a share such as 0.2, or its file."),
    "validation": option(
        metavar="SHARE|FILE", help="Validation split: a share of the training, or its file."
    ),
    "size": option(metavar="HxW", help="Images: resize to height x width pixels."),
    "grey": option("--grey", help="Images: convert colour to grey."),
    "transpose": option("--transpose", help="Images: swap height and width, as EMNIST needs."),
    "classes": option(metavar="A,B,C", help="Names of the classes, in the order of the labels."),
    "metric": option(metavar="NAME", help="Metric by which models are judged on it."),
}
"""How the fields of `SourceWords` are typed."""


def add_to(app: typer.Typer) -> None:
    app.command("add")(add)
    app.command("refresh")(refresh)
    app.command("rm")(remove)
    app.command("export")(export)


@takes(SourceWords, OPTIONS, "words", after="source")
def add(
    words: SourceWords,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name for the dataset.")],
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="Where it is: a path, or csv:FILE, parquet:FILE, npz:FILE, idx:FOLDER, ...",
            callback=source_spelled,
        ),
    ],
    as_json: AsJson = False,
) -> None:
    """Give data a name: every worker can use it then."""
    from zoo.data import added
    from zoo.queue import catalogue

    added.check_name(name, catalogue.elsewhere())
    if words.metric:
        catalogue.objective(words.metric)
    _add(name, _with_options(catalogue.dataset(source), words), as_json)


def refresh(name: Name, as_json: AsJson = False) -> None:
    """Read the source of an added dataset again.

    Other contents are a new version.
    """
    _add(*_source_of(name), as_json)


def remove(
    name: Name,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Remove an added dataset, or one version of it."""
    from zoo import jobs, settings
    from zoo.cli.render import console
    from zoo.errors import unknown
    from zoo.queue import pinning
    from zoo.storage import artifacts

    chosen = settings.load()
    db = jobs.connect(chosen.database)
    found = pinning.added_version(db, name)
    if found is None:
        raise unknown("added dataset", name, jobs.list_dataset_names(db))
    versions = [found.version]
    if "@" not in name:
        versions = [each.version for each in jobs.list_datasets(db, name)]
    users = jobs.count_users(db, found.name, versions)
    if users.finished and not (users.unfinished or yes):
        _confirm(name, users.finished)
    jobs.remove_datasets(
        db, found.name, versions, lambda where: artifacts.remove(chosen.artifacts, where)
    )
    console.note(f"Removed {', '.join(f'{found.name}@{version}' for version in versions)}.")


def _confirm(name: str, finished: int) -> None:
    """Ask before a dataset is removed that finished jobs refer to."""
    from zoo.errors import UsageError

    what = f"{counted(finished, 'finished job')} {'refers' if finished == 1 else 'refer'}"
    if not sys.stdin.isatty():
        raise UsageError(
            f"{what} to {name} and could not be repeated or evaluated without it.",
            "Remove it in spite of that: --yes.",
        )
    typer.confirm(f"{what} to {name}. Remove it?", abort=True, err=True)


def export(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME", help="Dataset, or NAME@VERSION.", autocompletion=completion.datasets
        ),
    ],
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="FILE.npz; a table also as .csv or .parquet, other splits beside it.",
        ),
    ],
) -> None:
    """Write a dataset into a file."""
    from zoo.cli.render import console
    from zoo.data import exported
    from zoo.queue import pinning

    exported.check_suffix(file)
    with console.progress() as tell:
        raw = pinning.open_dataset(name, tell)
    options = exported.write(raw, file)
    console.note(f"Wrote {sum(raw.meta.counts.values()):,} {raw.meta.unit} to {file}.")
    if options:
        console.note(f"Read it again: `zoo data add NAME {file} {options}`.")


def _with_options(source: str, words: SourceWords) -> str:
    """Return the spelling of a source with the options as typed."""
    from zoo import dataset_names
    from zoo.data import sources
    from zoo.errors import UsageError

    given = {name: value for name, value in vars(words).items() if value}
    if not given:
        return source
    if source.partition(":")[0] not in dataset_names.FILE_FORMS:
        first = next(iter(given)).replace("_", "-")
        raise UsageError(f"--{first} is for files, and '{source}' is a dataset of a plugin.")
    found = sources.extended(sources.parse(source), **given)
    sources.check(found)
    return sources.spell(found)


def _source_of(name: str) -> tuple[str, str]:
    """Return name and source of an added dataset."""
    from zoo import jobs
    from zoo.errors import unknown
    from zoo.queue import pinning

    db = jobs.connect()
    found = pinning.added_version(db, name)
    if found is None:
        raise unknown("added dataset", name, jobs.list_dataset_names(db))
    return found.name, str(found.recipe["source"])


def _add(name: str, source: str, as_json: bool) -> None:
    from zoo import jobs, settings
    from zoo.cli.render import console
    from zoo.data import added, datasets

    chosen = settings.load()
    db = jobs.connect(chosen.database)
    with console.progress() as tell:
        found = added.add(db, chosen.artifacts, name, datasets.resolve(source), tell)
    if as_json:
        console.json_out(found.version.to_json() | {"is_new": found.is_new})
    else:
        _print(found)


def _print(found: Added) -> None:
    from zoo.cli.render import console

    meta, version = found.meta, found.version
    what = "" if found.is_new else " has these contents already"
    console.out.print(f"{version.label}{what}: {describe(meta.model_dump())}", markup=False)
    counts = ", ".join(f"{split} {count:,}" for split, count in meta.counts.items())
    console.out.print(f"  {counts} {meta.unit}", markup=False)
    console.out.print(f"  classes: {console.one_line(_names(meta.class_names))}", markup=False)
    for note in (*meta.conversions, *meta.notes):
        console.note(note)
    if meta.untrainable:
        console.note(f"No model can be trained on it: {meta.untrainable}.")
    else:
        console.note(f"Train on it: `zoo train MODEL --dataset {version.name}`.")


def _names(names: Sequence[str], most: int = 10) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{', '.join(names[:most])}{more}"


def listed_row(version: DatasetVersion) -> list[str]:
    """Return the row of a version in `zoo data`."""
    meta = dict(version.meta)
    rows, unit = sum(meta["counts"].values()), "images" if meta["kind"] == "image" else "rows"
    summary = f"{describe(meta)}, {rows:,} {unit}"
    return [version.label, summary, f"{version.bytes / 1e6:.1f}", "added"]


def listed_json(version: DatasetVersion) -> dict[str, Any]:
    """Return the entry of a version in `zoo data --json`."""
    from zoo.data import added
    from zoo.jobs.iso_times import with_iso_times

    meta = dict(version.meta)
    found = {
        "name": version.name,
        "summary": describe(meta),
        "cached": added.is_here(version.fingerprint),
        "where": "added",
        "size": version.bytes,
        "version": version.version,
        "kind": meta["kind"],
        "shape": meta["shape"],
        "classes": len(meta["class_names"]),
        "rows": sum(meta["counts"].values()),
        "fingerprint": version.fingerprint,
        "source": version.recipe["source"],
        "created_at": version.created_at,
    }
    return with_iso_times(found, version.TIMES)


def describe(meta: dict[str, Any]) -> str:
    """Describe a dataset in a few words, from the JSON of its description."""
    from zoo.data.contents import Meta

    found = Meta.model_validate_json(json.dumps(meta))
    classes = counted(len(found.class_names), "class")
    shape = found.describe_shape()
    return f"{f'images of {shape}' if found.kind == 'image' else f'a table of {shape}'}, {classes}"
