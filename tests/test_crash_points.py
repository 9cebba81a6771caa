"""A worker that dies at any step between claim and commit leaves a job that converges."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from crashing_worker import EXIT_CODE, POINTS
from machines import Broker
from support import Zoo, until
from verdict import judge, watch_commits

from zoo import jobs, submit
from zoo.jobs import Database
from zoo.spec import JobSpec

TESTS = Path(__file__).parent
QUICK = {
    "ZOO_BEAT_SECONDS": "0.1",
    "ZOO_REAP_SECONDS": "0.05",
    "ZOO_RESEND_SECONDS": "0.3",
    "ZOO_BACKOFF_SECONDS": "0",
    "ZOO_MAX_ATTEMPTS": "50",  # a busy machine may let the short lease pass more than once
    "ZOO_PLUGINS_DIR": str(TESTS / "plugins"),
    "ZOO_PLUGINS": "trickster,sklearn",
}
SHORT, LONG = {"ZOO_LEASE_SECONDS": "0.4"}, {"ZOO_LEASE_SECONDS": "30"}
"""Of the worker that dies; of the one that comes after it, however busy the machine is."""
Hire = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture(scope="module")
def broker() -> Iterator[Broker]:
    found = Broker()
    yield found
    found.kill()


@pytest.fixture
def team(tmp_path: Path, broker: Broker, db: Database) -> Zoo:
    watch_commits(db)
    broker.flush()
    return Zoo(tmp_path / "home", **QUICK, ZOO_BROKER_URL=broker.url, ZOO_DATABASE_URL=db.url)


@pytest.fixture
def hire(team: Zoo) -> Iterator[Hire]:
    started = []

    def start(*command: str, **env: str) -> subprocess.Popen[bytes]:
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        started.append(subprocess.Popen([sys.executable, *command], env=team.env | env, **quiet))
        return started[-1]

    yield start
    for worker in started:
        worker.kill()
        worker.wait()


@pytest.mark.parametrize(
    ("db", "point"),
    [*(("sqlite", point) for point in POINTS), ("postgresql", "before_commit")],
    indirect=["db"],
)
def test_a_job_whose_worker_dies_at_this_point_converges(
    point: str, team: Zoo, db: Database, hire: Hire
) -> None:
    second = hire("-m", "zoo", "worker", "start", "--slots", "1", **LONG)
    end = team.home.parent / "end"
    (other,) = submit.submit(db, team.settings, [job(until=str(end))]).ids
    until(lambda: jobs.get(db, other).status == "running")
    # The second worker is busy, so the first one that dies gets the job.
    first = hire(str(TESTS / "crashing_worker.py"), point, **SHORT)
    until(lambda: first.pid in {w.pid for w in jobs.workers(db, beat=1)})
    (ref,) = submit.submit(db, team.settings, [job()]).ids
    assert first.wait(30) == EXIT_CODE
    died = time.monotonic()
    end.touch()
    until(lambda: jobs.get(db, ref).is_terminal)
    print(f"{point}: {time.monotonic() - died:.2f} s")
    until(lambda: not list((team.home / "work").iterdir()))
    second.terminate()
    second.wait(30)
    *before, last = [each["outcome"] for each in jobs.attempts(db, ref)]
    # On a busy machine the short lease may pass once more before its worker comes to the point.
    assert last == "succeeded" and set(before) <= {"lost"}
    assert before or point == "after_commit"
    # What the dead worker had stored is gone, too.
    stored = [folder.name for folder in (team.home / "artifacts" / ref).iterdir()]
    assert stored == [str(len(before) + 1)]
    assert judge(team, db, {ref: {"succeeded"}, other: {"succeeded"}})


def job(**params: str) -> JobSpec:
    return JobSpec(kind="train", model="trickster", params=params, dataset="digits")
