"""The Celery side of a worker: receives hints, takes control messages, announces itself."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import signal
import socket
import threading
import time
import uuid
from typing import Any

from celery import signals
from celery.apps import worker as celery_worker

import zoo
from zoo import jobs
from zoo.errors import BrokerError, ZooError
from zoo.jobs import Database, Hint
from zoo.jobs.cards import Card
from zoo.queue import hint_messages
from zoo.queue.local_services import Place
from zoo_workers import celery_app, consumer
from zoo_workers.celery_app import App
from zoo_workers.celery_events import JobEvents
from zoo_workers.housekeeping import Housekeeper, announce_freed, log_new_name, take_over
from zoo_workers.plan import Plan
from zoo_workers.slots import Supervisor

logger = logging.getLogger("zoo.worker")

PASS_ON_SECONDS = 1.0
"""Delay before a worker that does not claim a job passes its hint on to the others."""
RELEASE_SECONDS = 5.0
"""Time limit for a stopping worker to kill its runners and requeue their jobs."""


def serve(supervisor: Supervisor, plan: Plan, cards: list[Card], place: Place | None) -> None:
    """Announce the worker, and run jobs until it is asked to stop.

    Raises ZooError if it ends by itself.
    """
    if place is not None and supervisor.db.is_sqlite:  # all workers are on this machine
        take_over(supervisor.db)
    _serve(supervisor, plan, cards, place)


def _serve(supervisor: Supervisor, plan: Plan, cards: list[Card], place: Place | None) -> None:
    settings, db = supervisor.settings, supervisor.db
    queues = [hint_messages.queue_name(plan.pool, name) for name in supervisor.models]
    app = _make_app(supervisor, queues)
    hostname = f"{supervisor.name}@zoo"
    events = JobEvents(app, supervisor, hostname) if settings.celery_events else None
    worker = _celery_worker(app, supervisor, queues, hostname)
    celery_worker.safe_say = _log_in_handler

    def stop() -> None:
        # Celery's own warm shutdown, as after SIGTERM.
        os.kill(os.getpid(), signal.SIGTERM)

    def on_stop(**_: Any) -> None:
        supervisor.drain(settings.drain_seconds)
        if place is not None:
            place.give_up()

    signals.worker_shutting_down.connect(on_stop, weak=False)
    worker_id = uuid.uuid4().hex
    keeper = Housekeeper(app.broker, supervisor, worker_id, stop)
    keeper.exits_when_idle = place is not None

    def announce() -> None:
        supervisor.name = _announce(db, supervisor, worker_id, plan, cards)

    announce()
    keeper.announce = announce
    keeper.start()
    if events:
        events.start()
    models = ", ".join(supervisor.models)
    logger.info("worker %s is ready: %s, models %s", supervisor.name, plan.slots_text, models)
    try:
        worker.start()
        if supervisor.drain_by is None:
            raise ZooError("The worker has ended without a request to stop.", "See above.")
    finally:
        # Also after a hard stop running jobs are requeued, instead of being lost to a dead worker.
        supervisor.drain(0)
        supervisor.await_idle(RELEASE_SECONDS)
        keeper.end()
        if events:
            events.end()
        jobs.record_heartbeat(db, worker_id, busy=0, state="stopped")
        logger.info("worker %s has stopped", supervisor.name)


def _make_app(supervisor: Supervisor, queues: list[str]) -> App:
    """Return the Celery app with the task, and send hints for jobs that waited for others."""
    app = celery_app.make_app(supervisor.settings, patient=True)
    _add_task(app, supervisor)
    consumer.configure(app, queues)
    if not supervisor.settings.is_embedded:
        _refuse_cluster(app)
    supervisor.after_job = functools.partial(announce_freed, supervisor.db, app.broker)
    return app


def _log_in_handler(message: str, *_: Any) -> None:
    """Write a message of Celery's signal handlers as a log line, without taking a lock."""
    if "Warm shutdown" in message:
        message = "this worker takes no further job and stops"
    at = time.time()
    line = f"{time.strftime('%F %T', time.localtime(at))},{at % 1 * 1000:03.0f} INFO {message}\n"
    with contextlib.suppress(OSError):
        os.write(2, line.encode())  # Celery has replaced sys.stderr


def _refuse_cluster(app: App) -> None:
    # If the broker is unavailable, the consumer logs it and waits.
    with contextlib.suppress(BrokerError):
        app.broker.prove(seconds=consumer.PROVE_SECONDS)


def _celery_worker(app: App, supervisor: Supervisor, queues: list[str], hostname: str) -> Any:
    check_seconds = supervisor.settings.reap_seconds
    return app.Worker(
        consumer_cls=functools.partial(
            consumer.Consumer,
            check_for_jobs=supervisor.check_for_jobs,
            check_seconds=check_seconds,
        ),
        pool=consumer.SlotPool,
        concurrency=supervisor.slots,
        queues=queues,
        hostname=hostname,
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
        loglevel="WARNING",
        quiet=True,
    )


def _add_task(app: App, supervisor: Supervisor) -> None:
    @app.task(name=hint_messages.TASK)  # type: ignore[untyped-decorator]
    def run(v: int, job: str, model: str) -> None:
        supervisor.run_jobs()
        health = supervisor.health
        if health.is_sick and supervisor.drain_by is None:
            # If no other worker listens, the hint returns at once.
            health.healthy.wait(PASS_ON_SECONDS)
            supervisor.run_jobs()
        if supervisor.drain_by is not None or health.is_sick:
            pass_on(job, model)
        elif health.avoids(job, model):
            later = threading.Timer(PASS_ON_SECONDS, pass_on, (job, model))
            later.daemon = True
            later.start()

    def pass_on(job: str, model: str) -> None:
        with contextlib.suppress(BrokerError):
            app.broker.send([Hint(job, supervisor.pool, model)])  # for another worker


def _announce(
    db: Database, supervisor: Supervisor, worker_id: str, plan: Plan, cards: list[Card]
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
        gpus=plan.gpus,
    )
    name = jobs.register_worker(db, me)
    log_new_name(supervisor.name, name)
    return name
