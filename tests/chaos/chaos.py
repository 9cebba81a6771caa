"""Chaos: hundreds of jobs on four workers while everything around them breaks; `make chaos`."""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil
import redis
from helpers import command_server
from helpers.command_line import MORTAL, Zoo, share, until
from helpers.command_server import Command
from helpers.poison_messages import KINDS
from helpers.processes import Broker, Crew, Postgresql, Sickness, Sqlite, Store, runners
from helpers.promise_check import Result, judge, show, watch_commits

from zoo import jobs
from zoo.errors import StoreError
from zoo.job_spec import JobSpec
from zoo.jobs import Database
from zoo.queue import submit

PLUGINS = Path(__file__).parents[1] / "plugins"
DYING = Path(__file__).parents[1] / "helpers" / "dying_command.py"
MOST_STEPS = 40
"""Steps before one of which a removal is killed; some have fewer, and end."""
CALM_SECONDS = 3.0
"""Before the first fault."""
SLICES = 20
"""Submissions that the jobs come in."""
DECK = 17
"""Cards in a deck of faults."""


@dataclass
class Plan:
    """How much chaos there is to be."""

    jobs: int = 300
    seed: int = 1
    seconds: float = 600.0
    locked: float = 10.0
    """Seconds that SQLite is locked each time."""
    pause: tuple[float, float] = (0.5, 2.0)
    """Shortest and longest wait between two faults."""
    rounds: int = 10
    """How often each card of the deck of faults is played."""
    workers: int = 4
    sklearn: bool = True
    """Whether a third of the jobs are models of scikit-learn."""
    keras: bool = False
    slots: int = 1
    """Of each worker."""
    longer: bool = False
    """Whether each job takes seconds, so that faults hit jobs that run."""
    lease: float = float(MORTAL["ZOO_LEASE_SECONDS"])
    """Seconds; so short that each attempt beats from the beginning. From 5 on, jobs of a moment do
    without, and end together."""


