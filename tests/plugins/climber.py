"""A plugin for tests: a softmax regression that judges validation rows after each epoch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import zoo


class Climber(zoo.Model):
    """Take one step of gradient descent, on rows drawn at random, for each epoch."""

    name = "climber"

    class Params(zoo.Params):
        epochs: int = zoo.param(9, ge=1, help="epochs")
        rate: float = zoo.param(0.1, ge=0, help="length of a step")
        wait: float = zoo.param(0.0, ge=0, help="seconds of an epoch")

    def fit(
        self, x: Any, y: Any, report: Any, *, validation: Any = None, checkpoint: Any = None
    ) -> None:
        import time

        import numpy as np

        self.w, first = np.zeros((x.shape[1], self.n_classes)), 0
        if checkpoint and (folder := checkpoint.latest()):
            self.load(folder)
            first = json.loads((folder / "epoch.json").read_text())
        epochs = self.params.epochs
        for epoch in range(first + 1, epochs + 1):
            rows = np.random.permutation(len(x))[:100]
            wrong = self.predict_proba(x[rows]) - np.eye(self.n_classes)[y[rows]]
            self.w -= self.params.rate * x[rows].T @ wrong
            time.sleep(self.params.wait)
            found = {}
            if validation:
                right = self.predict_proba(validation[0]).argmax(axis=1) == validation[1]
                found = {"val_accuracy": float(right.mean())}
            report(epoch, epochs, "epoch", size=float(np.abs(self.w).sum()), **found)
            if checkpoint and checkpoint.is_due():
                with checkpoint.save(epoch) as folder:
                    self.save(folder)
                    (folder / "epoch.json").write_text(json.dumps(epoch))

    def predict_proba(self, x: Any) -> Any:
        import numpy as np

        scores = x @ self.w
        found = np.exp(scores - scores.max(axis=1, keepdims=True))
        return found / found.sum(axis=1, keepdims=True)

    def save(self, folder: Path) -> None:
        import numpy as np

        np.save(folder / "w.npy", self.w, allow_pickle=False)

    def load(self, folder: Path) -> None:
        import numpy as np

        self.w = np.load(folder / "w.npy", allow_pickle=False)


class Sprinter(Climber):
    """The same model, which never saves a checkpoint although it asks for a place."""

    name = "sprinter"

    def fit(
        self, x: Any, y: Any, report: Any, *, validation: Any = None, checkpoint: Any = None
    ) -> None:
        super().fit(x, y, report, validation=validation)


@zoo.hookimpl
def register_models(register: Any) -> None:
    register(Climber)
    register(Sprinter)
