"""A plugin for tests: a model whose start is slow, as that of one that imports a framework."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any, ClassVar

import zoo


class Starter(zoo.Model):
    """Note each process that makes it, and let the first wait for the file `go` in the home."""

    name = "starter"

    def __init__(self, params: Any, class_names: Any, seed: int) -> None:
        super().__init__(params, class_names, seed)
        home = Path(os.environ["ZOO_HOME"])
        (home / f"started-{os.getpid()}").touch()
        while not (home / "go").exists():
            time.sleep(0.01)

    def fit(self, x: Any, y: Any, report: Any) -> None:
        report(1, 1, "step", pid=os.getpid())

    def predict_proba(self, x: Any) -> Any:
        import numpy as np

        return np.full((len(x), self.n_classes), 1 / self.n_classes)

    def save(self, folder: Path) -> None:
        (folder / "empty.json").write_text("{}")

    def load(self, folder: Path) -> None:
        pass


class Hoarder(Starter):
    """Leave 160 MiB in the process each time it is made, as the allocator of a framework does."""

    name = "hoarder"
    left: ClassVar[list[bytes]] = []

    def __init__(self, params: Any, class_names: Any, seed: int) -> None:
        self.left.append(b"x" * (160 * 2**20))
        super().__init__(params, class_names, seed)


@zoo.hookimpl
def register_models(register: Any) -> None:
    register(Starter)
    register(Hoarder)
    register(type("Other", (Starter,), {"name": "other"}))
    register(type("Broken", (Starter,), {"name": "broken", "__init__": _end}))


def _end(*_: Any) -> None:
    raise SystemExit(3)
