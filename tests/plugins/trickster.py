"""A plugin for tests: a model that does, when it is told to, what models do on bad days."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any, Literal

import zoo

Trick = Literal[
    "none",
    "raise",
    "exit",
    "os_exit",
    "abort",
    "kill_worker",
    "print",
    "tell_pid",
    "flood",
    "eat",
    "hang",
    "nan",
]


class Trickster(zoo.Model):
    """Guess class 0, and on the way do as told."""

    name = "trickster"
    can_stop = True

    class Params(zoo.Params):
        trick: Trick = zoo.param("none", help="what to do in fit")
        until: str = zoo.param("", help="go on until this file exists; $ZOO_HOME counts")
        seconds: float = zoo.param(0.0, ge=0, help="go on for this long")
        lines: int = zoo.param(0, ge=0, help="lines to print")

    def fit(self, x: Any, y: Any, report: Any) -> None:
        for number in range(self.params.lines):
            print(f"line {number}")
        getattr(self, "_" + self.params.trick)()
        step, began = 0, time.monotonic()
        while self._goes_on(time.monotonic() - began):
            step = min(step + 1, 99)
            report(step, 100, "step", train_loss=1.0 / step)
            time.sleep(0.02)

    def _goes_on(self, lasted: float) -> bool:
        until = os.path.expandvars(self.params.until)  # each machine may have its own
        return lasted < self.params.seconds or bool(until and not Path(until).exists())

    def _none(self) -> None:
        pass

    def _raise(self) -> None:
        raise ValueError("the model had a bad day")

    def _exit(self) -> None:
        sys.exit(3)

    def _os_exit(self) -> None:
        os._exit(7)

    def _abort(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def _kill_worker(self) -> None:
        os.kill(os.getppid(), signal.SIGKILL)

    def _print(self) -> None:
        os.write(1, b"written past Python\n")
        print("to stderr", file=sys.stderr)

    def _tell_pid(self) -> None:
        print(os.getpid())

    def _flood(self) -> None:
        for _ in range(1600):
            os.write(1, b"x" * 65_535 + b"\n")

    def _eat(self) -> None:
        # No more than 1 GB: a worker that stands still meanwhile would let it eat the machine's.
        kept = [bytearray(os.urandom(1) * 2**24) for _ in range(64)]
        while kept:
            time.sleep(1)

    def _hang(self) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        while True:
            time.sleep(1)

    def _nan(self) -> None:
        self.nan = True

    def predict_proba(self, x: Any) -> Any:
        import numpy as np

        found = np.zeros((len(x), self.n_classes))
        found[:, 0] = float("nan") if getattr(self, "nan", False) else 1.0
        return found

    def save(self, folder: Path) -> None:
        (folder / "nothing.json").write_text("{}")

    def load(self, folder: Path) -> None:
        pass


@zoo.hookimpl
def register_models(register: Any) -> None:
    register(Trickster)
