"""Runners import what the next jobs need while the worker starts, before it claims one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from helpers import job_rows
from helpers.command_line import Zoo, share, until
from helpers.finished_jobs import a_spec
from zoo_workers import runner_pool
from zoo_workers.runner_pool import Runner, RunnerPool

from zoo import jobs
from zoo.jobs import Database

TESTS = Path(__file__).parents[1]
ENV = {"ZOO_PLUGINS_DIR": str(TESTS / "plugins"), "ZOO_PLUGINS": "starter,sklearn"}


@pytest.fixture
def pool(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunnerPool]:
    home.mkdir()
    for name, value in ENV.items():
        monkeypatch.setenv(name, value)
    found = RunnerPool(home, jobs_per_runner=100, memory_mb=4000.0)
    yield found
    found.stop()


def started(home: Path) -> set[int]:
    """The processes that have made the model so far."""
    return {int(each.name.split("-")[1]) for each in home.glob("started-*")}


def catalogue(runner: Runner) -> list[str]:
    """Send the process another request; return the models that it finds."""
    runner.send({"action": "catalogue"})
    reply = until(lambda: runner.receive(1.0))
    return [each["name"] for each in reply["models"]]


def test_a_job_gets_the_runner_that_was_warmed_up_for_its_model(
    pool: RunnerPool, home: Path
) -> None:
    pool.warm_up(["starter"])
    (pid,) = until(lambda: started(home))
    with pool.borrow("starter") as runner:  # while it is still importing
        assert runner.pid == pid
        (home / "go").touch()
        assert "starter" in catalogue(runner)  # the reply to this request, not to the first


def test_a_job_of_another_model_waits_for_no_import(pool: RunnerPool, home: Path) -> None:
    pool.warm_up(["starter"])
    (pid,) = until(lambda: started(home))
    with pool.borrow("other") as runner:
        assert runner.pid != pid
        assert "other" in catalogue(runner)
        with pool.borrow("starter") as warm:
            assert warm.pid == pid


def test_a_runner_that_is_warm_runs_any_model(pool: RunnerPool, home: Path) -> None:
    home.joinpath("go").touch()
    pool.warm_up(["starter"])
    (pid,) = until(lambda: started(home))
    with pool.borrow("starter") as runner:
        catalogue(runner)
    with pool.borrow("other") as runner:
        assert runner.pid == pid


@pytest.mark.parametrize("model", ["broken", "unknown"])
def test_a_model_that_cannot_be_made_leaves_its_runner_as_it_was(
    pool: RunnerPool, model: str
) -> None:
    pool.warm_up([model])
    with pool.borrow(model) as runner:
        assert "starter" in catalogue(runner)


def make(pool: RunnerPool, home: Path, times: int) -> int:
    """Make the model in a runner some more times, as its jobs do; return the process."""
    with pool.borrow("hoarder") as runner:
        for _ in range(times):
            runner.send({"action": "warm up", "models": ["hoarder"]})
            until(lambda: runner.receive(1.0) == {})
        return runner.pid


@pytest.fixture
def idle_pool(pool: RunnerPool, home: Path, monkeypatch: pytest.MonkeyPatch) -> RunnerPool:
    """A pool whose runner was warmed up for a model that leaves 160 MiB each time it is made."""
    monkeypatch.setattr(runner_pool, "IDLE_SECONDS", 0.0)
    home.joinpath("go").touch()
    pool.warm_up(["hoarder"])
    until(lambda: started(home))
    return pool


def test_a_runner_that_has_grown_is_replaced_by_one_that_is_warm(
    idle_pool: RunnerPool, home: Path
) -> None:
    old = make(idle_pool, home, times=1)
    (home / "go").unlink()
    idle_pool.recycle()
    (new,) = until(lambda: started(home) - {old})
    idle_pool.recycle()
    assert make(idle_pool, home, times=0) == old  # while the other is still importing
    (home / "go").touch()
    until(lambda: (idle_pool.recycle(), make(idle_pool, home, times=0) == new)[1])
    until(lambda: not psutil.pid_exists(old))


def test_a_runner_that_never_becomes_warm_is_given_up(
    idle_pool: RunnerPool, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = make(idle_pool, home, times=1)
    (home / "go").unlink()
    idle_pool.recycle()
    (new,) = until(lambda: started(home) - {old})
    monkeypatch.setattr(runner_pool, "WARM_UP_SECONDS", 0.0)
    idle_pool.recycle()
    until(lambda: not psutil.pid_exists(new))
    (home / "go").touch()
    assert make(idle_pool, home, times=0) == old


def test_a_runner_that_has_not_grown_is_kept(idle_pool: RunnerPool, home: Path) -> None:
    for _ in range(10):
        pid = make(idle_pool, home, times=0)
        idle_pool.recycle()
    assert started(home) == {pid}


def test_a_runner_that_has_just_run_a_job_is_kept(
    idle_pool: RunnerPool, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner_pool, "IDLE_SECONDS", 60.0)
    old = make(idle_pool, home, times=1)
    idle_pool.recycle()
    assert started(home) == {old}


def test_the_next_models_are_those_of_the_jobs_that_are_claimed_next(db: Database) -> None:
    assert jobs.next_models(db, "default", 3) == []
    job_rows.add(db, [a_spec(model="last")])
    job_rows.add(db, [a_spec(model="urgent")], priority=5)
    jobs.hold(db, job_rows.add(db, [a_spec(model="held")], priority=9)[0])
    job_rows.add(db, [a_spec(model="other")], pool="other")
    job_rows.add(db, [a_spec(model="gpu", device="gpu")], priority=9, pool="default")
    job_rows.add(db, [a_spec(model="last")])
    assert jobs.next_models(db, "default", 3) == ["urgent", "last", "last"]
    assert jobs.next_models(db, "default", 1) == ["urgent"]
    assert jobs.next_models(db, "other", 3) == ["other"]
    assert jobs.next_models(db, "empty", 3) == ["last"]  # of the newest job


def test_up_warms_up_what_was_used_last(tmp_path: Path, cache: Path) -> None:
    zoo = Zoo(share(cache, tmp_path / "home"), **ENV)
    (zoo.home / "go").touch()
    try:
        zoo.run("train", "starter", "--dataset", "digits")
        zoo.run("down")
        zoo.run("up")
        warm = until(lambda: len(found := started(zoo.home)) == 2 and found)
        zoo.run("train", "starter", "--dataset", "digits")
        assert started(zoo.home) == warm  # the job ran where the model was made before
    finally:
        zoo.close()
