"""A plugin for tests: a model that takes its time, and says on the way what it is told to say."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import zoo


class Teller(zoo.Model):
    """Guess class 0, step by step."""

    name = "teller"

    class Params(zoo.Params):
        steps: int = zoo.param(3, ge=1, le=1000, help="steps to take")
        until: str = zoo.param("", help="wait at the second step until this file exists")
        word: str = zoo.param("", help="what to say at each step")

    def fit(self, x: Any, y: Any, report: Any) -> None:
        steps = self.params.steps
        for step in range(1, steps + 1):
            print(f"{step} {self.params.word}", flush=True)
            report(step, steps, "step", train_loss=1.0 / step)
            while step == 2 and self.params.until and not Path(self.params.until).exists():
                time.sleep(0.02)

    def predict_proba(self, x: Any) -> Any:
        import numpy as np

        found = np.zeros((len(x), self.n_classes))
        found[:, 0] = 1
        return found

    def save(self, folder: Path) -> None:
        (folder / "weights.json").write_text("{}")

    def load(self, folder: Path) -> None:
        pass


@zoo.hookimpl
def register_models(register: Any) -> None:
    register(Teller)
