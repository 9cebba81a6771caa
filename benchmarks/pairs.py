"""Pairs of timed runs, baseline and Zoo in turn, so that load on the machine affects both alike."""

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
"""Runs one side, writes its result to the file, returns the seconds."""


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    name: str
    what: str
    target: float
    """Largest accepted ratio of Zoo's time to the baseline's."""
    theirs: Side
    ours: Side
    pairs: int = 3
    """Pairs that are measured unless another number is asked for."""


@dataclass
class Measured:
    """The seconds of the pairs of a row, in the order of the runs."""

    row: Row
    theirs: list[float] = field(default_factory=list)
    ours: list[float] = field(default_factory=list)

    @property
    def ratios(self) -> list[float]:
        """Return the ratio of each pair, which compares two adjacent runs."""
        return [ours / theirs for ours, theirs in zip(self.ours, self.theirs, strict=True)]

    @property
    def ratio(self) -> float:
        """Return the median over the pairs."""
        return median(self.ratios)

    def record(self) -> dict[str, Any]:
        """Return the recorded fields."""
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
    """Run the pairs, alternating which side is first; raise AssertionError if results differ."""
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
    # TensorFlow writes debug messages to stderr.
    done = subprocess.run(command, capture_output=True, text=True, env=env)
    if done.returncode:
        raise RuntimeError(f"{module} {side} failed: {done.stderr[-2000:]}")
    return float(json.loads(done.stdout.splitlines()[-1]))


def say(seconds: float) -> None:
    """Report the duration to the parent process."""
    sys.stdout.write(f"{json.dumps(seconds)}\n")


def _compare(row: Row, theirs: Path, ours: Path) -> None:
    with np.load(theirs) as expected, np.load(ours) as found:
        assert expected.files == found.files, f"{row.name}: {expected.files} and {found.files}"
        for name in expected.files:
            equal = np.array_equal(expected[name], found[name])
            assert equal, f"{row.name}: {name} differs between theirs and ours"
