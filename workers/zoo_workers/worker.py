"""A worker: a Celery worker whose slots run jobs in runner processes."""

from __future__ import annotations

import contextlib
import dataclasses
import fnmatch
import functools
import logging
import os
import signal
import socket
import sys
import threading
import time
import uuid
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from celery import signals
from celery.apps import worker as celery_worker

import zoo
from zoo import jobs, private_folder
from zoo.cores import lend
from zoo.errors import BrokerError, UsageError, ZooError
from zoo.jobs import Database, Hint
from zoo.jobs.dialects import PATIENCE_SECONDS
from zoo.queue import broker
from zoo.queue.local_services import Place
from zoo.settings import THREADS, Settings, cores, share_the_cores, share_the_memory, variable
from zoo.storage import artifacts
from zoo_workers import consumer, repeated_lines
from zoo_workers.hooks import Hooks
from zoo_workers.housekeeping import Housekeeper, take_over, wake_freed
from zoo_workers.runner_pool import Runner, RunnerDied, Runners
from zoo_workers.slots import Supervisor

logger = logging.getLogger("zoo.worker")

SECRETS = ("ZOO_DATABASE_URL", "ZOO_BROKER_URL", "ZOO_ARTIFACTS_URL")
"""Variables that runners do without."""
HOOKS_ALONE = ("notify", "mlflow")
"""Settings whose value the process of the hooks is told; runners learn that there is one."""
HOOKS_SERVERS = "MLFLOW_TRACKING_"
"""So begin variables with passwords of the servers that hooks write to; runners have none."""
PASS_ON_SECONDS = 1.0
"""Before a worker that does not take a job sends the job's hint to the others."""
GIVE_BACK_SECONDS = 5.0
"""What it may take to end the runners of a stopping worker and give their jobs back."""
CATALOGUE_SECONDS = 60.0
"""What the plugins may take, all together, to be imported."""


@dataclass(frozen=True)
class Plan:
    """How a worker is to be started."""

    pool: str = "default"
    slots: int = 1
    models: Sequence[str] = ("*",)
    """Patterns; the worker takes jobs of the models that match one and that it can load."""


def run(settings: Settings, plan: Plan, place: Place | None = None) -> None:
    """Run a worker in this process until it is told to stop.

    With the `place` of the local worker it also ends when it is idle. Raises UsageError if there
    is no model that it could run.
    """
    _set_up_the_log()
    db = jobs.connect(settings.database, patience=patience(settings))
    told = _leave_no_secret(settings)
    # By this `zoo doctor` knows a runner of this home that has outlived its worker.
    os.environ["ZOO_RUNNER_HOME"] = str(settings.home)
    # So that slots do not fight for the cores, and a job that takes much memory harms only itself.
    os.environ.update(share_the_cores(plan.slots))
    memory = share_the_memory(settings, plan.slots)
    settings = dataclasses.replace(settings, job_memory_mb=memory)
    runners = Runners(
        _work_folder(settings),
        jobs_per_runner=settings.jobs_per_runner,
        memory_mb=settings.runner_memory_mb,
    )
    name = f"{socket.gethostname()}-{os.getpid()}"
    supervisor = Supervisor(db, settings, runners, name, plan.pool, plan.slots)
    try:
        with _lend_the_cores(plan.slots):
            _work(supervisor, plan, told, place)
    finally:
        if place is not None:
            place.give_up()
        supervisor.end()
        runners.stop()
        db.close()


def _work(supervisor: Supervisor, plan: Plan, told: dict[str, str], place: Place | None) -> None:
    with supervisor.runners.borrow("") as runner:
        answer = _ask(runner)
    cards = _cards(answer, plan.models)
    supervisor.datasets = list(answer["datasets"])
    supervisor.models = {card["name"]: card["plugin"] for card in cards}
    if "job_finished" in answer["hooks"]:
        room = None if answer["prompt"] else supervisor.room
        supervisor.hooks = Hooks(
            supervisor.db,
            supervisor.settings,
            told,
            answer["takes"],
            room,
            others=answer["others"],
        )
        supervisor.hooks.start()
    if place is not None and supervisor.db.is_sqlite:  # whose workers are all on this machine
        take_over(supervisor.db)
    _serve(supervisor, plan, cards, place)


