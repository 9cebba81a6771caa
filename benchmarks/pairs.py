"""Pairs of timed runs, theirs and ours, taken in turn so that a busy machine harms both alike."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

Side = Callable[[Path], float]
"""Runs one side, leaves what it learned in the file, gives the seconds."""


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    name: str
    what: str
    target: float
    """Ours takes at most this part of their time."""
    theirs: Side
    ours: Side


@dataclass
class Measured:
    """The seconds of the pairs of a row, in the order in which they were run."""

    row: Row
    theirs: list[float] = field(default_factory=list)
    ours: list[float] = field(default_factory=list)

    @property
    def ratio(self) -> float:
        """Median over the pairs: each ratio compares two runs that stood next to each other."""
        return median(o / t for o, t in zip(self.ours, self.theirs, strict=True))

    def record(self) -> dict[str, Any]:
        """What is kept of it."""
        return {
            "name": self.row.name,
            "what": self.row.what,
            "theirs_seconds": self.theirs,
            "ours_seconds": self.ours,
            "ratio": self.ratio,
            "target": self.row.target,
            "equal": True,
        }


def measure(row: Row, n_pairs: int) -> Measured:
    """Run the pairs, each time the other side first; AssertionError if the results differ."""
    measured = Measured(row)
    with tempfile.TemporaryDirectory() as folder:
        files = {"theirs": Path(folder) / "theirs.npz", "ours": Path(folder) / "ours.npz"}
        for number in range(n_pairs):
            for side in ("theirs", "ours") if number % 2 == 0 else ("ours", "theirs"):
                getattr(measured, side).append(getattr(row, side)(files[side]))
            _compare(row, files["theirs"], files["ours"])
    return measured


def child(module: str, side: str, file: Path, env: dict[str, str] | None = None) -> float:
    """Run one side in a fresh process, `python -m MODULE SIDE FILE`, which prints its seconds."""
    command = [sys.executable, "-W", "ignore", "-m", module, side, str(file)]
    # TensorFlow writes notes for its developers to stderr.
    done = subprocess.run(command, capture_output=True, text=True, env=env)
    if done.returncode:
        raise RuntimeError(f"{module} {side} failed: {done.stderr[-2000:]}")
    return float(json.loads(done.stdout.splitlines()[-1]))


def say(seconds: float) -> None:
    """Tell the parent process how long it took."""
    sys.stdout.write(f"{json.dumps(seconds)}\n")


def _compare(row: Row, theirs: Path, ours: Path) -> None:
    with np.load(theirs) as expected, np.load(ours) as found:
        assert expected.files == found.files, f"{row.name}: {expected.files} and {found.files}"
        for name in expected.files:
            equal = np.array_equal(expected[name], found[name])
            assert equal, f"{row.name}: {name} differs between theirs and ours"
