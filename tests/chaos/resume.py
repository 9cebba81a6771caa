"""Kill trainings at random moments, and compare what they end with: `python -m chaos.resume`.

Each training is killed several times, on each database and each artifact store in turn. It must end
with the files of a training that was never touched and that saved no checkpoint, bit for bit, and
repeat at most the interval between two checkpoints, one step and one upload. The victim is the
runner, the worker, or the whole machine: a namespace of processes, whose first one is killed.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import fsspec
from helpers import servers
from helpers.command_line import Zoo, share, until
from helpers.processes import Broker, Postgresql, Sqlite, runners

from zoo import jobs
from zoo.job_spec import JobSpec
from zoo.jobs import Database, Job
from zoo.queue import submit
from zoo.storage import artifacts

PLUGINS = Path(__file__).parents[1] / "plugins"
PLACES = list(itertools.product(("sqlite", "postgresql"), ("folder", "s3")))
VICTIMS = ("runner", "worker", "machine")
LEASE = {"ZOO_BEAT_SECONDS": "1", "ZOO_LEASE_SECONDS": "6"}
SAME = ("weights/", "history.json", "predictions.npz")
"""The files that must be the same, by the beginning of their names."""
LONGEST = 3600.0
"""Seconds that a training may take altogether."""


@dataclass(frozen=True)
class Training:
    """A training of a minute and more."""

    model: str
    params: Mapping[str, Any]
    dataset: str = "mnist"
    validation: float | None = None

    def spec(self, params: Mapping[str, Any]) -> JobSpec:
        return JobSpec(
            kind="train",
            model=self.model,
            params={**self.params, **params},
            dataset=self.dataset,
            validation=self.validation,
        )


TRAININGS = {
    "counter": Training("counter", {"steps": 400, "seconds": 0.15}, "digits"),
    "dense-softmax": Training(
        "dense-softmax",
        {
            "hidden": [100],
            "dropout": 0.3,
            "schedule": "cosine",
            "learning_rate": 0.001,
            "epochs": 40,
            "patience": 30,
            "restore_best": True,
        },
        validation=0.1,
    ),
    "lenet-5": Training("lenet-5", {"distortion": 0.5, "epochs": 5}),
    "logistic": Training("logistic", {"max_iter": 120, "tol": None}),
}


@dataclass(frozen=True)
class Plan:
    """What is killed, and how often."""

    training: Training
    params: Mapping[str, Any]
    victim: str
    moments: int
    per_fit: int
    seconds: float
    """Interval between two checkpoints."""
    seed: int


@dataclass
class Result:
    """What has come of the kills in one place."""

    kills: int = 0
    fits: int = 0
    resumed: int = 0
    """Attempts that went on from a checkpoint."""
    differ: list[str] = field(default_factory=list)
    repeated: list[float] = field(default_factory=list)
    """Seconds of training that were lost with each kill."""

    def __iadd__(self, other: Result) -> Result:
        self.kills += other.kills
        self.fits += other.fits
        self.resumed += other.resumed
        self.differ += other.differ
        self.repeated += other.repeated
        return self


class Machine:
    """A worker with a home of its own; as a namespace it can be killed as a whole."""

    def __init__(self, name: str, zoo: Zoo, *, is_apart: bool) -> None:
        self.name = name
        self.zoo = zoo
        command = [sys.executable, "-m", "zoo", "worker", "start", "--slots", "1"]
        if is_apart:
            # Its first process is killed with `unshare`, and the kernel kills the others with it.
            alone = ["unshare", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc"]
            command = [*alone, "sh", "-c", f'hostname {name}; exec "$@"', "sh", *command]
        with (zoo.home / "worker.log").open("ab") as log:
            self.process = subprocess.Popen(command, env=zoo.env, stdout=log, stderr=log)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


class Scene:
    """Two machines, a database, a broker and an artifact store."""

    def __init__(self, plan: Plan, database: str, place: str, folder: Path) -> None:
        self.plan = plan
        self.name = f"{database}, {place}"
        self._folder = folder
        folder.mkdir(parents=True)
        self._numbers = itertools.count(1)
        self._stack = contextlib.ExitStack()
        broker = Broker()
        self._stack.callback(broker.kill)
        store = Sqlite(self._home("rows"), 0) if database == "sqlite" else Postgresql()
        self._stack.callback(store.close)
        self._env = LEASE | {
            "ZOO_BROKER_URL": broker.url,
            "ZOO_DATABASE_URL": store.url,
            "ZOO_CHECKPOINT_SECONDS": str(plan.seconds),
            # All kills of a fit may come before a checkpoint has moved on.
            "ZOO_MAX_ATTEMPTS": str(plan.per_fit + 1),
            "ZOO_ARTIFACTS_URL": f"file://{folder}/artifacts",
            "ZOO_PLUGINS_DIR": str(PLUGINS),
            "ZOO_PLUGINS": "counter,keras,sklearn",
        }
        if place == "s3":
            self._env |= self._stack.enter_context(_bucket(folder))
        self.zoo = Zoo(self._home("client"), **self._env)
        self.db = Database(store.url)
        self._stack.callback(self.db.close)
        self.machines = [self._machine() for _ in range(2)]

    def _home(self, name: str) -> Path:
        cache = self._folder.parent / "cache"
        cache.mkdir(parents=True, exist_ok=True)
        return share(cache, self._folder / name)

    def _machine(self) -> Machine:
        name = f"zoo-m{next(self._numbers)}"
        zoo = Zoo(self._home(name), **self._env)
        return Machine(name, zoo, is_apart=self.plan.victim == "machine")

    def close(self) -> None:
        for each in self.machines:
            each.kill()
        self._stack.close()

    def submit(self) -> str:
        spec = self.plan.training.spec(self.plan.params)
        return submit.submit(self.db, self.zoo.settings, [spec]).ids[0]

    def kill(self, job: Job) -> None:
        """Kill what runs the job; a machine or worker is replaced by a new one."""
        owner = next((each for each in self.machines if self._runs(each, job)), None)
        assert owner, f"{job.worker} is none of {[each.process.pid for each in self.machines]}"
        if self.plan.victim == "runner":
            for each in runners(owner.process.pid):
                each.kill()
            return
        owner.kill()
        self.machines[self.machines.index(owner)] = self._machine()

    def _runs(self, machine: Machine, job: Job) -> bool:
        worker = str(job.worker)
        if self.plan.victim == "machine":
            return worker.startswith(f"{machine.name}-")
        return worker.endswith(f"-{machine.process.pid}")

    def files(self, job: Job) -> dict[str, str]:
        """The sha256 of the files that must be the same."""
        where, sha256 = str(job.artifact), str(job.artifact_sha256)
        found = artifacts.files(self.zoo.settings.artifacts, where, sha256)
        return {name: each["sha256"] for name, each in found.items() if name.startswith(SAME)}

    def leftovers(self, ref: str) -> list[str]:
        return artifacts.folders(self.zoo.settings.artifacts, f"{ref}/{jobs.CHECKPOINTS}")


@contextlib.contextmanager
def _bucket(folder: Path) -> Iterator[dict[str, str]]:
    port = servers.free_port()
    with servers.s3("127.0.0.1", port, folder / "s3.log"):
        env = {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
            "AWS_ACCESS_KEY_ID": "zoo",
            "AWS_SECRET_ACCESS_KEY": "a-secret-key",
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        os.environ.update(env)
        fsspec.filesystem("s3").clear_instance_cache()
        artifacts.check("s3://models/team")
        yield env | {"ZOO_ARTIFACTS_URL": "s3://models/team"}


def reference(plan: Plan, folder: Path) -> tuple[dict[str, str], float]:
    """Train without a kill and without checkpoints; return its files and the seconds of its fit."""
    scene = Scene(_without_checkpoints(plan), "sqlite", "folder", folder)
    try:
        job = _ended(scene, scene.submit())
        return scene.files(job), float(job.metrics["fit_seconds"])
    finally:
        scene.close()


def _without_checkpoints(plan: Plan) -> Plan:
    return Plan(plan.training, plan.params, "worker", 0, 0, 0.0, plan.seed)


def _ended(scene: Scene, ref: str) -> Job:
    until(lambda: jobs.get(scene.db, ref).is_terminal, LONGEST)
    job = jobs.get(scene.db, ref)
    assert job.status == "succeeded", f"{job.status}: {job.error}"
    return job


def kill_some(
    plan: Plan, scene: Scene, moments: int, expected: Mapping[str, str], fit_seconds: float
) -> Result:
    """Kill trainings at this number of moments, and see each through to its end."""
    result = Result()
    chance = random.Random(f"{plan.seed} {plan.victim} {plan.training.model} {scene.name}")
    while result.kills < moments:
        ref, killed = scene.submit(), 0
        for _ in range(min(plan.per_fit, moments - result.kills)):
            # On the average the kills are spread over the whole of a fit.
            delay = chance.uniform(0, 2 * fit_seconds / (plan.per_fit + 1))
            job = _training(scene, ref, killed, delay)
            if job is None:
                break
            killed = job.attempt
            scene.kill(job)
            result.kills += 1
            result.repeated.append(_repeated(scene, ref))
        job = _ended(scene, ref)
        result.fits += 1
        result.resumed += sum(a.resumed_from is not None for a in jobs.attempts(scene.db, ref))
        found = scene.files(job)
        result.differ += [
            f"{ref}: {name}"
            for name in sorted(found.keys() | expected.keys())
            if found.get(name) != expected.get(name)
        ]
        # They are deleted after the commit.
        with contextlib.suppress(AssertionError):
            until(lambda: not scene.leftovers(ref), 60)  # noqa: B023
        result.differ += [f"{ref}: left {name}" for name in scene.leftovers(ref)]
    return result


def _training(scene: Scene, ref: str, killed: int, delay: float) -> Job | None:
    """Wait until an attempt after the killed one has trained for so long; None if it has ended."""
    started: tuple[int, float] | None = None
    while True:
        job = jobs.get(scene.db, ref)
        if job.is_terminal:
            return None
        if job.attempt <= killed or job.status != "running" or job.fit_started_at is None:
            started = None
        elif started is None or started[0] != job.attempt:
            started = job.attempt, time.monotonic()
        elif time.monotonic() > started[1] + delay:
            return job
        time.sleep(0.05)


def _repeated(scene: Scene, ref: str) -> float:
    """Return the seconds of training, up to the kill, that no stored checkpoint has."""
    killed_at = jobs.clock(scene.db)
    job = until(lambda: (j := jobs.get(scene.db, ref)) and (j.attempt, j.status) and j)
    began = float(job.fit_started_at or killed_at)
    saved = float(job.checkpoint["at"]) if job.checkpoint else began
    return killed_at - max(began, saved)


def show(plan: Plan, place: str, result: Result) -> None:
    """Print a row of a table of Markdown."""
    ordered = sorted(result.repeated)
    median = ordered[len(ordered) // 2] if ordered else 0.0
    verdict = "the same" if not result.differ else f"DIFFER: {result.differ}"
    cells = [
        *(plan.training.model, plan.victim, place),
        *(str(result.kills), str(result.fits), str(result.resumed)),
        *(f"{median:.1f}", f"{max(ordered, default=0):.1f}", verdict),
    ]
    print(f"| {' | '.join(cells)} |", flush=True)


def run(
    plan: Plan,
    places: Sequence[tuple[str, str]],
    folder: Path,
    expected: Mapping[str, str],
    fit_seconds: float,
) -> Result:
    """Spread the moments over the databases and stores; print a row for each."""
    print("\n| model | killed | place | kills | fits | resumed | lost s, median | most | files |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    total = Result()
    for number, (database, place) in enumerate(places):
        moments = plan.moments * (number + 1) // len(places) - total.kills
        if not moments:
            continue
        own = folder / f"{plan.victim}-{database}-{place}"
        scene = Scene(plan, database, place, own)
        try:
            result = kill_some(plan, scene, moments, expected, fit_seconds)
        finally:
            scene.close()
        show(plan, scene.name, result)
        total += result
        shutil.rmtree(own, ignore_errors=True)
    return total


def main() -> int:
    """Run as the options say; 1 if a training has ended with other bits."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--model", action="append", choices=list(TRAININGS))
    options.add_argument("--victim", action="append", choices=VICTIMS)
    options.add_argument("--place", action="append", choices=[",".join(p) for p in PLACES])
    options.add_argument("--moments", type=int, default=20, help="kills of each victim")
    options.add_argument("--per-fit", type=int, default=5, help="most kills of one training")
    options.add_argument("--seconds", type=float, default=5.0, help="between two checkpoints")
    options.add_argument("--param", action="append", default=[], help="NAME=JSON")
    options.add_argument("--seed", type=int, default=1)
    given = options.parse_args()
    params = {name: json.loads(text) for name, _, text in (p.partition("=") for p in given.param)}
    places = [p for p in PLACES if not given.place or ",".join(p) in given.place]
    is_good = True
    with tempfile.TemporaryDirectory(prefix="zoo-resume-") as folder:
        for model in given.model or TRAININGS:
            shared = (given.moments, given.per_fit, given.seconds, given.seed)
            plan = Plan(TRAININGS[model], params, "worker", *shared)
            expected, fit_seconds = reference(plan, Path(folder) / "reference")
            print(f"\n{model} {params}: a fit takes {fit_seconds:.0f} s untouched", flush=True)
            shutil.rmtree(Path(folder) / "reference", ignore_errors=True)
            for victim in given.victim or VICTIMS:
                plan = replace(plan, victim=victim)
                result = run(plan, places, Path(folder), expected, fit_seconds)
                is_good &= not result.differ
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