def patience(settings: Settings) -> float:
    """Return how long a beat may wait for a database that was cut off, in seconds.

    The last beat that succeeded was up to `beat_seconds` before it, and a lease less two beats
    after that one the job is given up.
    """
    return min(PATIENCE_SECONDS, settings.lease_seconds - 3 * settings.beat_seconds)


def _work_folder(settings: Settings) -> Path:
    private_folder.check(settings.plugins_folder)
    private_folder.make(settings.home)
    return private_folder.make(settings.home / "work")


def _set_up_the_log() -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger.addHandler(handler)
    logger.addFilter(repeated_lines.DATABASE)
    logger.setLevel(logging.INFO)
    # Celery sets up the root logger later; each line is to appear once.
    logger.propagate = False
    # Of a connection that is lost it says no more than what it raises.
    logging.getLogger("psycopg").propagate = False
    # It warns of pickle under root; here nothing but JSON is accepted.
    warnings.filterwarnings("ignore", message=".*superuser privileges")


def _leave_no_secret(settings: Settings) -> dict[str, str]:
    """Runners inherit the environment, and models need no password: take it in, then forget it.

    Gives what the hooks alone are to know.
    """
    artifacts.prepare(settings.artifacts)
    told = {variable(name): str(getattr(settings, name)) for name in HOOKS_ALONE}
    told = {name: value for name, value in told.items() if value}
    for name in list(os.environ):
        if name.startswith("AWS_") or name.removesuffix("_FILE") in SECRETS:
            del os.environ[name]
        elif name.startswith(HOOKS_SERVERS):
            told[name] = os.environ.pop(name)
    for name in map(variable, HOOKS_ALONE):
        os.environ.pop(f"{name}_FILE", None)
        if os.environ.pop(name, None) or name in told:
            os.environ[name] = "hidden"
    return told


def _lend_the_cores(slots: int) -> contextlib.AbstractContextManager[None]:
    """Let runners borrow the cores of idle slots meanwhile."""
    # Who sets the share knows better what there is: a container sees all cores of its machine.
    share = os.environ[THREADS[0]]
    if not share.isdigit():  # OpenMP also takes a list
        return contextlib.nullcontext()
    return lend(int(share), min(cores(), slots * int(share)))


def _cards(answer: dict[str, Any], patterns: Sequence[str]) -> list[dict[str, Any]]:
    for name, error in answer["broken"].items():
        logger.warning("the plugin %s is broken: %s", name, error)
    cards = [c for c in answer["models"] if any(fnmatch.fnmatch(c["name"], p) for p in patterns)]
    if not cards:
        known = ", ".join(card["name"] for card in answer["models"]) or "none"
        raise UsageError(
            "There is no model for this worker to run.",
            f"Models here: {known}. Install a plugin: pip install zoo-sklearn zoo-keras.",
        )
    # Files (idx:PATH, npz:PATH) are no worker's own.
    named = {name: text for name, text in answer["datasets"].items() if ":" not in name}
    about = {"datasets": named, "versions": answer["versions"], "listeners": answer["listeners"]}
    return [card | about for card in cards]


def _ask(runner: Runner) -> dict[str, Any]:
    """Have a runner say which models and datasets there are: this process imports no plugin."""
    try:
        runner.order({"do": "catalogue"})
        answer = runner.answer(CATALOGUE_SECONDS)
    except RunnerDied as death:
        raise ZooError(
            f"The process that imports the plugins ended ({death}).",
            "`zoo plugins` tells which does that; ZOO_PLUGINS=a,b loads only those.",
        ) from None
    if answer is None:
        runner.kill()
        raise UsageError(
            f"The plugins took over {CATALOGUE_SECONDS:.0f} s to import.",
            "`zoo plugins` tells which; ZOO_PLUGINS=a,b loads only those.",
        )
    return answer


