"""A plugin for tests: a model that learns step by step and can go on from any of its steps."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import zoo


class Counter(zoo.Model):
    """Mix random numbers into the weights at each step, so that no step may be left out."""

    name = "counter"
    can_stop = True

    class Params(zoo.Params):
        steps: int = zoo.param(10, ge=1, help="steps to learn")
        seconds: float = zoo.param(0.0, ge=0, help="time of a step")
        until: str = zoo.param(
            "", help="wait at step `at` until this file exists; $ZOO_HOME counts"
        )
        at: int = zoo.param(5, ge=0, help="the step to wait at")

    def fit(self, x: Any, y: Any, report: Any, *, checkpoint: Any = None) -> None:
        import numpy as np

        self.w, first = np.zeros(self.n_classes), 0
        if checkpoint and (folder := checkpoint.latest()):
            self.load(folder)
            first = json.loads((folder / "step.json").read_text())
        for step in range(first + 1, self.params.steps + 1):
            self.w = np.sin(self.w + np.random.standard_normal(self.n_classes))
            time.sleep(self.params.seconds)
            report(step, self.params.steps, "step", norm=float(np.abs(self.w).sum()))
            is_saved = self._save_if_due(checkpoint, step)
            while step == self.params.at and self._waits():
                report(step, self.params.steps, "step")
                is_saved = is_saved or self._save_if_due(checkpoint, step)

    def _save_if_due(self, checkpoint: Any, step: int) -> bool:
        if not checkpoint or not checkpoint.is_due():
            return False
        with checkpoint.save(step) as folder:
            self.save(folder)
            (folder / "step.json").write_text(json.dumps(step))
        return True

    def _waits(self) -> bool:
        time.sleep(0.02)
        until = os.path.expandvars(self.params.until)
        return bool(until) and not Path(until).exists()

    def predict_proba(self, x: Any) -> Any:
        import numpy as np

        found = np.exp(self.w - self.w.max())
        return np.tile(found / found.sum(), (len(x), 1))

    def save(self, folder: Path) -> None:
        import numpy as np

        np.save(folder / "w.npy", self.w, allow_pickle=False)

    def load(self, folder: Path) -> None:
        import numpy as np

        self.w = np.load(folder / "w.npy", allow_pickle=False)


@zoo.hookimpl
def register_models(register: Any) -> None:
    register(Counter)
