"""Cancels at random moments: each job ends once, and only the right ones are hit."""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from helpers.command_line import Zoo, until
from helpers.processes import Broker, runners
from helpers.promise_check import Verdict, judge, watch_commits

from zoo import jobs
from zoo.job_spec import JobSpec
from zoo.jobs import Database
from zoo.queue import submit

PLUGINS = Path(__file__).parents[1] / "plugins"


@dataclass(frozen=True)
class Plan:
    """How many jobs of which kind."""

    cancels: int = 1000
    innocent: int = 100
    endless: int = 6
    """Of the cancelled jobs, those that would run for ever: each costs its runner its life."""
    grace: float = 3.0
    """Seconds within which a running job ends once it is cancelled."""


@dataclass
class Result:
    """What was hit, and whether anything went wrong."""

    hit: Counter[str]
    """Cancels by what the job was doing."""
    runners: int
    """Processes of the worker at the end, before it was stopped: runners, and one that stores."""
    seconds: float
    verdict: Verdict


class Cancels:
    """Two slots, jobs of milliseconds, and a hand that cancels."""

    def __init__(self, plan: Plan, team: Zoo, db: Database, worker: int) -> None:
        self.plan = plan
        self.team = team
        self.db = db
        self.worker = worker
        self.random = random.Random(3)
        self.hit: Counter[str] = Counter()
        """Cancels by what the job was doing."""

    def submit(self) -> dict[str, set[str]]:
        """Every job with the statuses in which it may end, in the order of their age."""
        plan = self.plan
        kinds = ["tiny"] * (plan.cancels - plan.endless) + ["endless"] * plan.endless
        kinds += ["innocent"] * plan.innocent
        self.random.shuffle(kinds)
        endless = {"until": "/never", "trick": "tell_pid"}
        # As long as a cancel takes, so that many hit a job that waits and many one that has ended.
        tiny = [{"seconds": self.random.uniform(0.0, 0.03)} for _ in kinds]
        specs = [
            _job(**(endless if kind == "endless" else nap))
            for kind, nap in zip(kinds, tiny, strict=True)
        ]
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
        tiny = [ref for ref in left if ref not in endless]
        # However quick or slow the machine is, some still wait, and some have ended.
        for ref in tiny[: self.plan.endless]:
            self._cancel(ref)
        del tiny[: self.plan.endless]
        jobs.resume(self.db, "default")
        submit.wake(self.db, self.team.settings)
        moments = ["ended"] * self.plan.endless + ["any"] * (len(tiny) - self.plan.endless)
        self.random.shuffle(moments)
        while tiny or endless:
            running = self._ids("running")
            for ref in running & endless:
                self._cancel_while_it_runs(ref)
                endless.discard(ref)
            ref = self._pick(tiny, moments[-1]) if tiny else None
            if ref is not None:
                tiny.remove(ref)
                moments.pop()
                self._cancel(ref)
            time.sleep(self.random.uniform(0.0, 0.002))

    def _cancel(self, ref: str) -> None:
        self.hit[jobs.cancel(self.db, ref) or "ended"] += 1

    def _pick(self, tiny: list[str], moment: str) -> str | None:
        if moment == "ended":
            ended = self._ids("succeeded").intersection(tiny)
            return min(ended) if ended else None
        # The oldest is running, ending or done by now; any other most likely waits.
        oldest = self.random.random() < 0.3
        return tiny[0 if oldest else self.random.randrange(len(tiny))]

    def _ids(self, status: str) -> set[str]:
        return {job.id for job in jobs.listing(self.db, statuses=[status], limit=10**6)}

    def _cancel_while_it_runs(self, ref: str) -> None:
        pid = until(lambda: self._runner_of(ref))
        asked = time.monotonic()
        self._cancel(ref)
        until(lambda: jobs.get(self.db, ref).is_terminal, self.plan.grace)
        until(lambda: pid not in {runner.pid for runner in runners(self.worker)}, self.plan.grace)
        assert time.monotonic() - asked < self.plan.grace

    def _runner_of(self, ref: str) -> int | None:
        """The process that runs the job, as the job itself has printed it."""
        text = "".join(chunk.text for chunk in jobs.log_after(self.db, ref))
        return int(text) if text.endswith("\n") else None


def _job(**params: object) -> JobSpec:
    return JobSpec(kind="train", model="trickster", params=params, dataset="digits")


def run(plan: Plan, home: Path) -> Result:
    """One run on a worker with two slots, in an empty folder."""
    broker = Broker()
    plugins = {"ZOO_PLUGINS_DIR": str(PLUGINS), "ZOO_PLUGINS": "trickster,sklearn"}
    team = Zoo(home, **plugins, ZOO_BROKER_URL=broker.url)
    db = team.database()
    watch_commits(db)
    command = [sys.executable, "-m", "zoo", "worker", "start", "--slots", "2"]
    with (home / "worker.log").open("wb") as log:
        worker = subprocess.Popen(command, env=team.env, stdout=log, stderr=log)
    began = time.monotonic()
    try:
        until(lambda: worker.pid in {w.pid for w in jobs.workers(db)})
        cancels = Cancels(plan, team, db, worker.pid)
        jobs.pause(db, "default")
        accepted = cancels.submit()
        cancels.cancel(accepted)
        until(lambda: not {"queued", "running"} & set(jobs.counts(db)), 600)
        left = len(runners(worker.pid))
        worker.terminate()
        worker.wait(120)
        seconds = time.monotonic() - began
        return Result(cancels.hit, left, seconds, judge(team, db, accepted))
    finally:
        worker.kill()
        worker.wait()
        broker.kill()
        db.close()


def main() -> int:
    """Run as the options say; 1 if a job ended twice, or another than the right one was hit."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--cancels", type=int, default=1000)
    given = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="zoo-cancels-") as folder:
        result = run(Plan(given.cancels), Path(folder) / "home")
    hit = ", ".join(f"{n} {what}" for what, n in sorted(result.hit.items()))
    print(f"{result.hit.total()} cancels ({hit}), {Plan().innocent} jobs left alone", end=" ")
    print(f"in {result.seconds:.0f} s: {'as promised' if result.verdict else result.verdict}")
    return 0 if result.verdict else 1


if __name__ == "__main__":
    sys.exit(main())
