"""The model server: prepare a drawing, load a trained model, predict."""

from __future__ import annotations

import base64
import json
import os
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from zoo import child_process
from zoo.errors import ZooError, reason
from zoo.job_spec import read_json

if TYPE_CHECKING:
    from zoo.inference.predictor import LoadedModel
    from zoo.jobs import Database
    from zoo.settings import Settings

MAX_MODELS = 24
"""Trained models in memory; the least recently used one is dropped."""


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
        return HANDLERS[message["do"]](models, message)
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

    def _load(self, job_id: str) -> LoadedModel:
        from zoo import jobs
        from zoo.inference import predictor

        return predictor.load_trained(self._db, self._settings, jobs.get(self._db, job_id))


def _prepare(_: ModelCache, message: dict[str, Any]) -> dict[str, Any]:
    """Normalize a picture to the 784 bytes that models see."""
    from zoo.images import normalize

    pixels = normalize.prepare(normalize.open(base64.b64decode(message["png"])))
    return {"pixels": base64.b64encode(pixels.tobytes()).decode()}


def _load(models: ModelCache, message: dict[str, Any]) -> dict[str, Any]:
    models.model(message["job"])
    return {}


def _predict(models: ModelCache, message: dict[str, Any]) -> dict[str, Any]:
    import numpy as np

    trained = models.model(message["job"])
    pixels = np.frombuffer(base64.b64decode(message["pixels"]), dtype="uint8").reshape(1, 28, 28)
    found = trained.predict_raw(pixels)
    given = found.probabilities
    probabilities = None if given is None else given[0].astype("float64").tolist()
    names = [str(name) for name in trained.class_names]
    return {"label": int(found.labels[0]), "probabilities": probabilities, "classes": names}


HANDLERS: dict[str, Callable[[ModelCache, dict[str, Any]], dict[str, Any]]] = {
    "prepare": _prepare,
    "load": _load,
    "predict": _predict,
}
"""The function for each value of `do`."""


if __name__ == "__main__":
    main()
