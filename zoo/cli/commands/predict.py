"""`zoo predict`: classify pictures with a trained model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zoo.cli import completion
from zoo.cli.dataset_paths import spelled
from zoo.cli.options import Split, Trained

if TYPE_CHECKING:
    from zoo.images.prediction_inputs import Subject
    from zoo.inference.predictor import Prediction

BAR = 40
"""Width of the bar of a probability of 1."""
BESIDE = len(" 100.00 % ") + BAR
"""Width needed beside the name of a class."""
SHOWN = 0.005
"""Classes below this probability are not drawn, except the first three."""


def add_to(app: typer.Typer) -> None:
    app.command()(predict)


def predict(
    ref: Trained,
    files: Annotated[
        list[str] | None, typer.Argument(metavar="FILE|-", help="Pictures; - is stdin.")
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Dataset of --index. [default: that of the job]",
            autocompletion=completion.datasets,
            callback=spelled,
        ),
    ] = None,
    index: Annotated[
        list[str] | None,
        typer.Option(
            metavar="N|N-M", help="Predict these images of the dataset, from 0 (repeatable)."
        ),
    ] = None,
    split: Split = "test",
    folder: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FOLDER", help="Save the prepared images there as PNG files."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON on stdout.")] = False,
) -> None:
    """Classify pictures of digits. Drawings or photos, prepared as MNIST was.

    An unreadable picture does not stop the others; the exit code is then 1.
    """
    from zoo import jobs, settings
    from zoo.cli.render import console
    from zoo.errors import UsageError
    from zoo.images import prediction_inputs
    from zoo.inference import predictor
    from zoo.storage.output_file import check_folder

    if not files and not index:
        raise UsageError(
            "No picture and no --index is given.",
            f"For example: zoo predict {ref} digit.png, or zoo predict {ref} --index 17.",
        )
    if folder:
        check_folder(folder)
    chosen = settings.load()
    db = jobs.connect(chosen.database)
    trained = predictor.find_training(db, ref)
    found, refused = _read(files or [])
    if index:
        with console.progress() as tell:
            asked = (dataset or trained.dataset, split, index, tell)
            found += prediction_inputs.of_dataset(*asked, contents=trained.contents)
    if folder:
        for path in prediction_inputs.save(found, folder):
            console.note(f"Saved {path}.")
    answers = []
    if found:
        loaded = predictor.load_trained(db, chosen, trained)
        if loaded.note:
            console.note(loaded.note)
        answers = predictor.predict_subjects(loaded, found)
    if as_json:
        console.json_out([each.to_json() for each in answers] + refused)
    else:
        for each in answers:
            _show(each)
    if refused:
        raise typer.Exit(1)


def _read(files: list[str]) -> tuple[list[Subject], list[dict[str, Any]]]:
    """Prepare the pictures; errors are printed on stderr and returned as JSON."""
    import sys

    from zoo.cli.render import console
    from zoo.data import pictures
    from zoo.errors import PictureError
    from zoo.images import prediction_inputs

    found, refused = [], []
    for name in files:
        try:
            source = sys.stdin.buffer.read(pictures.MAX_BYTES + 1) if name == "-" else Path(name)
            found.append(prediction_inputs.of_picture(name, source))
        except PictureError as error:
            console.error(f"{name}: {error.message}", error.hint)
            refused.append({"file": name, "error": str(error)})
    return found, refused


def _show(answer: Prediction) -> None:
    """Draw a picture before and after preparation, and the predicted probabilities."""
    from zoo.cli.render import console
    from zoo.images import render

    subject = answer.subject
    drawn = [subject.image] if subject.before is None else [subject.before, subject.image]
    captions = ["before", "as the model sees it"][-len(drawn) :]
    console.out.print(console.one_line(f"{subject.name}: {_verdict(answer)}"))
    console.drawn(render.side_by_side(drawn, console.in_colour(), captions))
    ranked = sorted((answer.probabilities or {}).items(), key=lambda each: -each[1])
    likely = [each for number, each in enumerate(ranked) if number < 3 or each[1] >= SHOWN]
    names = console.aligned([name for name, _ in likely], BESIDE)
    for name, (_, probability) in zip(names, likely, strict=True):
        bar = render.bar(probability, BAR)
        console.out.print(f"{name} {100 * probability:6.2f} % {bar}".rstrip(), soft_wrap=True)
    console.out.print()


def _verdict(answer: Prediction) -> str:
    if answer.label is None:
        return answer.predicted
    is_right = answer.predicted == answer.label
    return f"{answer.predicted}, {'correct' if is_right else f'wrong: the label is {answer.label}'}"
