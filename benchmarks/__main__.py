"""`python -m benchmarks [--pairs N] [ROW...]`: run the rows, print the table, keep it as JSON."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import keras_fit, logistic
from benchmarks.pairs import Measured, measure

ROWS = {row.name: row for row in (*keras_fit.ROWS, *logistic.ROWS)}
RESULTS = Path(__file__).parent / "results"
DISTRIBUTIONS = ("mnist-zoo", "numpy", "scikit-learn", "keras", "tensorflow")
LINE = "{:20} {:>9} {:>9} {:>8} {:>8}  {}\n"


def main() -> None:
    """Run what was asked for."""
    asked = _arguments()
    sys.stdout.write(LINE.format("row", "theirs s", "ours s", "ratio", "target", "what"))
    for name in asked.rows or ROWS:
        measured = measure(ROWS[name], asked.pairs)
        sys.stdout.write(_line(measured))
        sys.stdout.flush()
        _keep(measured)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--pairs", type=int, default=3, help="runs of each side (3)")
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"of {', '.join(ROWS)}; none: all")
    asked = parser.parse_args()
    unknown = set(asked.rows) - ROWS.keys()
    if unknown:
        parser.error(f"no row is called {', '.join(sorted(unknown))}; there are {', '.join(ROWS)}")
    return asked


def _line(measured: Measured) -> str:
    theirs, ours = median(measured.theirs), median(measured.ours)
    ratio, target = f"1/{1 / measured.ratio:.1f}", f"1/{1 / measured.row.target:.1f}"
    row = measured.row
    return LINE.format(row.name, f"{theirs:.2f}", f"{ours:.2f}", ratio, target, row.what)


def _keep(measured: Measured) -> None:
    RESULTS.mkdir(exist_ok=True)
    text = json.dumps(measured.record() | {"machine": _machine()}, indent=2)
    (RESULTS / f"{measured.row.name}.json").write_text(text + "\n", encoding="utf-8")


def _machine() -> dict[str, Any]:
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "processor": platform.machine(),
        "python": platform.python_version(),
        "versions": {name: metadata.version(name) for name in DISTRIBUTIONS},
    }


if __name__ == "__main__":
    main()
