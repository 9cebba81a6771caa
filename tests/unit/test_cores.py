"""Cores that the runners of a worker lend each other: who has one, and that it comes back."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from helpers.command_line import until
from zoo_sklearn import threads
from zoo_sklearn.logistic import Logistic

from zoo import cores
from zoo.cores import Cores

JOB = "with cores.held(): say()"
BORROWER = "with cores.here().one(), cores.here().one(): say()"


@pytest.fixture
def ours() -> Iterator[Cores]:
    """A worker with two cores and two slots, and the first of its runners: this process."""
    cores.here.cache_clear()
    with cores.lend(1, 2):
        found = cores.here()
        assert found is not None
        yield found
    cores.here.cache_clear()


@contextlib.contextmanager
def neighbour(act: str) -> Iterator[subprocess.Popen[str]]:
    """Another runner, once it does so; it stays so until its stdin is closed."""
    code = "import sys\nfrom zoo import cores\n"
    code += "def say(): print('there', flush=True); sys.stdin.read()\n"
    process = subprocess.Popen(
        [sys.executable, "-c", code + act],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ.copy(),
    )
    assert process.stdin and process.stdout
    try:
        until(lambda: select.select([process.stdout], [], [], 0)[0], 60)
        assert process.stdout.readline() == "there\n"
        yield process
        process.stdin.close()
        assert process.wait(60) == 0 or process.returncode == -9
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def to_borrow(ours: Cores) -> int:
    """How many cores there are to borrow just now."""
    borrowed = list(iter(ours.borrow, None))
    for core in borrowed:
        ours.give_back(core)
    return len(borrowed)


def test_a_core_that_is_in_use_is_not_borrowed(ours: Cores) -> None:
    with ours.held():
        assert to_borrow(ours) == 1
        with neighbour(JOB):
            assert to_borrow(ours) == 0
        assert to_borrow(ours) == 1


def test_the_cores_of_a_killed_runner_are_free_at_once(ours: Cores) -> None:
    for act in (JOB, BORROWER):
        with ours.held(), neighbour(act) as killed:
            assert to_borrow(ours) == 0
            killed.kill()
            killed.wait()
            assert to_borrow(ours) == 1


def test_a_borrowed_core_comes_back_after_a_piece_of_work(ours: Cores) -> None:
    with ours.one(), ours.one():
        assert to_borrow(ours) == 1  # one of two
    with neighbour(BORROWER):
        pass


def test_a_core_is_borrowed_by_one_alone(ours: Cores) -> None:
    with ours.held(), neighbour(BORROWER):
        assert to_borrow(ours) == 0


def test_a_job_begins_though_its_core_is_borrowed_and_has_it_after_that_piece(ours: Cores) -> None:
    with contextlib.ExitStack() as jobs, ours.held():
        with ours.one(), ours.one():
            jobs.enter_context(neighbour(JOB))
        assert to_borrow(ours) == 0


def test_with_more_slots_than_cores_a_job_begins_all_the_same(ours: Cores) -> None:
    with neighbour(JOB), neighbour(JOB), neighbour(JOB), ours.held(), ours.one():
        assert to_borrow(ours) == 0


def test_a_worker_of_one_slot_lends_nothing() -> None:
    with cores.lend(2, 2):
        assert cores.VARIABLE not in os.environ


def fitted(images: tuple[Any, Any]) -> Any:
    model = Logistic(Logistic.Params.resolve({}), [str(n) for n in range(10)], 42)
    model.fit(*images, lambda *args, **metrics: None)
    return model.classifier


@pytest.fixture(scope="module")
def images() -> tuple[Any, Any]:
    generator = np.random.default_rng(0)
    x = generator.random((500, 784)) * (generator.random((500, 784)) < 0.2)
    return x, generator.integers(0, 10, 500)


@pytest.mark.slow
def test_a_fit_learns_the_same_on_its_own_core_on_borrowed_ones_and_without_a_worker(
    ours: Cores, images: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[int | None] = []
    take = ours.take

    def recorded() -> int | None:
        taken.append(take())
        return taken[-1]

    with ours.held(), monkeypatch.context() as patch:
        patch.setattr(ours, "take", recorded)
        with ours.one():  # its own core is in use
            taken.clear()
            borrowed = fitted(images)
            assert taken == [1] * 10
        taken.clear()
        with neighbour(JOB):
            own = fitted(images)
        assert taken == [None] * 10
        either = fitted(images)
    monkeypatch.delenv(cores.VARIABLE)
    cores.here.cache_clear()
    alone = fitted(images)
    for each in (borrowed, own, either):
        assert np.array_equal(each.coef_, alone.coef_)
        assert np.array_equal(each.intercept_, alone.intercept_)


def test_a_piece_of_work_that_fails_gives_its_core_back(ours: Cores) -> None:
    from joblib import Parallel, delayed

    def fail() -> None:
        raise ValueError("no")

    with ours.held(), ours.one():
        with pytest.raises(ValueError, match="no"), threads.granted_jobs():
            Parallel(require="sharedmem")(delayed(fail)() for _ in range(4))
        assert to_borrow(ours) == 1