class Chaos:
    """One run: submits jobs slice by slice, and breaks one thing after another."""

    def __init__(
        self,
        plan: Plan,
        zoo: Zoo,
        sickly: Zoo,
        sickness: Sickness,
        broker: Broker,
        store: Store,
        db: Database,
    ) -> None:
        """`sickly` is another machine with one worker, which falls sick now and then."""
        self.plan = plan
        self.sickly = sickly
        self._sickness = sickness
        self.random = random.Random(plan.seed)
        self.zoo = zoo
        self.broker = broker
        self.store = store
        self.db = db
        self.faults: Counter[str] = Counter()
        self.accepted: dict[str, set[str]] = {}
        self.removable: set[str] = set()
        self._removals: list[Command] = []
        self._specs = [self._spec() for _ in range(plan.jobs)]
        log = zoo.home / "workers.log"
        self.crew = Crew(zoo, plan.workers, log, sickly, slots=plan.slots)
        self._deck: list[tuple[str, Callable[[], None]]] = []
        self._rounds = 0
        self._later: list[tuple[float, Callable[[], None]]] = []
        self._deadline = time.monotonic() + plan.seconds

    def run(self) -> None:
        """Break things and see the jobs through; in the last third of the time nothing breaks."""
        calm_from = self._deadline - self.plan.seconds / 3
        submitter = threading.Thread(target=self._submit_all, daemon=True)
        submitter.start()
        due = time.monotonic() + CALM_SECONDS
        while time.monotonic() < self._deadline:
            now = time.monotonic()
            if due <= now < calm_from and not self._is_over():
                self._break_something()
                due = time.monotonic() + self.random.uniform(*self.plan.pause)
            self._do_what_is_due(now)
            self.crew.look_after()
            if self._is_over() and not submitter.is_alive() and self._are_all_done():
                break
            time.sleep(0.05)
        self._do_what_is_due(float("inf"))
        for removal in self._removals:
            removal.wait(120)
        self._see_it_swept()

    def _see_it_swept(self) -> None:
        """Wait a little: the worker that took a job back also removes what the dead one left."""
        work = [zoo.home / "work" for zoo in (self.zoo, self.sickly)]
        with contextlib.suppress(AssertionError):
            until(lambda: not any(list(each.iterdir()) for each in work if each.exists()), 60)

    def _are_all_done(self) -> bool:
        with contextlib.suppress(StoreError):
            counts = jobs.counts(self.db)
            return not counts.get("queued") and not counts.get("running")
        return False

    # --- the jobs ---

    def _submit_all(self) -> None:
        """Submit slice by slice, so that there are jobs for most of the faults."""
        size = max(1, self.plan.jobs // SLICES)
        faults = self.plan.rounds * DECK * sum(self.plan.pause) / 2
        for start in range(0, self.plan.jobs, size):
            self._submit(self._specs[start : start + size])
            time.sleep(0.8 * faults / SLICES)

    def _spec(self) -> JobSpec:
        draw = self.random.random()
        if self.plan.longer and draw < 0.95:
            return _job("trickster", seconds=self.random.uniform(1.0, 4.0))
        if draw < 0.35 and self.plan.sklearn:
            return _job("logistic", alpha=self.random.choice([1e-5, 1e-4, 1e-3, 1e-2]))
        if draw < 0.40 and self.plan.keras:
            return _job("dense-softmax", epochs=1)
        if draw < 0.65:
            return _job("trickster", seconds=self.random.uniform(0.5, 3.0))
        if draw < 0.70:
            return _job("trickster", trick="raise")
        return _job("trickster", lines=self.random.randrange(20))

    def _submit(self, specs: list[JobSpec]) -> None:
        """Submit as the command line does; what a database refuses is not accepted: once more."""
        while specs:
            try:
                done = submit.submit(self.db, self.zoo.settings, specs)
            except StoreError:
                continue
            for ref, spec in zip(done.ids, specs, strict=True):
                fails = spec.params.get("trick") == "raise"
                self.accepted[ref] = {"failed" if fails else "succeeded"}
            return

    # --- the faults ---

    def _is_over(self) -> bool:
        return self._rounds >= self.plan.rounds and not self._deck

    def _break_something(self) -> None:
        if not self._deck:
            self._rounds += 1
            self._deck = [
                ("worker killed", self._kill_worker),
                ("worker killed", self._kill_worker),
                ("worker frozen", self._freeze_worker),
                ("worker stopped", self._stop_worker),
                ("runner killed", self._kill_runner),
                ("runner killed", self._kill_runner),
                ("runner frozen", self._freeze_runner),
                ("broker killed", self._kill_broker),
                ("broker frozen", lambda: self._freeze(self.broker.process)),
                ("broker flushed", self.broker.flush),
                ("broker failed over", self._fail_over),
                ("messages poisoned", self._poison),
                ("queue of another type", lambda: self._poison(self.random.choice([*KINDS]))),
                ("machine sick", self._make_sick),
                ("removal killed", self._remove),
                ("gc killed", self._collect),
                (self.store.trouble, self.store.upset),
            ]
            self.random.shuffle(self._deck)
        kind, fault = card = self._deck.pop()
        try:
            fault()
        except (psutil.Error, redis.RedisError, StoreError, LookupError):
            # Its victim is away just now: the card goes to the bottom.
            self._deck.insert(0, card)
            return
        self.faults[kind] += 1

    def _a_worker(self) -> Command:
        """One that has a job, if there is one: an idle one has nothing to lose."""
        names = {job.worker for job in jobs.listing(self.db, statuses=["running"])}
        pids = {int(str(name).rpartition("-")[2]) for name in names}
        busy = [worker for worker in self.crew.workers if worker.pid in pids]
        return self.random.choice(busy or self.crew.workers)

    def _kill_worker(self) -> None:
        self.crew.replace(self._a_worker())

    def _stop_worker(self) -> None:
        """As an operator does, at whatever moment: the crew replaces it once it has ended."""
        self._a_worker().terminate()

    def _freeze_worker(self) -> None:
        self._freeze(psutil.Process(self._a_worker().pid))

    def _a_runner(self) -> psutil.Process:
        return self.random.choice([r for w in self.crew.workers for r in runners(w.pid)])

    def _kill_runner(self) -> None:
        self._a_runner().kill()

    def _freeze_runner(self) -> None:
        self._freeze(self._a_runner())

    def _kill_broker(self) -> None:
        self.broker.process.kill()
        self.broker.kill()
        self._after(self.random.uniform(0.0, 2.0), self.broker.start)

    def _make_sick(self) -> None:
        self._sickness.begin()
        self._after(self.random.uniform(1.0, 4.0), self._sickness.end)

    def _remove(self) -> None:
        """Remove jobs that have ended, and die on the way."""
        found = jobs.listing(self.db, statuses=["succeeded", "failed"], limit=100)
        ids = self.random.sample([job.id for job in found], min(3, len(found)))
        if not ids:
            raise LookupError
        self.removable |= set(ids)
        self._die("rm", "--yes", *self.random.choice([[], ["--keep-metrics"]]), *ids)

    def _collect(self) -> None:
        """Collect garbage as two days later, and die on the way."""
        self._die("gc", "--yes", days=2)

    def _die(self, *words: str, days: int = 0) -> None:
        step = self.random.randint(1, MOST_STEPS)
        log = (self.zoo.home / "removals.log").open("ab")
        with log:
            streams = {"stdout": log.fileno(), "stderr": log.fileno()}
            words = (str(step), str(days), *words)
            self._removals.append(command_server.start(words, self.zoo.env, DYING, **streams))

    def _fail_over(self) -> None:
        self.broker.demote()
        self._after(self.random.uniform(0.0, 2.0), self.broker.promote)

    def _poison(self, kind: str | None = None) -> None:
        self.broker.poison(self.random.choice(["default.trickster", "default.logistic"]), kind)

    def _freeze(self, process: psutil.Process) -> None:
        process.suspend()

        def wake() -> None:
            # Not `resume`, which takes a process for another one when the clock is set.
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGCONT)

        self._after(self.plan.lease + 1.0, wake)

    def _after(self, seconds: float, act: Callable[[], None]) -> None:
        self._later.append((time.monotonic() + seconds, act))

    def _do_what_is_due(self, now: float) -> None:
        due = [act for at, act in self._later if at <= now]
        self._later = [(at, act) for at, act in self._later if at > now]
        for act in due:
            act()


