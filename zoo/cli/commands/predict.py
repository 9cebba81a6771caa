"""`zoo predict`: classify pictures, or the rows of a table, with a trained model."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zoo.cli import completion
from zoo.cli.dataset_paths import spelled
from zoo.cli.options import BestBy, Split, Trained
from zoo.terminal_text import counted

if TYPE_CHECKING:
    from zoo.images.prediction_inputs import Subject
    from zoo.inference.predictor import LoadedModel, Prediction

LONG = 100
"""From this number of pictures on, progress is shown."""


def add_to(app: typer.Typer) -> None:
    app.command()(predict)


def predict(
    ref: Trained,
    paths: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="PATH|-",
            help="Pictures, folders of pictures, or a file of rows (CSV, parquet); - is stdin.",
        ),
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
            metavar="N|N-M", help="Predict these inputs of the dataset, from 0 (repeatable)."
        ),
    ] = None,
    split: Split = "test",
    metric: BestBy = None,
    as_is: Annotated[
        bool,
        typer.Option("--as-is", help="Resize pictures to the model's size, and nothing else."),
    ] = False,
    strokes: Annotated[
        bool,
        typer.Option("--strokes", help="Prepare pictures of pen strokes as MNIST's were."),
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="PATH",
            help="Folder for the prepared images, as PNG files; file for the predicted rows, CSV "
            "or parquet.",
        ),
    ] = None,
    all_classes: Annotated[
        bool, typer.Option("--all", help="Add the probability of each class to tables and CSV.")
    ] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="CSV on stdout.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="JSON on stdout.")] = False,
) -> None:
    """Classify pictures or rows of a table with a trained model.

    One picture is drawn, several are a table. A model of pen strokes (mnist, digits) gets drawings
    and photographs prepared as MNIST was; for others they are resized. An unreadable picture does
    not stop the others; the exit code is then 1.

    A file of rows is written with the columns `predicted` and `probability`. Its columns are
    matched by name; it may have more.
    """
    from zoo import jobs, settings
    from zoo.cli.render import console
    from zoo.inference import predictor

    _check(ref, paths, index, as_is and strokes, as_csv and as_json, output)
    chosen = settings.load()
    db = jobs.connect(chosen.database)
    trained = predictor.load_trained(db, chosen, jobs.find_training(db, ref, metric))
    if found := jobs.found_text(ref, trained.job):
        console.note(found)
    if trained.note:
        console.note(trained.note)
    if paths and trained.inputs.kind == "table":
        _predict_rows(trained, paths, output, all_classes, as_json)
        return
    pictures = _Pictures(trained, paths or [], _are_strokes(trained, paths, as_is, strokes))
    subjects: list[Subject] = []
    if index:
        subjects = _of_dataset(trained, dataset, split, index)
    if output:
        subjects = _saved([*subjects, *pictures.read()], output)
        answers = predictor.predict_subjects(trained, subjects)
    else:
        answers = predictor.predict_subjects(trained, _both(pictures.read(), subjects))
    _show(answers, pictures.refused, all_classes, as_csv=as_csv, as_json=as_json)
    pictures.say_stretched()
    if pictures.refused:
        raise typer.Exit(1)


def _check(
    ref: str,
    paths: list[str] | None,
    index: list[str] | None,
    is_both: bool,
    is_twice: bool,
    output: Path | None,
) -> None:
    from zoo.data import rows_file
    from zoo.errors import UsageError
    from zoo.storage.output_file import check_folder

    if not paths and not index:
        raise UsageError(
            "No picture and no --index is given.",
            f"For example: zoo predict {ref} picture.png, zoo predict {ref} rows.csv, or zoo "
            f"predict {ref} --index 17.",
        )
    if is_both:
        raise UsageError("Only one of --as-is and --strokes can be given.")
    if is_twice:
        raise UsageError("Only one of --csv and --json can go to stdout.")
    if output and not any(map(rows_file.is_rows, paths or [])):
        check_folder(output)


def _predict_rows(
    trained: LoadedModel, paths: list[str], output: Path | None, all_classes: bool, as_json: bool
) -> None:
    """Predict the rows of one file and write them to stdout or into a file."""
    from zoo.cli.render import console
    from zoo.errors import UsageError
    from zoo.inference import row_predictions
    from zoo.storage.output_file import write_output

    if len(paths) > 1:
        raise UsageError("Rows are predicted of one file at a time.", "Call it for each file.")
    if output and as_json:
        raise UsageError("The rows go to stdout as JSON or into a file.", "Omit --json or -o.")
    with contextlib.ExitStack() as opened:
        path = opened.enter_context(_stdin_file()) if paths[0] == "-" else Path(paths[0])
        found = row_predictions.predict_rows(trained, path, all_classes=all_classes)
    for note in found.notes:
        console.note(note)
    if as_json:
        console.json_out([*found.records(trained)])
        return
    if output is None:
        console.data_out(found.content(""), "The output")
    else:
        write_output(output, found.content(str(output)))
        console.note(f"{output}: {counted(found.given.n_rows, 'row')}.")


@contextlib.contextmanager
def _stdin_file() -> Iterator[Path]:
    """Keep stdin as a file, which is read twice to find how it is written."""
    import shutil
    import sys
    import tempfile

    with tempfile.TemporaryDirectory(prefix="zoo-") as folder:
        path = Path(folder) / "stdin"
        with path.open("wb") as file:
            shutil.copyfileobj(sys.stdin.buffer, file)
        yield path


def _are_strokes(trained: LoadedModel, paths: list[str] | None, as_is: bool, strokes: bool) -> bool:
    """Whether pictures are prepared as MNIST's were."""
    from zoo.cli.render import console
    from zoo.errors import UsageError
    from zoo.images import prediction_inputs

    inputs, recipe = trained.inputs, trained.recipe
    if strokes and not prediction_inputs.can_be_strokes(inputs):
        raise UsageError(
            f"--strokes makes images of 28 x 28 grey, but the model takes "
            f"{inputs.describe_shape()}.",
            "Without it, pictures are resized to that.",
        )
    if as_is or strokes or not paths:
        return strokes
    if prediction_inputs.are_strokes(inputs, recipe.dataset, recipe.fingerprint):
        return True
    if prediction_inputs.can_be_strokes(inputs):
        console.note(
            "Pictures are resized to 28 x 28 as they are (--as-is); --strokes prepares drawings "
            "and photographs of pen strokes as MNIST's were."
        )
    return False


