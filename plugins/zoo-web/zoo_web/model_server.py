"""Inside the models' process: prepare a drawing, load a trained model, ask it for probabilities."""

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

KEPT = 24
"""Trained models in memory; the one that was asked the longest ago makes room."""


def main() -> None:
    """Answer orders from the pipe until it closes: JSON each way, so that nothing is unpickled."""
    # In a session of its own: Ctrl-C in the terminal is for the server, which then ends this one.
    pipe, _, (log,) = child_process.serve()
    _print_into(log)
    shelf = Shelf()
    while True:
        try:
            order = read_json(pipe.recv_bytes())
        except (EOFError, OSError):
            return
        pipe.send_bytes(json.dumps(_answer(shelf, order), allow_nan=False).encode())


def _print_into(log: str) -> None:
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    os.close(handle)


def _answer(shelf: Shelf, order: dict[str, Any]) -> dict[str, Any]:
    try:
        return ORDERS[order["do"]](shelf, order)
    except ZooError as error:
        return {"error": str(error)}
    except BaseException as error:  # a model's own, also SystemExit: the next one may be well
        return {"error": f"{type(error).__name__}: {reason(error)}."}


class Shelf:
    """The trained models that were asked last."""

    def __init__(self) -> None:
        from zoo import jobs, settings

        self._settings: Settings = settings.load()
        self._db: Database = jobs.connect(self._settings.database)
        self._models: OrderedDict[str, LoadedModel] = OrderedDict()

    def model(self, job_id: str) -> LoadedModel:
        """The model that a job has trained; raises ZooError if it cannot be loaded."""
        if job_id not in self._models:
            self._models[job_id] = self._load(job_id)
        self._models.move_to_end(job_id)
        while len(self._models) > KEPT:
            self._models.popitem(last=False)
        return self._models[job_id]

    def _load(self, job_id: str) -> LoadedModel:
        from zoo import jobs
        from zoo.inference import predictor

        return predictor.load_trained(self._db, self._settings, jobs.get(self._db, job_id))


def _prepare(_: Shelf, order: dict[str, Any]) -> dict[str, Any]:
    """Make of a picture what models see: 784 bytes."""
    from zoo.images import normalize

    pixels = normalize.prepare(normalize.open(base64.b64decode(order["png"])))
    return {"pixels": base64.b64encode(pixels.tobytes()).decode()}


def _load(shelf: Shelf, order: dict[str, Any]) -> dict[str, Any]:
    shelf.model(order["job"])
    return {}


def _predict(shelf: Shelf, order: dict[str, Any]) -> dict[str, Any]:
    import numpy as np

    trained = shelf.model(order["job"])
    pixels = np.frombuffer(base64.b64decode(order["pixels"]), dtype="uint8").reshape(1, 28, 28)
    said = trained.predict(pixels)
    given = None if said.probabilities is None else said.probabilities[0].astype("float64").tolist()
    names = [str(name) for name in trained.class_names]
    return {"label": int(said.labels[0]), "probabilities": given, "classes": names}


ORDERS: dict[str, Callable[[Shelf, dict[str, Any]], dict[str, Any]]] = {
    "prepare": _prepare,
    "load": _load,
    "predict": _predict,
}
"""What each order asks for."""


if __name__ == "__main__":
    main()
