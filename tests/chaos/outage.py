"""The broker goes away for a while: submissions are accepted and run once it is back."""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from helpers.command_line import Zoo, until
from helpers.processes import Broker

from zoo import jobs

PLUGINS = Path(__file__).parents[1] / "plugins"
ANSWER_SECONDS = 3.0
LONGEST_PAUSE = 60.0
"""A worker that was just refused connects again within half of it."""


@dataclass
class Outage:
    """What it was like."""

    slowest: float
    """Seconds of the slowest submission, the start of its process included."""
    refs: list[str]
    recovery: float
    """Seconds from the broker's return until every job had succeeded."""
    waited: float
    """Longest time from a submission to the job's start."""
    lines: list[str]
    """The worker's log, but for the lines about jobs."""


def run(home: Path, seconds: float, how: str, every: float = 0.0) -> Outage:
    """Take the broker away for so long, `dead` or `mute`, and submit all the while.

    `every` is the time between two submissions.
    """
    broker = Broker()
    plugins = {"ZOO_PLUGINS_DIR": str(PLUGINS), "ZOO_PLUGINS": "trickster,sklearn"}
    zoo = Zoo(home, **plugins, ZOO_BROKER_URL=broker.url)
    db = zoo.database()
    command = [sys.executable, "-m", "zoo", "worker", "start", "--slots", "1"]
    with (home / "worker.log").open("wb") as log:
        worker = subprocess.Popen(command, env=zoo.env, stdout=log, stderr=log)
    try:
        until(lambda: worker.pid in {w.pid for w in jobs.workers(db)})
        refs, slowest = _without_broker(broker, zoo, seconds, how, every)
        back = time.monotonic()
        until(lambda: {jobs.get(db, ref).status for ref in refs} == {"succeeded"})
        took = time.monotonic() - back
        lines = (home / "worker.log").read_text
        if "Meanwhile" in lines():  # else it has noticed nothing
            until(lambda: "delivers hints again" in lines(), LONGEST_PAUSE)
        assert worker.poll() is None, lines()
        waited = max((job.started_at or 0) - job.created_at for job in jobs.get_many(db, refs))
        told = [each for each in lines().splitlines() if " INFO job " not in each]
        return Outage(slowest, refs, took, waited, told)
    finally:
        worker.terminate()
        worker.wait(120)
        broker.kill()


def _without_broker(
    broker: Broker, zoo: Zoo, seconds: float, how: str, every: float
) -> tuple[list[str], float]:
    server = broker.process
    broker.kill() if how == "dead" else server.suspend()
    refs, slowest = [], 0.0
    try:
        ends = time.monotonic() + seconds
        while len(refs) < 2 or time.monotonic() < ends:
            began = time.monotonic()
            done = zoo.run("train", "trickster", "--dataset", "digits", "-d")
            slowest = max(slowest, time.monotonic() - began)
            assert "queued; broker unreachable" in done.stderr, done.stderr
            refs.append(done.stdout.strip())
            time.sleep(max(0.0, every - (time.monotonic() - began)))
    finally:
        broker.start() if how == "dead" else server.resume()
    return refs, slowest


def main() -> int:
    """Take a broker away, once dead and once mute; 1 if a submission waited for it."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seconds", type=float, default=60.0)
    options.add_argument("--every", type=float, default=0.0, help="seconds between submissions")
    given = options.parse_args()
    slowest = 0.0
    for how in ("dead", "mute"):
        with tempfile.TemporaryDirectory(prefix="zoo-outage-") as folder:
            found = run(Path(folder), given.seconds, how, given.every)
        slowest = max(slowest, found.slowest)
        print(f"\nbroker {how} for {given.seconds:g} s")
        print(f"  submitted meanwhile    {len(found.refs)}, all succeeded")
        print(f"  slowest answer         {found.slowest:.1f} s")
        print(f"  all done after         {found.recovery:.1f} s")
        print(f"  longest wait for a job {found.waited:.1f} s")
        print(f"  lines of the worker    {len(found.lines)}:")
        print("".join(f"    {line}\n" for line in found.lines))
    return 0 if slowest < ANSWER_SECONDS else 1


if __name__ == "__main__":
    sys.exit(main())