def _serve(
    supervisor: Supervisor, plan: Plan, cards: list[dict[str, Any]], place: Place | None
) -> None:
    settings, db = supervisor.settings, supervisor.db
    queues = [broker.queue_name(plan.pool, name) for name in supervisor.models]
    app = broker.make_app(settings, patient=True)
    if not settings.is_embedded:
        _refuse_a_cluster(app)
    _add_task(app, supervisor)
    consumer.make_app(app, queues)
    supervisor.after_job = functools.partial(wake_freed, db, app)
    worker = _celery_worker(app, supervisor, queues)
    celery_worker.safe_say = _say

    def stop() -> None:
        # Celery's own warm shutdown, as after SIGTERM.
        os.kill(os.getpid(), signal.SIGTERM)

    def on_stop(**_: Any) -> None:
        supervisor.drain(settings.drain_seconds)
        if place is not None:
            place.give_up()

    signals.worker_shutting_down.connect(on_stop, weak=False)
    worker_id = uuid.uuid4().hex
    keeper = Housekeeper(app, supervisor, worker_id, stop)
    keeper.leaves_when_idle = place is not None

    def announce() -> None:
        supervisor.name = _announce(db, supervisor, worker_id, plan, cards)

    announce()
    keeper.announce = announce
    keeper.start()
    models = ", ".join(supervisor.models)
    slots = "1 slot" if plan.slots == 1 else f"{plan.slots} slots"
    logger.info("worker %s is ready: %s, models %s", supervisor.name, slots, models)
    try:
        worker.start()
        if supervisor.drain_by is None:
            raise ZooError("The worker has ended, though nobody has told it to.", "See above.")
    finally:
        # Also after a hard stop the running jobs are given back, not killed as if by accident.
        supervisor.drain(0)
        supervisor.await_idle(GIVE_BACK_SECONDS)
        keeper.end()
        jobs.record_heartbeat(db, worker_id, busy=0, state="stopped")
        logger.info("worker %s has stopped", supervisor.name)


def _say(message: str, *_: Any) -> None:
    """Write what Celery says in a signal handler as a line of this log, in the same safe way."""
    if "Warm shutdown" in message:
        message = "this worker takes no further job and ends"
    at = time.time()
    line = f"{time.strftime('%F %T', time.localtime(at))},{at % 1 * 1000:03.0f} INFO {message}\n"
    with contextlib.suppress(OSError):
        os.write(2, line.encode())  # Celery has put something else in the place of sys.stderr


def _refuse_a_cluster(app: broker.App) -> None:
    # A broker that is away is waited for, with a word about it.
    with contextlib.suppress(BrokerError):
        broker.prove(app, seconds=consumer.PROVE_SECONDS)


def _celery_worker(app: broker.App, supervisor: Supervisor, queues: list[str]) -> Any:
    look_seconds = supervisor.settings.reap_seconds
    return app.Worker(
        consumer_cls=functools.partial(
            consumer.Consumer, look=supervisor.look, look_seconds=look_seconds
        ),
        pool=consumer.Slots,
        concurrency=supervisor.slots,
        queues=queues,
        hostname=f"{supervisor.name}@zoo",
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
        loglevel="WARNING",
        quiet=True,
    )


def _add_task(app: broker.App, supervisor: Supervisor) -> None:
    @app.task(name=broker.TASK)  # type: ignore[untyped-decorator]
    def run(v: int, job: str, model: str) -> None:
        supervisor.work_on()
        health = supervisor.health
        if health.is_sick and supervisor.drain_by is None:
            # Where no other worker listens, the hint comes back at once.
            health.well.wait(PASS_ON_SECONDS)
            supervisor.work_on()
        if supervisor.drain_by is not None or health.is_sick:
            pass_on(job, model)
        elif health.leaves(job, model):
            later = threading.Timer(PASS_ON_SECONDS, pass_on, (job, model))
            later.daemon = True
            later.start()

    def pass_on(job: str, model: str) -> None:
        with contextlib.suppress(BrokerError):
            broker.send(app, [Hint(job, supervisor.pool, model)])  # another worker's, then


def _announce(
    db: Database, supervisor: Supervisor, worker_id: str, plan: Plan, cards: list[dict[str, Any]]
) -> str:
    me = jobs.NewWorker(
        id=worker_id,
        name=supervisor.name,
        host=socket.gethostname(),
        pid=os.getpid(),
        pool=plan.pool,
        slots=plan.slots,
        version=zoo.__version__,
        models=cards,
        beat=supervisor.settings.beat_seconds,
    )
    return jobs.register_worker(db, me)
