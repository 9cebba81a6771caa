"""What a worker does beside its jobs."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import psutil
from helpers.command_line import until
from zoo_workers import housekeeping

from zoo import jobs
from zoo.job_spec import JobSpec
from zoo.jobs import Database

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
