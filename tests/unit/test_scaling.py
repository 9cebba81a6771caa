"""docs/scaling.md says what the simulation makes of the costs, and the simulation is sound."""

from __future__ import annotations

import re
from dataclasses import replace
from math import factorial
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import benchmarks.__main__ as bench
from benchmarks import simulation, tables
from benchmarks.pairs import Row
from benchmarks.simulation import Station


def repairmen(slots: int, servers: int, job: float, sleep: float) -> float:
    """Jobs a second of slots that sleep and then queue at a few servers, both for exponential
    times: the finite-source queue M/M/c//N (Gross and Harris, section 2.8)."""
    weights = []
    for n in range(slots + 1):
        ways = factorial(slots) / factorial(slots - n)
        busy = factorial(n) if n <= servers else factorial(servers) * servers ** (n - servers)
        weights.append(ways / busy * (job / sleep) ** n)
    mean = sum(min(n, servers) * w for n, w in enumerate(weights)) / sum(weights)
    return mean / job


@pytest.mark.parametrize(("slots", "servers"), [(1, 1), (4, 1), (30, 1), (12, 3)])
def test_the_simulation_agrees_with_the_theory_of_queues(slots: int, servers: int) -> None:
    # To sleep for an exponential time is to visit a station where nobody waits.
    visits = [Station("one", servers, 0.1), Station("sleep", slots, 1.0)]
    found = simulation.simulate(visits, slots, 0.0, 20_000)
    assert found == pytest.approx(repairmen(slots, servers, 0.1, 1.0), rel=0.05)


def test_a_server_is_full_with_the_workers_that_it_is_said_to_carry() -> None:
    station = Station("one", 2, job=0.01, running=0.002, worker=0.0005)
    workers = station.most_workers(2, 60.0)
    assert station.load(workers, 2, 60.0, workers * 2 / 60.0) == pytest.approx(1.0)


def test_the_page_says_what_the_simulation_makes_of_the_costs() -> None:
    text = tables.PAGE.read_text()
    assert tables.page(text) == text, "python -m benchmarks.tables --write"


def test_the_page_names_benchmarks_that_exist() -> None:
    known = {*bench.ROWS, *bench.FIGURES, *bench.RECORDS}
    named = re.findall(r"python -m benchmarks --keep ([a-z0-9 -]+)`", tables.PAGE.read_text())
    assert named and {each for names in named for each in names.split()} <= known


class Ended(NamedTuple):
    """A row of the benchmark, as if it had been measured."""

    row: Row
    theirs: list[float]
    ours: list[float]
    ratio: float = 1.0
    ratios: tuple[float, ...] = (1.0, 1.0)

    def record(self) -> dict[str, Any]:
        return {"name": self.row.name}


def contents() -> dict[Path, bytes]:
    """All that tests and docs read of the benchmarks."""
    root = tables.PAGE.parents[1]
    found = [*(root / "benchmarks").rglob("*.json"), *(root / "docs").rglob("*.md")]
    return {path: path.read_bytes() for path in found}


def test_a_benchmark_keeps_its_figures_only_when_asked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    quick = {name: replace(each, measure=lambda: 1.0) for name, each in bench.FIGURES.items()}
    monkeypatch.setattr(bench, "FIGURES", quick)
    monkeypatch.setattr(bench, "measure", lambda row, _: Ended(row, [1.0], [1.0]))
    monkeypatch.setattr(bench.costs, "measure", lambda kind: {"kind": kind})
    before = contents()
    monkeypatch.setattr("sys.argv", ["benchmarks", "--pairs", "1"])
    bench.main()
    after = contents()
    for path, text in before.items():
        if after.get(path) != text:  # else a test that reads it meanwhile could find it empty
            path.write_bytes(text)
    assert after == before
    monkeypatch.setattr(bench, "RESULTS", tmp_path / "results")
    monkeypatch.setattr("sys.argv", ["benchmarks", "--pairs", "1", "--keep"])
    bench.main()
    kept = {path.stem for path in (tmp_path / "results").iterdir()}
    assert kept | {*bench.QUICK} == kept and contents() == before
    assert kept == {
        name
        for name in (*bench.ROWS, *bench.FIGURES, *bench.RECORDS)
        if not name.startswith(bench.ON_REQUEST)
    }
    monkeypatch.setattr(
        "sys.argv", ["benchmarks", "--pairs", "1", "--keep", "quick", "table-*", *bench.RECORDS]
    )
    monkeypatch.setattr(bench, "RESULTS", tmp_path / "named")
    bench.main()
    named = {path.stem for path in (tmp_path / "named").iterdir()}
    tables = {name for name in bench.ROWS if name.startswith("table-")}
    assert named == {*bench.QUICK, *tables, *bench.RECORDS}
