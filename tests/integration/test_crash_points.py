"""A worker that dies at any step between claim and commit leaves a job that converges."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from helpers import command_server, servers
from helpers.command_line import Zoo, share, until
from helpers.command_server import Command
from helpers.crashing_worker import CHECKPOINTS, EXIT_CODE, POINTS, RUNGS, TOGETHER
from helpers.processes import Broker
from helpers.promise_check import Verdict, judge, watch_commits

from zoo import jobs
from zoo.job_spec import JobSpec
from zoo.jobs import Database, Pruner
from zoo.queue import submit
from zoo.storage import artifacts

TESTS = Path(__file__).parents[1]
CRASHING = TESTS / "helpers" / "crashing_worker.py"
QUICK = {
    "ZOO_BEAT_SECONDS": "0.1",
    "ZOO_REAP_SECONDS": "0.2",
    "ZOO_RESEND_SECONDS": "0.3",
    "ZOO_BACKOFF_SECONDS": "0",
    "ZOO_MAX_ATTEMPTS": "50",  # a busy machine may let the short lease pass more than once
    "ZOO_PLUGINS_DIR": str(TESTS / "plugins"),
    "ZOO_PLUGINS": "trickster,counter,climber,sklearn",
    "ZOO_CHECKPOINT_SECONDS": "0.000001",
}
SHORT, LONG = {"ZOO_LEASE_SECONDS": "0.4"}, {"ZOO_LEASE_SECONDS": "600"}
"""Of the worker that dies; of the one that comes after it, however busy the machine is."""


class Scene:
    """A home with a broker and a worker that survives; the workers that die come and go."""

    def __init__(self, home: Path, url: str) -> None:
        self.broker = Broker()
        self.zoo = Zoo(home, **QUICK, ZOO_BROKER_URL=self.broker.url, ZOO_DATABASE_URL=url)
        self.db = Database(url)
        watch_commits(self.db)
        self.started: list[subprocess.Popen[bytes] | Command] = []
        command = [sys.executable, "-m", "zoo", "worker", "start", "--slots", "1"]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self.started.append(subprocess.Popen(command, env=self.zoo.env | LONG, **quiet))

    def hire_one_that_dies(self, point: str, env: dict[str, str]) -> Command:
        with open(os.devnull, "w") as nothing:  # noqa: PTH123
            quiet = {"stdout": nothing.fileno(), "stderr": nothing.fileno()}
            worker = command_server.start([point], self.zoo.env | env, CRASHING, "workers", **quiet)
        self.started.append(worker)
        return worker

    def end(self) -> Verdict:
        """Let the survivor leave; what the workers have left behind."""
        self.started[0].terminate()
        for worker in self.started:
            worker.wait(120)
        self.broker.kill()
        found = judge(self.zoo, self.db, {})
        self.db.close()
        return found


@pytest.fixture(scope="module")
def scenes(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, cache: Path
) -> Iterator[Callable[[str], Scene]]:
    """The scene on each database, which its tests share: a worker costs more than a test."""
    found: dict[str, Scene] = {}

    def scene(database: str) -> Scene:
        if database not in found:
            home = share(cache, tmp_path_factory.mktemp("crash") / "home")
            if database == "sqlite":
                url = f"sqlite:///{home / 'zoo.db'}"
                jobs.connect(url).close()
            else:
                url = request.getfixturevalue("postgresql")
                servers.empty(url)
            found[database] = Scene(home, url)
        return found[database]

    yield scene
    for each in found.values():
        left = each.end()
        assert left, left


def on(database: str, point: str) -> object:
    """The tests on one database are for one process of the suite."""
    group = pytest.mark.xdist_group(f"test_crash_points, {database}")
    return pytest.param(database, point, marks=group)


@pytest.mark.parametrize(
    ("database", "point"),
    [*(on("sqlite", point) for point in POINTS), on("postgresql", "before_commit")],
)
def test_a_job_whose_worker_dies_at_this_point_converges(
    database: str, point: str, scenes: Callable[[str], Scene]
) -> None:
    scene = scenes(database)
    team, db = scene.zoo, scene.db
    end = team.home.parent / f"end-{point}"
    (other,) = submit.submit(db, team.settings, [job(until=str(end))]).ids
    until(lambda: jobs.get(db, other).status == "running")
    # The survivor is busy, so the worker that dies gets the job.
    dies = scene.hire_one_that_dies(point, SHORT)
    until(lambda: dies.pid in {w.pid for w in jobs.workers(db)})
    (ref,) = submit.submit(db, team.settings, [job()]).ids
    assert dies.wait(120) == EXIT_CODE
    died = time.monotonic()
    end.touch()
    until(lambda: jobs.get(db, ref).is_terminal)
    print(f"{point}: {time.monotonic() - died:.2f} s")
    until(lambda: jobs.get(db, other).is_terminal and not list((team.home / "work").iterdir()))
    *before, last = [each.outcome for each in jobs.attempts(db, ref)]
    # On a busy machine the short lease may pass once more before its worker comes to the point.
    assert last == "succeeded" and set(before) <= {"lost"}
    assert before or point == "after_commit"
    # What the dead worker had stored is gone soon, too.
    stored = team.home / "artifacts" / ref
    until(lambda: [each.name for each in stored.iterdir()] == [str(len(before) + 1)])
    verdict = judge(team, db, {ref: {"succeeded"}, other: {"succeeded"}}, at_work=True)
    assert verdict, verdict


@pytest.mark.parametrize(
    ("database", "point"),
    [on(database, point) for database in ("sqlite", "postgresql") for point in CHECKPOINTS],
)
def test_a_training_whose_worker_dies_at_this_point_ends_with_the_same_bits(
    database: str, point: str, scenes: Callable[[str], Scene]
) -> None:
    scene = scenes(database)
    team, db = scene.zoo, scene.db
    end = team.home.parent / f"end-{point}"
    (other,) = submit.submit(db, team.settings, [job(until=str(end))]).ids
    until(lambda: jobs.get(db, other).status == "running")
    dies = scene.hire_one_that_dies(point, LONG)
    name = until(lambda: {w.pid: w.name for w in jobs.workers(db)}.get(dies.pid))
    # It waits in the middle, and saves a checkpoint whenever one is due.
    params = {"steps": 12, "at": 6, "until": str(end)}
    spec = JobSpec(kind="train", model="counter", params=params, dataset="digits")
    (ref,) = submit.submit(db, team.settings, [spec]).ids
    assert dies.wait(120) == EXIT_CODE
    jobs.expire_leases(db, name)
    (undisturbed,) = submit.submit(db, team.settings, [spec]).ids
    end.touch()
    until(lambda: all(jobs.get(db, each).is_terminal for each in (ref, other, undisturbed)))
    first, second = jobs.attempts(db, ref)
    is_named = point != "after_checkpoint_upload"
    assert (first.outcome, second.outcome) == ("lost", "succeeded")
    assert (first.counts, second.resumed_from is not None) == (int(not is_named), is_named)
    found = [jobs.get(db, each) for each in (ref, undisturbed)]
    mine, theirs = (
        artifacts.read(
            team.settings.artifacts, each.artifact, each.artifact_sha256, "weights/w.npy"
        )
        for each in found
    )
    assert mine == theirs
    stored = team.home / "artifacts" / ref
    until(lambda: [each.name for each in stored.iterdir()] == ["2"])
    verdict = judge(team, db, {each: {"succeeded"} for each in (ref, other)}, at_work=True)
    assert verdict, verdict


@pytest.mark.parametrize(
    ("database", "point"),
    [on(database, point) for database in ("sqlite", "postgresql") for point in RUNGS],
)
def test_a_sweep_whose_worker_dies_at_a_rung_ends_as_without_that(
    database: str, point: str, scenes: Callable[[str], Scene]
) -> None:
    scene = scenes(database)
    team, db = scene.zoo, scene.db
    end = team.home.parent / f"end-{point}"
    (other,) = submit.submit(db, team.settings, [job(until=str(end))]).ids
    until(lambda: jobs.get(db, other).status == "running")
    dies = scene.hire_one_that_dies(point, LONG)
    name = until(lambda: {w.pid: w.name for w in jobs.workers(db)}.get(dies.pid))
    base = JobSpec(kind="train", model="climber", params={}, dataset="digits", validation=0.2)
    rates = (0.001, 0.1, 0.00001)
    specs = [base.model_copy(update={"params": {"rate": each, "epochs": 2}}) for each in rates]
    pruner = Pruner("asha", "val_accuracy", max_resource=2)
    done = submit.submit(db, team.settings, specs, group_kind="sweep", pruner=pruner)
    assert dies.wait(120) == EXIT_CODE
    jobs.expire_leases(db, name)
    end.touch()
    until(lambda: all(jobs.get(db, each).is_terminal for each in (other, *done.ids)))
    found = [jobs.get(db, each).status for each in done.ids]
    entries = jobs.list_rungs(db, str(done.group))
    assert sorted(e.job_id for e in entries if e.rung == 0) == sorted(done.ids)
    (last,) = [e for e in entries if e.rung == 1]
    lowest = [e for e in entries if e.rung == 0]
    best = min(lowest, key=lambda e: (-(e.value or 0), done.ids.index(e.job_id)))
    assert last.job_id == best.job_id
    assert found == ["succeeded" if each == best.job_id else "pruned" for each in done.ids]
    until(lambda: not list((team.home / "work").iterdir()))


@pytest.mark.parametrize(
    ("database", "point"),
    [on(database, point) for database in ("sqlite", "postgresql") for point in TOGETHER],
)
def test_jobs_whose_worker_dies_while_it_ends_them_together_converge(
    database: str, point: str, scenes: Callable[[str], Scene]
) -> None:
    scene = scenes(database)
    team, db = scene.zoo, scene.db
    end = team.home.parent / f"end-{point}"
    (other,) = submit.submit(db, team.settings, [job(until=str(end))]).ids
    until(lambda: jobs.get(db, other).status == "running")
    # With an everyday lease: else each job would beat, and be ended by itself.
    dies = scene.hire_one_that_dies(point, LONG)
    name = until(lambda: {w.pid: w.name for w in jobs.workers(db)}.get(dies.pid))
    refs = submit.submit(db, team.settings, [job() for _ in range(6)]).ids
    assert dies.wait(120) == EXIT_CODE
    jobs.expire_leases(db, name)
    end.touch()
    until(lambda: all(jobs.get(db, ref).is_terminal for ref in [other, *refs]))
    until(lambda: not list((team.home / "work").iterdir()))
    tries = {ref: [each.outcome for each in jobs.attempts(db, ref)] for ref in refs}
    assert all(last == "succeeded" and set(first) <= {"lost"} for *first, last in tries.values())
    assert any(len(each) > 1 for each in tries.values()) or point == "several_committed"
    for ref, attempts in tries.items():
        stored = team.home / "artifacts" / ref
        until(lambda stored=stored, n=len(attempts): [f.name for f in stored.iterdir()] == [str(n)])
    expected = {ref: {"succeeded"} for ref in [other, *refs]}
    verdict = judge(team, db, expected, at_work=True)
    assert verdict, verdict


def job(**params: str) -> JobSpec:
    return JobSpec(kind="train", model="trickster", params=params, dataset="digits")
