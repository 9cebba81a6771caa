"""`zoo export`: a trained model as a file for other tools, and its model card."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from zoo.cli import completion
from zoo.cli.options import BestBy, Trained


def add_to(app: typer.Typer) -> None:
    app.command()(export)


def export(
    ref: Trained,
    metric: BestBy = None,
    format: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="FORMAT",
            help="keras, skops, onnx or npz. [default: by the suffix of -o]",
            autocompletion=completion.one_of("keras", "skops", "onnx", "npz"),
        ),
    ] = None,
    target: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="PATH",
            help="File; or a folder, for the file and a model card; - is stdout.",
        ),
    ] = None,
    card: Annotated[
        Path | None,
        typer.Option("--card", metavar="FILE", help="Write a model card (Markdown) to FILE."),
    ] = None,
    license: Annotated[
        str,
        typer.Option(metavar="ID", help="License in the model card: an identifier of the hub."),
    ] = "apache-2.0",
    as_json: Annotated[bool, typer.Option("--json", help="JSON on stdout.")] = False,
) -> None:
    """Export a trained model for other tools. The file is read back and its predictions checked.

    An npz file holds the arrays of the weights and of the preprocessing, and the provenance of the
    model as JSON. An ONNX file has its classes, inputs and preprocessing as metadata.
    """
    from zoo import jobs, settings
    from zoo.cli.render import console
    from zoo.errors import UsageError
    from zoo.inference import export as exporting
    from zoo.inference import model_card, predictor
    from zoo.storage.output_file import is_stdout

    to_stdout = [each for each in (target, card) if each and is_stdout(each)]
    if len(to_stdout) + as_json > 1:
        raise UsageError("Only one of the file, the card and JSON can go to stdout.")
    chosen = settings.load()
    db = jobs.connect(chosen.database)
    job = jobs.find_training(db, ref, metric)
    as_format, path = exporting.choose_target(job.model, format, target)
    trained = predictor.load_trained(db, chosen, job)
    if found := jobs.found_text(ref, job):
        console.note(found)
    if trained.note:
        console.note(trained.note)
    done = exporting.export_model(trained, as_format, path)
    if card is None and path.parent == target:
        card = path.with_name(model_card.FILE)
    if card:
        model_card.write_card(chosen, trained, done, card, license)
    if as_json:
        console.json_out(done.to_json() | {"job": job.id, "card": str(card) if card else None})
        return
    write = console.note if to_stdout else console.line
    off = done.difference
    detail = f", probabilities differ by at most {off:.2g}" if off is not None else ""
    write(f"{path}  {done.size / 1e6:.2f} MB, {as_format}")
    write(f"  checked: the same labels for {done.checked} test {done.unit}{detail}")
    if card:
        write(f"{card}  the model card")
