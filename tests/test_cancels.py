"""A thousand cancels at random moments: each job ends once, and only the right ones are hit."""

from __future__ import annotations

import contextlib
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from machines import Broker, runners
from support import Zoo, until
from verdict import judge, watch_commits

from zoo import jobs, submit
from zoo.jobs import Database
from zoo.spec import JobSpec

PLUGINS = Path(__file__).parent / "plugins"
CANCELS = 1000
INNOCENT = 100
ENDLESS = 6
"""Cancelled jobs that would run for ever: each costs its runner its life."""
GRACE_SECONDS = 3.0


@pytest.fixture
def team(tmp_path: Path) -> Iterator[Zoo]:
    broker = Broker()
    plugins = {"ZOO_PLUGINS_DIR": str(PLUGINS), "ZOO_PLUGINS": "trickster,sklearn"}
    yield Zoo(tmp_path / "home", **plugins, ZOO_BROKER_URL=broker.url)
    broker.kill()


@pytest.fixture
def worker(team: Zoo) -> Iterator[subprocess.Popen[bytes]]:
    """A worker with two slots."""
    command = [sys.executable, "-m", "zoo", "worker", "start", "--slots", "2"]
    with (team.home.parent / "worker.log").open("wb") as log:
        started = subprocess.Popen(command, env=team.env, stdout=log, stderr=log)
    yield started
    started.kill()
    started.wait()


class Cancels:
    """Two slots, jobs of milliseconds, and a hand that cancels."""

    def __init__(self, team: Zoo, db: Database, worker: int) -> None:
        self.team = team
        self.db = db
        self.worker = worker
        self.random = random.Random(3)
        self.hit: Counter[str] = Counter()
        """Cancels by what the job was doing."""

    def submit(self) -> dict[str, set[str]]:
        """Every job with the statuses in which it may end, in the order of their age."""
        kinds = ["tiny"] * (CANCELS - ENDLESS) + ["endless"] * ENDLESS + ["innocent"] * INNOCENT
        self.random.shuffle(kinds)
        specs = [_job(until="/never" if kind == "endless" else "") for kind in kinds]
        done = submit.submit(self.db, self.team.settings, specs)
        may = {
            "tiny": {"cancelled", "succeeded"},
            "endless": {"cancelled"},
            "innocent": {"succeeded"},
        }
        return {ref: may[kind] for ref, kind in zip(done.ids, kinds, strict=True)}

    def cancel(self, accepted: dict[str, set[str]]) -> None:
        """Cancel all but the innocent: the endless once they run, the others at any moment."""
        left = [ref for ref, statuses in accepted.items() if "cancelled" in statuses]
        endless = {ref for ref in left if "succeeded" not in accepted[ref]}
        waiting = [ref for ref in left if ref not in endless]
        while waiting or endless:
            running = {job.id for job in jobs.listing(self.db, statuses=["running"])}
            for ref in running & endless:
                self._cancel_while_it_runs(ref)
                endless.discard(ref)
            if waiting:
                # The oldest is running, ending or done by now; any other most likely waits.
                oldest = self.random.random() < 0.3
                at = 0 if oldest else self.random.randrange(len(waiting))
                self.hit[jobs.cancel(self.db, waiting.pop(at)) or "ended"] += 1
            time.sleep(self.random.uniform(0.0, 0.008))

    def _cancel_while_it_runs(self, ref: str) -> None:
        until(lambda: self._has_a_runner(ref))
        asked = time.monotonic()
        self.hit[jobs.cancel(self.db, ref) or "ended"] += 1
        until(lambda: jobs.get(self.db, ref).is_terminal, GRACE_SECONDS)
        until(lambda: not self._has_a_runner(ref), GRACE_SECONDS)
        assert time.monotonic() - asked < GRACE_SECONDS

    def _has_a_runner(self, ref: str) -> bool:
        """Whether some runner of the worker has the log of the job open."""
        for runner in runners(self.worker):
            with contextlib.suppress(psutil.Error):
                if any(ref in each.path for each in runner.open_files()):
                    return True
        return False


def _job(**params: object) -> JobSpec:
    return JobSpec(kind="train", model="trickster", params=params, dataset="digits")


def test_a_thousand_cancels_end_each_job_once_and_hit_no_other(
    team: Zoo, worker: subprocess.Popen[bytes]
) -> None:
    db = team.database()
    watch_commits(db)
    until(lambda: worker.pid in {w.pid for w in jobs.workers(db, beat=1)})
    cancels = Cancels(team, db, worker.pid)
    accepted = cancels.submit()
    cancels.cancel(accepted)
    until(lambda: not {"queued", "running"} & set(jobs.counts(db)), 60)
    assert len(runners(worker.pid)) <= 2
    worker.terminate()
    worker.wait(30)
    assert cancels.hit.total() == CANCELS
    assert min(cancels.hit[each] for each in ("cancelled", "running", "ended")) >= ENDLESS
    verdict = judge(team, db, accepted)
    assert verdict, verdict
