"""What a worker does beside its jobs."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from helpers.command_line import until
from helpers.finished_jobs import a_spec, succeed
from zoo_workers import housekeeping
from zoo_workers.runner_pool import RunnerPool
from zoo_workers.slots import Supervisor

from zoo import jobs
from zoo.job_spec import JobSpec
from zoo.jobs import Database, retention
from zoo.settings import Settings
from zoo.storage import removals

SPEC = JobSpec(kind="train", model="logistic", params={}, dataset="digits")


def claimed_by(db: Database, worker: str) -> str:
    known = {"models": {"logistic": "p 1"}, "datasets": ["digits"]}
    jobs.add(db, [SPEC])
    taken = jobs.claim(db, pool="default", worker=worker, lease=600, **known)
    assert taken
    return taken[1].id


def test_a_new_local_worker_takes_over_what_dead_ones_of_its_machine_held(db: Database) -> None:
    here = socket.gethostname()
    unburied = subprocess.Popen([sys.executable, "-c", ""])
    until(lambda: psutil.Process(unburied.pid).status() == psutil.STATUS_ZOMBIE)
    buried = subprocess.Popen([sys.executable, "-c", ""])
    buried.wait()
    dead = {claimed_by(db, f"{here}-{pid}") for pid in (unburied.pid, buried.pid)}
    for worker in (f"{here}-{os.getpid()}", f"elsewhere-{buried.pid}", "w"):
        claimed_by(db, worker)
    housekeeping.take_over(db)
    assert {job for job, _ in jobs.reap(db, backoff=0)} == dead
    unburied.wait()


def test_removal_goes_on_without_a_wait_for_the_next_reaping(
    db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(housekeeping, "REMOVAL_SECONDS", 0.001)
    for module in (retention, removals):
        monkeypatch.setattr(module, "AT_ONCE", 1)
    for _ in range(9):
        succeed(db, [a_spec()])
    stores = {"database_url": db.url, "artifacts_url": str(tmp_path)}
    never = 1e9  # also longer than the machine has been running
    seldom = {"reap_seconds": never, "beat_seconds": never}
    setup = Settings(home=tmp_path, keep_jobs="2", **stores, **seldom)  # type: ignore[arg-type]
    runners = RunnerPool(tmp_path, jobs_per_runner=1, memory_mb=1.0)
    slots = Supervisor(db, setup, runners, "w", "default", 1)
    keeper = housekeeping.Housekeeper(None, slots, "w", lambda: None)  # type: ignore[arg-type]
    keeper.start()
    try:
        keeper.health.on_change()  # which wakes it
        until(lambda: jobs.count(db, jobs.ALL_JOBS) == 2 and not jobs.list_removals(db), 20)
    finally:
        keeper.end()
