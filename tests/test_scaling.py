"""docs/scaling.md says what the simulation makes of the costs, and the simulation is sound."""

from __future__ import annotations

import re
from math import factorial

import pytest

from benchmarks import simulation, tables
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
    from benchmarks.__main__ import FIGURES, RECORDS, ROWS

    known = {*ROWS, *FIGURES, *RECORDS}
    named = re.findall(r"python -m benchmarks ([a-z0-9 -]+)`", tables.PAGE.read_text())
    assert named and {each for names in named for each in names.split()} <= known