class _Pictures:
    """Reads pictures one after another; errors are printed on stderr and kept as JSON."""

    def __init__(self, trained: LoadedModel, paths: list[str], strokes: bool) -> None:
        from zoo.images import prediction_inputs

        self.refused: list[dict[str, Any]] = []
        self._files = prediction_inputs.find_pictures(paths)
        self._inputs, self._strokes = trained.inputs, strokes
        self._stretched: list[str] = []

    def read(self) -> Iterator[Subject]:
        """Yield the pictures that can be read."""
        from zoo.cli.render import console
        from zoo.errors import PictureError

        with contextlib.ExitStack() as shown:
            tell = None
            if len(self._files) >= LONG:
                tell = shown.enter_context(console.progress())
            for done, name in enumerate(self._files, start=1):
                try:
                    subject = self._one(name)
                except PictureError as error:
                    console.error(f"{name}: {error.message}", error.hint)
                    self.refused.append({"file": name, "error": str(error)})
                else:
                    self._stretched += [name] if subject.is_stretched else []
                    yield subject
                if tell:
                    tell("reading pictures", done, len(self._files))

    def _one(self, name: str) -> Subject:
        import sys

        from zoo.data.readers import pictures
        from zoo.images import prediction_inputs

        source = sys.stdin.buffer.read(pictures.MAX_BYTES + 1) if name == "-" else Path(name)
        return prediction_inputs.of_picture(name, source, self._inputs, strokes=self._strokes)

    def say_stretched(self) -> None:
        """Print a note if pictures had other proportions than the model's inputs."""
        from zoo.cli.render import console

        if not self._stretched:
            return
        height, width = self._inputs.shape[:2]
        count = len(self._stretched)
        which = self._stretched[0] if count == 1 else f"{count:,} pictures"
        console.note(
            f"{which} {'was' if count == 1 else 'were'} resized to {height} x {width} (height x "
            "width) from other proportions."
        )


def _of_dataset(
    trained: LoadedModel, dataset: str | None, split: str, index: list[str]
) -> list[Subject]:
    from zoo.cli.render import console
    from zoo.images import prediction_inputs
    from zoo.inference import predictor
    from zoo.queue import pinning

    with console.progress() as tell:
        if dataset:
            raw = pinning.open_dataset(dataset, tell)
        else:
            raw = predictor.training_data(trained, tell)
    return prediction_inputs.of_dataset(raw, split, index, trained.inputs)


def _saved(subjects: list[Subject], folder: Path) -> list[Subject]:
    from zoo.cli.render import console
    from zoo.errors import UsageError
    from zoo.images import prediction_inputs

    if any(each.values is not None for each in subjects):
        raise UsageError("Rows of a table are no images, so -o cannot save them.", "Try --csv.")
    for path in prediction_inputs.save(subjects, folder):
        console.note(f"Saved {path}.")
    return subjects


def _both(first: Iterable[Subject], second: Iterable[Subject]) -> Iterator[Subject]:
    yield from first
    yield from second


def _show(
    answers: Iterator[Prediction],
    refused: list[dict[str, Any]],
    all_classes: bool,
    *,
    as_csv: bool,
    as_json: bool,
) -> None:
    from zoo.cli.render import console, predictions

    if as_json:
        found = [each.to_json() for each in answers]
        console.json_out(found + refused)
        return
    # Only a single one is drawn: the pixels of the others are not kept.
    first = next(answers, None)
    if first is None:
        return
    rows = predictions.Rows(first, all_classes)
    rows.add([first])
    rows.add(answers)
    if as_csv:
        rows.csv()
    elif len(rows) == 1:
        predictions.draw(first)
    else:
        rows.table()
