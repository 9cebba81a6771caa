"""The model server: load a trained model, predict a drawing or a file, export, compare."""

from __future__ import annotations

import base64
import json
import os
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo import child_process
from zoo.canonical_json import read_json
from zoo.errors import UsageError, ZooError, reason

if TYPE_CHECKING:
    from zoo.inference.predictor import LoadedModel
    from zoo.jobs import Database
    from zoo.model import Array
    from zoo.settings import Settings

MAX_MODELS = 24
"""Trained models in memory; the least recently used one is dropped."""
MOST_ROWS = 200
"""Rows of a table that the page shows; all are in the CSV."""


def main() -> None:
    """Answer JSON messages from the pipe until it closes; nothing is unpickled."""
    # In a session of its own: Ctrl-C in the terminal ends the web server, which then kills this.
    pipe, _, (log,) = child_process.serve()
    _print_into(log)
    models = ModelCache()
    while True:
        try:
            message = read_json(pipe.recv_bytes())
        except (EOFError, OSError):
            return
        pipe.send_bytes(json.dumps(_answer(models, message), allow_nan=False).encode())


def _print_into(log: str) -> None:
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    os.close(handle)


def _answer(models: ModelCache, message: dict[str, Any]) -> dict[str, Any]:
    try:
        answer = HANDLERS[message["do"]](models, message)
        # Whether other code answers than the one that trained the model.
        return answer | ({"loader": models.model(message["job"]).note} if "job" in message else {})
    except ZooError as error:
        return {"error": str(error)}
    except BaseException as error:  # of a model, also SystemExit: the next one may work
        return {"error": f"{type(error).__name__}: {reason(error)}."}


class ModelCache:
    """The most recently used trained models."""

    def __init__(self) -> None:
        from zoo import jobs, settings

        self._settings: Settings = settings.load()
        self._db: Database = jobs.connect(self._settings.database)
        self._models: OrderedDict[str, LoadedModel] = OrderedDict()

    def model(self, job_id: str) -> LoadedModel:
        """Return the trained model of a job; raises ZooError if it cannot be loaded."""
        if job_id not in self._models:
            self._models[job_id] = self._load(job_id)
        self._models.move_to_end(job_id)
        while len(self._models) > MAX_MODELS:
            self._models.popitem(last=False)
        return self._models[job_id]

    def compare(self, refs: list[str], metric: str | None) -> list[dict[str, Any]]:
        """Compare results in pairs, see `comparison.compare_pair`; raises ZooError."""
        from zoo import jobs
        from zoo.results import comparison

        found = [jobs.find_reference(self._db, ref) for ref in refs]
        first, *others = [comparison.load_result(self._db, each) for each in found]
        by = jobs.dataset_objective(self._db, first.jobs[0].dataset, metric)
        pairs = (comparison.compare_pair(self._settings, first, each, by) for each in others)
        return [each.to_json() for each in pairs]

    def _load(self, job_id: str) -> LoadedModel:
        from zoo import jobs
        from zoo.inference import predictor

        return predictor.load_trained(self._db, self._settings, jobs.get(self._db, job_id))


def _prepare(_: ModelCache, message: dict[str, Any]) -> dict[str, Any]:
    """Normalize a drawing to the bytes that models of pen strokes see."""
    from zoo.images import normalize

    pixels = normalize.prepare(normalize.open(base64.b64decode(message["png"])))
    return {"pixels": base64.b64encode(pixels.tobytes()).decode()}


def _load(models: ModelCache, message: dict[str, Any]) -> dict[str, Any]:
    models.model(message["job"])
    return {}


def _predict(models: ModelCache, message: dict[str, Any]) -> dict[str, Any]:
    """Predict a prepared drawing."""
    import numpy as np

    from zoo.images import arrays, normalize

    trained = models.model(message["job"])
    grey = np.frombuffer(base64.b64decode(message["pixels"]), dtype="uint8")
    drawn = grey.reshape(1, normalize.SIDE, normalize.SIDE)
    return _predicted(trained, arrays.raw_images(drawn, trained.inputs))


def _predicted(trained: LoadedModel, raw: Array) -> dict[str, Any]:
    """The answer for a single image."""
    found = trained.predict_raw(raw)
    given = found.probabilities
    probabilities = None if given is None else given[0].astype("float64").tolist()
    names = [str(name) for name in trained.class_names]
    return {"label": int(found.labels[0]), "probabilities": probabilities, "classes": names}


def _predict_file(models: ModelCache, message: dict[str, Any]) -> dict[str, Any]:
    """Predict a picture, resized to the size of the model's images, or the rows of a table."""
    folder, name = message["folder"], message["name"]
    trained = models.model(message["job"])
    try:
        if trained.inputs.kind == "table":
            return _rows(trained, Path(folder, name), folder)
        return _picture(trained, Path(folder, name))
    except ZooError as error:
        # The user knows the file by its name, not the folder that it is kept in.
        raise ZooError(_named(error.message, folder), _named(error.hint, folder)) from None


def _named(text: str, folder: str) -> str:
    return text.replace(f"{folder}{os.sep}", "")


def _picture(trained: LoadedModel, path: Path) -> dict[str, Any]:
    from zoo.data import rows_file
    from zoo.images import prediction_inputs

    if rows_file.is_rows(path.name):
        raise UsageError(
            f"The model takes images of {trained.inputs.describe_shape()}, no rows of a table.",
            "Choose a picture.",
        )
    subject = prediction_inputs.of_picture(path.name, path, trained.inputs, strokes=False)
    seen = {
        "shape": list(subject.image.shape),
        "pixels": base64.b64encode(subject.image.tobytes()).decode(),
        "note": "Resized from other proportions." if subject.is_stretched else "",
    }
    return _predicted(trained, subject.raw[None]) | seen


def _rows(trained: LoadedModel, path: Path, folder: str) -> dict[str, Any]:
    import itertools

    from zoo.images import prediction_inputs
    from zoo.inference import row_predictions

    if path.suffix.lower() in prediction_inputs.SUFFIXES:
        raise UsageError(
            f"The model takes rows of {trained.inputs.describe_shape()}, no pictures.",
            "Choose a CSV or parquet file.",
        )
    found = row_predictions.predict_rows(trained, path)
    shown = [*itertools.islice(found.records(trained), MOST_ROWS)]
    columns = list(shown[0]) if shown else [*found.added]
    return {
        "columns": columns,
        "rows": [[row[name] for name in columns] for row in shown],
        "total": found.given.n_rows,
        "notes": [_named(note, folder) for note in found.notes],
        "csv": found.content("").decode(errors="replace"),
    }


def _export(models: ModelCache, message: dict[str, Any]) -> dict[str, Any]:
    """Write the exported model of a job into a file; its predictions were checked."""
    from zoo.inference import export

    done = export.export_model(
        models.model(message["job"]), message["format"], Path(message["path"])
    )
    return {"checked": done.checked}


def _compare(models: ModelCache, message: dict[str, Any]) -> dict[str, Any]:
    """Compare the first of several results with each other one, by their predictions."""
    return {"pairs": models.compare(message["refs"], message["metric"])}


HANDLERS: dict[str, Callable[[ModelCache, dict[str, Any]], dict[str, Any]]] = {
    "prepare": _prepare,
    "load": _load,
    "predict": _predict,
    "predict_file": _predict_file,
    "export": _export,
    "compare": _compare,
}
"""The function for each value of `do`."""


if __name__ == "__main__":
    main()