def _job(model: str, **params: object) -> JobSpec:
    return JobSpec(kind="train", model=model, params=params, dataset="digits")


def _sickness(home: Path) -> Sickness:
    """A disk that is full now and then; where none can be mounted, a work folder that is gone."""
    try:
        return Sickness(home, "full disk")
    except LookupError:
        return Sickness(home, "no work folder")


def _environment(plan: Plan, store: Store, broker: Broker, home: Path) -> dict[str, str]:
    env = {"ZOO_DATABASE_URL": store.url, "ZOO_BROKER_URL": broker.url}
    env |= {"ZOO_PLUGINS_DIR": str(PLUGINS), "ZOO_MAX_ATTEMPTS": "50"} | MORTAL
    env |= {"ZOO_LEASE_SECONDS": str(plan.lease), "ZOO_ARTIFACTS_URL": str(home / "artifacts")}
    env |= {"ZOO_PLUGINS": "trickster,sklearn" + (",keras" if plan.keras else "")}
    return env


def run(plan: Plan, kind: str, folder: Path) -> Result:
    """One run on one kind of store, in an empty folder."""
    home = folder / "home"
    home.mkdir(exist_ok=True)
    store: Store = Sqlite(home, plan.locked) if kind == "sqlite" else Postgresql()
    broker = Broker()
    env = _environment(plan, store, broker, home)
    db = Database(store.url)
    watch_commits(db)
    began = time.monotonic()
    zoo = Zoo(home, **env)
    elsewhere = {"ZOO_FREE_MB": "1"}
    zoo.settings.cache.mkdir(exist_ok=True)
    sickly = Zoo(share(zoo.settings.cache, folder / "sickly"), **env, **elsewhere)
    sickness = _sickness(sickly.home)
    chaos = Chaos(plan, zoo, sickly, sickness, broker, store, db)
    try:
        chaos.run()
    finally:
        chaos.crew.dismiss()
        seconds = time.monotonic() - began
        broker.kill()
    try:
        verdict = judge(zoo, db, chaos.accepted, also=[sickly], removable=chaos.removable)
        if len(chaos.accepted) < plan.jobs:
            verdict.lost.append(f"only {len(chaos.accepted)} jobs were accepted in time")
        found = jobs.listing(db, limit=10**6)
        ended = Counter(job.status for job in found)
        removed = len(chaos.accepted.keys() - {job.id for job in found})
        if removed:
            ended["removed"] = removed
        attempts = sum(job.attempt for job in found)
    finally:
        sickness.close()
        db.close()
        store.close()
    return Result(kind, chaos.faults, ended, attempts, chaos.crew.left, seconds, verdict)


def main() -> int:
    """Run as the options say; 1 if the promise was broken."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--jobs", type=int, default=300)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--store", choices=["sqlite", "postgresql", "both"], default="both")
    options.add_argument("--rounds", type=int, default=10, help=f"{DECK} faults each")
    options.add_argument("--seconds", type=float, default=600, help="limit of one run")
    options.add_argument("--lease", type=float, default=Plan.lease, help="of workers, seconds")
    options.add_argument("--slots", type=int, default=1, help="of each worker")
    options.add_argument("--longer", action="store_true", help="jobs of one to four seconds")
    options.add_argument("--keras", action="store_true", help="some jobs are networks")
    options.add_argument("--folder", type=Path, help="keep everything below this folder")
    given = options.parse_args()
    few = {name: getattr(given, name) for name in ("rounds", "keras", "lease", "slots", "longer")}
    plan = Plan(given.jobs, given.seed, given.seconds, **few)
    stores = ["sqlite", "postgresql"] if given.store == "both" else [given.store]
    results = []
    for store in stores:
        with tempfile.TemporaryDirectory(prefix="zoo-chaos-") as temporary:
            folder = given.folder / store if given.folder else Path(temporary)
            folder.mkdir(parents=True, exist_ok=True)
            results.append(run(plan, store, folder))
        show(results[-1])
    return 0 if all(result.verdict for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
