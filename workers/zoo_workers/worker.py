"""A worker: a Celery worker (see `serving`) whose slots run jobs in runner processes."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import socket
import sys
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from zoo import jobs, private_folder
from zoo.child_process import ChildDied
from zoo.cores import lend
from zoo.errors import UsageError, ZooError, as_sentence
from zoo.jobs.cards import Card
from zoo.jobs.dialects import PATIENCE_SECONDS
from zoo.queue.local_services import Place
from zoo.settings import THREADS, Settings, cores, share_the_cores, share_the_memory, variable
from zoo.storage import artifacts
from zoo_workers import repeated_lines
from zoo_workers.hooks import Hooks, Listeners
from zoo_workers.plan import Plan
from zoo_workers.runner_pool import Runner, RunnerPool
from zoo_workers.slots import Supervisor

logger = logging.getLogger("zoo.worker")

SECRETS = ("ZOO_DATABASE_URL", "ZOO_BROKER_URL", "ZOO_ARTIFACTS_URL")
"""Variables that runners do not inherit."""
HOOK_SETTINGS = ("notify", "mlflow")
"""Settings whose values only the process of the hooks gets; runners see that they are set."""
HOOK_PREFIX = "MLFLOW_TRACKING_"
"""Prefix of variables with passwords of the servers that hooks write to; runners get none."""
CATALOGUE_SECONDS = 60.0
"""Time limit for importing all plugins."""
RESTART = "Restart the worker once it is mended."


def run(settings: Settings, plan: Plan, place: Place | None = None) -> None:
    """Run a worker in this process until it is asked to stop.

    Args:
        settings: The worker's settings.
        plan: The worker's options.
        place: Lock of the local worker, which also exits when it is idle.

    Raises:
        UsageError: There is no model that the worker can run.
    """
    _set_up_log()
    db = jobs.connect(settings.database, patience=patience(settings))
    hook_env = take_secrets(settings)
    # `zoo doctor` recognizes by it a runner of this home that has outlived its worker.
    os.environ["ZOO_RUNNER_HOME"] = str(settings.home)
    # Slots share the cores, and the memory limit confines a job that takes too much.
    os.environ.update(share_the_cores(plan.slots))
    memory = share_the_memory(settings, plan.slots)
    settings = dataclasses.replace(settings, job_memory_mb=memory)
    runners = RunnerPool(
        make_work_folder(settings),
        jobs_per_runner=settings.jobs_per_runner,
        memory_mb=settings.runner_memory_mb,
    )
    name = plan.name or f"{socket.gethostname()}-{os.getpid()}"
    supervisor = Supervisor(db, settings, runners, name, plan.pool, plan.slots)
    supervisor.gpus = plan.gpus
    try:
        with _lend_cores(plan.slots):
            _start(supervisor, plan, hook_env, place)
    finally:
        if place is not None:
            place.give_up()
        supervisor.close()
        runners.stop()
        db.close()


def _start(
    supervisor: Supervisor, plan: Plan, hook_env: dict[str, str], place: Place | None
) -> None:
    next_models = [] if plan.gpus else jobs.next_models(supervisor.db, plan.pool, plan.slots)
    warm = [model for model in next_models if plan.runs(model)]
    supervisor.runners.warm_up(warm)  # while the plugins are imported and Celery starts
    with supervisor.runners.borrow("") as runner:
        found = ask_catalogue(runner, meanwhile=_import_celery)
        runner.must_replace = len(warm) == plan.slots  # these have a runner each
    cards = _cards(found, plan)
    supervisor.datasets = list(found["datasets"])
    supervisor.models = {card.name: card.plugin for card in cards}
    supervisor.health.models = supervisor.models
    supervisor.health.broken_plugins = _about_broken(found["broken"])
    if "job_finished" in found["hooks"]:
        supervisor.hooks = Hooks(
            supervisor.db,
            supervisor.settings,
            hook_env,
            Listeners(found["hook_arguments"], found["is_urgent"], found["has_notifiers"]),
            lambda: supervisor.free_slots,
        )
        supervisor.hooks.start()
    from zoo_workers.serving import serve

    serve(supervisor, plan, cards, place)


def _import_celery() -> None:
    """Import what takes half a second, while a runner imports the plugins."""
    from zoo_workers import serving  # noqa: F401


def patience(settings: Settings) -> float:
    """Return how many seconds a heartbeat may wait for a database that was cut off.

    The last successful heartbeat was up to `beat_seconds` earlier, and the job is given up once
    the lease less two `beat_seconds` has passed since then.
    """
    return min(PATIENCE_SECONDS, settings.lease_seconds - 3 * settings.beat_seconds)


def make_work_folder(settings: Settings) -> Path:
    """Check that other users cannot write to the folders of code; make the folder of attempts."""
    private_folder.check(settings.plugins_folder)
    private_folder.make(settings.home)
    return private_folder.make(settings.home / "work")


def _set_up_log() -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger.addHandler(handler)
    logger.addFilter(repeated_lines.DATABASE)
    logger.setLevel(logging.INFO)
    # Celery sets up the root logger later, which would repeat each line.
    logger.propagate = False
    # Its lines about a lost connection repeat the error that it raises.
    logging.getLogger("psycopg").propagate = False
    # Celery warns of pickle under root; Zoo accepts only JSON.
    warnings.filterwarnings("ignore", message=".*superuser privileges")


def take_secrets(settings: Settings) -> dict[str, str]:
    """Remove secrets from the environment, which runners inherit; return those of the hooks."""
    artifacts.prepare(settings.artifacts)
    hook_env = {variable(name): str(getattr(settings, name)) for name in HOOK_SETTINGS}
    hook_env = {name: value for name, value in hook_env.items() if value}
    for name in list(os.environ):
        if name.startswith("AWS_") or name.removesuffix("_FILE") in SECRETS:
            del os.environ[name]
        elif name.startswith(HOOK_PREFIX):
            hook_env[name] = os.environ.pop(name)
    for name in map(variable, HOOK_SETTINGS):
        os.environ.pop(f"{name}_FILE", None)
        if os.environ.pop(name, None) or name in hook_env:
            os.environ[name] = "hidden"
    return hook_env


def _lend_cores(slots: int) -> contextlib.AbstractContextManager[None]:
    """Let runners borrow the cores of idle slots."""
    # A share set by the user is right: a container sees all cores of its machine.
    share = os.environ[THREADS[0]]
    if not share.isdigit():  # OpenMP also accepts a list
        return contextlib.nullcontext()
    return lend(int(share), min(cores(), slots * int(share)))


def _cards(found: dict[str, Any], plan: Plan) -> list[Card]:
    for name, error in found["broken"].items():
        logger.warning("the plugin %s is broken: %s", name, error)
    every = [Card.from_json(each) for each in found["models"]]
    cards = [card for card in every if plan.runs(card.name)]
    if not cards:
        known = ", ".join(card.name for card in every) or "none"
        known += "".join(f"; the plugin {n} is broken: {e}" for n, e in found["broken"].items())
        raise UsageError(
            "There is no model for this worker to run.",
            f"Models here: {known}. Install a plugin: pip install zoo-sklearn zoo-keras.",
        )
    # Files (idx:PATH, npz:PATH) belong to no worker; a scheme (s3:) does.
    named = {n: text for n, text in found["datasets"].items() if ":" not in n.removesuffix(":")}
    about = {
        "datasets": named,
        **{name: found[name] for name in ("versions", "listeners", "metrics")},
    }
    return [dataclasses.replace(card, **about) for card in cards]


def _about_broken(broken: Mapping[str, str]) -> str:
    """Return a sentence for the list of workers; empty if every plugin could be imported."""
    if not broken:
        return ""
    (name, error), more = next(iter(broken.items())), len(broken) - 1
    others = f", and {more} more" if more else ""
    return f"The plugin {name} could not be imported{others}: {as_sentence(error)} {RESTART}"


def ask_catalogue(runner: Runner, meanwhile: Callable[[], None] = lambda: None) -> dict[str, Any]:
    """Return the models, datasets and hooks that a runner finds: this process imports no plugin.

    `meanwhile` is called while the runner works.

    Raises ZooError if a plugin ends the runner, UsageError if the imports take too long.
    """
    try:
        runner.send({"action": "catalogue"})
        meanwhile()
        found = runner.receive(CATALOGUE_SECONDS)
    except ChildDied as death:
        raise ZooError(
            f"The process that imports the plugins ended ({death}).",
            "`zoo plugins` shows which one; ZOO_PLUGINS=a,b loads only those.",
        ) from None
    if found is None:
        runner.kill()
        raise UsageError(
            f"The plugins took over {CATALOGUE_SECONDS:.0f} s to import.",
            "`zoo plugins` shows which one; ZOO_PLUGINS=a,b loads only those.",
        )
    return found
