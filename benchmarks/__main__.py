"""`python -m benchmarks [--pairs N] [--keep] [--seconds N] [ROW...]`: measure and print.

A name that ends in `*` stands for all rows that begin so, `quick` for those that a change breaks
first.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import os
import platform
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import (
    checkpoint_cost,
    costs,
    data,
    first_training,
    folders,
    growth,
    importing,
    keras_fit,
    logistic,
    memory,
    networks,
    notes,
    peers,
    queue,
    scaling,
    scrape,
    table_files,
    table_jobs,
    terminal,
)
from benchmarks.pairs import Measured, measure
from benchmarks.queue import Figure

COMPARED = (keras_fit, networks, logistic, terminal, notes, table_files, table_jobs)
ROWS = {row.name: row for room in COMPARED for row in room.ROWS}
MEASURED = (queue, first_training, data, memory, folders, importing, growth, scrape, scaling)
FIGURES = {figure.name: figure for room in MEASURED for figure in room.FIGURES}
RECORDS = {f"costs-{kind}": kind for kind in ("sqlite", "postgresql")}
LONG = {"checkpoint-cost": "dense-softmax", "checkpoint-cost-lenet": "lenet-5"}
"""Records that take more than ten minutes for each pair: measured only where they are named."""
ON_REQUEST = ("growth-", "table-", "memory-", "network-", "scrape-", "scaling-", "costs-")
"""Rows that take minutes (large tables and databases, a thousand fits): measured if named."""
QUICK = (
    "help",
    "jobs",
    "train-detached",
    "keras-fit",
    "logistic-fit",
    "start-median",
    "noop-sqlite",
    "submit-10000",
    "worker-first-job",
)
"""The rows that a change breaks first: two minutes with one pair."""
RUNS = 3
RESULTS = Path(__file__).parent / "results"
DISTRIBUTIONS = ("mnist-zoo", "numpy", "scikit-learn", "keras", "tensorflow")
LINE = "{:20} {:>9} {:>9} {:>8} {:>8}  {}\n"


def main() -> None:
    """Run the selected benchmarks."""
    asked = _arguments()
    usual = [name for name in (*ROWS, *FIGURES) if not name.startswith(ON_REQUEST)]
    names = asked.rows or usual
    if set(names) & ROWS.keys():
        _say(LINE.format("row", "theirs s", "ours s", "ratio", "target", "what"))
    for row in (ROWS[name] for name in names if name in ROWS):
        measured = measure(row, asked.pairs or row.pairs)
        _say(_line(measured))
        if asked.keep:
            _keep(row.name, measured.record())
    if set(names) & FIGURES.keys():
        _say("\n" + LINE.format("figure", "measured", "target", "", "", "what"))
    for figure in (FIGURES[name] for name in names if name in FIGURES):
        values = [figure.measure() for _ in range(asked.pairs or figure.runs)]
        _say(_figure_line(figure, median(values)))
        kept = {"name": figure.name, "what": figure.what, "target": figure.target}
        if asked.keep:
            _keep(figure.name, kept | {"unit": figure.unit, "values": values})
    for name in names:
        _record(name, asked)


def _record(name: str, asked: argparse.Namespace) -> None:
    """Measure and print what has no single figure, if that is its name."""
    found: dict[str, Any]
    if name in peers.NAMES:
        found = peers.measure(name)
        _say(f"\n{peers.table(found)}")
    elif name in RECORDS:
        found = costs.measure(RECORDS[name])
        _say(f"\n{name}\n{json.dumps(found, indent=1)}\n")
    elif name in LONG:
        found = checkpoint_cost.measure(LONG[name], asked.seconds, asked.pairs or RUNS)
        _say(f"\n{name}\n{json.dumps(found, indent=1)}\n")
    else:
        return
    if asked.keep:
        _keep(name, {"name": name} | found)


def _say(line: str) -> None:
    sys.stdout.write(line)
    sys.stdout.flush()


def _arguments() -> argparse.Namespace:
    about = " ".join(__doc__.split())
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=about)
    pairs = f"runs of each side ({RUNS}; of the longest 1)"
    parser.add_argument("--pairs", type=int, default=None, help=pairs)
    keep = "keep the figures in benchmarks/results, which docs/scaling.md is made from"
    parser.add_argument("--keep", action="store_true", help=keep)
    length = f"length of the trainings of checkpoint-cost in seconds ({checkpoint_cost.SECONDS:g})"
    parser.add_argument("--seconds", type=float, default=checkpoint_cost.SECONDS, help=length)
    named = [*LONG, *peers.NAMES]
    every = [*ROWS, *FIGURES, *RECORDS, *named]
    known = ", ".join(["quick", *every])
    rows = f"of {known}; none: all but {', '.join(f'{each}*' for each in ON_REQUEST)}"
    rows += f" and {', '.join(named)}"
    parser.add_argument("rows", nargs="*", metavar="ROW", help=rows)
    asked = parser.parse_args()
    meant = [_meant(row, every) for row in asked.rows]
    unknown = [row for row, names in zip(asked.rows, meant, strict=True) if not names]
    if unknown:
        parser.error(f"no row is called {', '.join(sorted(unknown))}; there are {known}")
    asked.rows = list(dict.fromkeys(name for names in meant for name in names))
    return asked


def _meant(row: str, every: Sequence[str]) -> Sequence[str]:
    """Return the rows that a word of the command line stands for."""
    return QUICK if row == "quick" else fnmatch.filter(every, row)


def _line(measured: Measured) -> str:
    theirs, ours = median(measured.theirs), median(measured.ours)
    row = measured.row
    ratios = _ratio(measured.ratio), _ratio(row.target)
    pairs = f" ({', '.join(map(_ratio, measured.ratios))})" if len(measured.ratios) > 1 else ""
    return LINE.format(row.name, f"{theirs:.3f}", f"{ours:.3f}", *ratios, row.what + pairs)


def _ratio(value: float) -> str:
    return f"1/{1 / value:.1f}" if value < 1 else f"{value:.2f}"


def _figure_line(figure: Figure, value: float) -> str:
    met = "" if figure.is_met(value) else "missed"
    measured, target = f"{value:.{2 if value < 10 else 1}f}", f"{figure.target:g}"
    return LINE.format(figure.name, measured, target, figure.unit, met, figure.what)


def _keep(name: str, record: dict[str, Any]) -> None:
    RESULTS.mkdir(exist_ok=True)
    text = json.dumps(record | {"machine": _machine()}, indent=2)
    (RESULTS / f"{name}.json").write_text(text + "\n", encoding="utf-8")


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
