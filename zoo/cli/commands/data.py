"""`zoo data`: list the datasets, prepare one, show one; see also `added_datasets`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from zoo.cli import completion
from zoo.cli.commands import added_datasets
from zoo.cli.dataset_paths import spelled
from zoo.cli.options import Preprocess, Split, has_no_subcommand

if TYPE_CHECKING:
    from zoo.data.datasets import Listed
    from zoo.jobs import DatasetVersion

AsJson = Annotated[bool, typer.Option("--json", help="JSON on stdout.")]
Name = Annotated[
    str,
    typer.Argument(
        metavar="NAME",
        help="Dataset: a name, or csv:FILE, parquet:FILE, npz:FILE, idx:FOLDER, folder:FOLDER.",
        autocompletion=completion.datasets,
        callback=spelled,
    ),
]

Limit = Annotated[
    int | None,
    typer.Option(
        "--limit",
        "-n",
        metavar="N",
        min=1,
        max=10**6,
        help="List at most N versions of added datasets: 100 in a table, all as JSON.",
    ),
]
LIMIT = 100

data = typer.Typer(
    invoke_without_command=True,
    rich_markup_mode=None,
    help="List, show, prepare and add datasets.",
)
added_datasets.add_to(data)


def add_to(app: typer.Typer) -> None:
    app.add_typer(data, name="data")


@data.callback()
def list_or_run(context: typer.Context, as_json: AsJson = False, limit: Limit = None) -> None:
    if has_no_subcommand(context):
        list_datasets(as_json, limit)


@data.command("list")
def list_datasets(as_json: AsJson = False, limit: Limit = None) -> None:
    """List the datasets, as `zoo data` alone does."""
    import dataclasses

    from zoo.cli.render import console
    from zoo.data import datasets

    if limit is None and not as_json:
        limit = LIMIT
    added, elsewhere = _of_database(None if limit is None else limit + 1)
    is_more = limit is not None and len(added) > limit
    added = added[:limit]
    found = [*datasets.listing(), *elsewhere]
    if as_json:
        versions = [added_datasets.listed_json(each) for each in added]
        console.json_out([*(dataclasses.asdict(each) for each in found), *versions])
        return
    columns = ["dataset", "summary", "MB", "where"]
    rows = [[d.name, d.summary, f"{d.size / 1e6:.1f}" if d.size else "", d.where] for d in found]
    rows += [added_datasets.listed_row(each) for each in added]
    console.table(columns, rows, right=["MB"])
    if is_more:
        more = f"`zoo data -n {10 * len(added)}` shows more, `zoo data show NAME` one."
        console.note(f"{len(added):,} versions of added datasets are shown: {more}")


def _of_database(limit: int | None) -> tuple[list[DatasetVersion], list[Listed]]:
    """Return added datasets and those that only workers have; none without a database."""
    from zoo import jobs
    from zoo.cli.render import console
    from zoo.data.datasets import Listed
    from zoo.errors import StoreError
    from zoo.queue import catalogue

    try:
        known = catalogue.elsewhere()
        with catalogue.database() as db:
            added = jobs.list_datasets(db, limit=limit) if db else []
    except StoreError as error:
        console.note(f"Only the datasets of this machine are listed: {error.message}")
        return [], []
    return added, [Listed(name, text, False, "a worker", 0) for name, text in known.items()]


@data.command()
def prepare(
    name: Name = "mnist",
    preprocess: Preprocess = "none",
    as_json: AsJson = False,
) -> None:
    """Download, check and prepare a dataset before its first job."""
    from zoo.cli.render import console
    from zoo.data import datasets, preprocessing
    from zoo.queue import pinning

    with console.progress() as tell:
        raw = pinning.open_dataset(name, tell)
        made = preprocessing.prepare_all(
            raw.name, progress=tell, preprocess=preprocess, contents=raw.fingerprint
        )
    for note in (*datasets.conversions(raw.name), *raw.notes):
        console.note(note)
    if as_json:
        console.json_out(
            [
                {"dtype": m.dtype, "preprocess": m.preprocess, "path": str(m.path), "bytes": m.size}
                for m in made
            ]
        )
        return
    for each in made:
        console.out.print(f"{each.dtype}  {each.size / 1e6:.1f} MB  {each.path}", markup=False)


@data.command()
def show(
    name: Name = "mnist",
    split: Split = "train",
    picture: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help="Save the images as a PNG file; - is stdout."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show the first images or rows, the columns and the class counts."""
    from zoo.cli.render import console, dataset_view
    from zoo.errors import UsageError, unknown
    from zoo.images import render
    from zoo.queue import pinning
    from zoo.storage.output_file import is_stdout

    if as_json and picture and is_stdout(picture):
        raise UsageError("A picture and JSON cannot both go to stdout.", "Give a file with -o.")
    with console.progress() as tell:
        raw = pinning.open_dataset(name, tell)
    if split not in raw.splits:
        raise unknown("split", split, list(raw.splits))
    for note in (*raw.meta.conversions, *raw.notes):
        console.note(note)
    images = raw.splits[split].inputs
    if picture:
        if raw.meta.kind != "image":
            raise UsageError(f"'{raw.name}' has {raw.meta.describe_shape()}, no images to draw.")
        render.save_png(images, picture)
        if is_stdout(picture):
            return
        shown = min(len(images), render.FIRST)
        console.note(f"Saved the first {shown} images of {raw.name} as {picture}.")
    if as_json:
        console.json_out(dataset_view.to_json(raw, split))
        return
    dataset_view.show(raw, split)
