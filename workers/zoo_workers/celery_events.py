"""Remote control and events of Celery, for its tools: `celery inspect` and Flower.

On with `ZOO_CELERY_EVENTS=on`. Celery's own events are about hints, and a hint is not a job: it
wakes a slot, which then runs jobs until there is none to claim. So this worker answers and sends
events about its jobs: a task of these tools is a job, with the job's id.
"""

from __future__ import annotations

import contextlib
import logging
import os
import platform
import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from celery.worker import control

import zoo
from zoo.errors import reason
from zoo.jobs import Job
from zoo.queue.hint_messages import queue_name
from zoo_workers.celery_app import App
from zoo_workers.execution import Execution
from zoo_workers.slots import Supervisor

logger = logging.getLogger("zoo.worker")

BEAT_SECONDS = 5.0
"""Time between two heartbeats; after two that are missing the tools show the worker as offline."""
MAX_WAITING = 1000
"""Events kept while the broker is slow; further ones are dropped, no job waits for them."""
MAX_ARGUMENTS = 1024
"""Characters of a job's arguments in an event."""
PAUSE_SECONDS = 5.0
"""Time between two attempts to connect."""
END_SECONDS = 2.0
"""Time limit for the last events of a worker that stops."""
READS = ("ping", "registered", "active_queues", "scheduled", "reserved", "revoked", "clock")
"""Commands that are answered as in Celery; they change nothing."""
REFUSED = "Zoo does not run this command: see `zoo worker --help`, `zoo cancel` and docs/celery.md."


class _Commands(dict[str, Callable[..., Any]]):
    """Commands by name; any other is refused in a sentence."""

    def __missing__(self, name: str) -> Callable[..., Any]:
        return lambda *_, **__: {"error": REFUSED}


def task_name(job: Job) -> str:
    """Return the name of a job as a task: `zoo.train.logistic`."""
    return f"zoo.{job.kind}.{job.model}"


class JobEvents(threading.Thread):
    """Publishes the events of jobs, and answers remote commands about them."""

    def __init__(self, app: App, supervisor: Supervisor, hostname: str) -> None:
        super().__init__(daemon=True, name="celery events")
        self._app = app
        self._supervisor = supervisor
        self._hostname = hostname
        self._waiting: queue.Queue[tuple[str, dict[str, Any]]] = queue.Queue(MAX_WAITING)
        self._began: dict[str, float] = {}
        self._ended: Counter[str] = Counter()
        self._is_over = threading.Event()
        self._error = ""
        self._answer_commands()

    def _answer_commands(self) -> None:
        self._app.conf.worker_enable_remote_control = True
        known = control.Panel.data
        answered = {name: _without_arguments(known[name]) for name in READS}
        answered |= {"active": self._active, "stats": self._stats}
        control.Panel.data = _Commands(answered)
        self._supervisor.on_begin, self._supervisor.on_end = self._begin, self._end

    def end(self) -> None:
        """Publish that the worker is offline, and stop."""
        self._put("worker-offline", self._load())
        self._is_over.set()
        self.join(END_SECONDS)

    # --- commands ---

    def _active(self, *_: Any, **__: Any) -> list[dict[str, Any]]:
        """Return the running jobs as `celery inspect active` lists tasks."""
        found: list[dict[str, Any]] = []
        for job in (each.job for each in self._supervisor.executions):
            route = queue_name(job.pool, job.model)
            found.append(
                {
                    "id": job.id,
                    "name": task_name(job),
                    "type": task_name(job),
                    "args": [],
                    "kwargs": _arguments(job),
                    "hostname": self._hostname,
                    "time_start": job.started_at,
                    "acknowledged": True,
                    "delivery_info": {"exchange": "", "routing_key": route, "priority": 0},
                    "worker_pid": os.getpid(),
                }
            )
        return found

    def _stats(self, consumer_state: Any, **_: Any) -> dict[str, Any]:
        found: dict[str, Any] = consumer_state.consumer.controller.stats()
        return found | {"total": dict(self._ended)}

    # --- events ---

    def _begin(self, execution: Execution) -> None:
        self._began[execution.job.id] = time.monotonic()
        self._put("task-received", _facts(execution.job))
        self._put("task-started", _facts(execution.job))

    def _end(self, execution: Execution) -> None:
        job = execution.job
        self._ended[task_name(job)] += 1
        seconds = time.monotonic() - self._began.pop(job.id, time.monotonic())
        kind, fields = _end_event(execution, seconds)
        self._put(kind, _facts(job) | fields)

    def _put(self, kind: str, fields: Mapping[str, Any]) -> None:
        with contextlib.suppress(queue.Full):
            self._waiting.put_nowait((kind, {"timestamp": time.time(), **fields}))

    def run(self) -> None:
        while not self._is_over.is_set():
            try:
                with self._app.connection_for_write() as connection:
                    self._publish(connection)
            except Exception as error:  # jobs go on without events
                if self._error != (why := reason(error)):
                    logger.warning("events for Celery's tools cannot be sent: %s", why)
                self._error = why
                self._is_over.wait(PAUSE_SECONDS)

    def _publish(self, connection: Any) -> None:
        dispatcher = self._app.events.Dispatcher(
            connection, hostname=self._hostname, buffer_while_offline=False
        )
        with dispatcher:
            dispatcher.send("worker-online", **self._load())
            self._error, beat_at = "", time.monotonic()
            while not (self._is_over.is_set() and self._waiting.empty()):
                with contextlib.suppress(queue.Empty):
                    kind, fields = self._waiting.get(timeout=BEAT_SECONDS)
                    dispatcher.send(kind, **fields)
                if time.monotonic() >= beat_at + BEAT_SECONDS:
                    dispatcher.send("worker-heartbeat", **self._load())
                    beat_at = time.monotonic()

    def _load(self) -> dict[str, Any]:
        return {
            "freq": BEAT_SECONDS,
            "active": self._supervisor.busy,
            "processed": self._ended.total(),
            "loadavg": [round(each, 2) for each in os.getloadavg()],
            "sw_ident": "zoo",
            "sw_ver": zoo.__version__,
            "sw_sys": platform.system(),
        }


def _without_arguments(command: Callable[..., Any]) -> Callable[..., Any]:
    """Return the command without its arguments, which come from the broker unchecked."""
    return lambda consumer_state, **_: command(consumer_state)


def _arguments(job: Job) -> dict[str, Any]:
    """Return what tells a job from others, as the arguments of its task."""
    found = {"job": job.id, "model": job.model, "dataset": job.dataset_label, **job.chosen}
    return found | ({"group": job.group} if job.group else {})


def _facts(job: Job) -> dict[str, Any]:
    """Return what each event says of a job, for tools that were started after it."""
    found = {"uuid": job.id, "name": task_name(job), "retries": job.attempt - 1}
    return found | {"args": "()", "kwargs": repr(_arguments(job))[:MAX_ARGUMENTS]}


def _end_event(execution: Execution, seconds: float) -> tuple[str, dict[str, Any]]:
    """Return the event of an attempt that has ended, with its fields."""
    outcome = execution.outcome
    if outcome is None or not execution.committed:
        return "task-retried", {"exception": "The job goes on in another attempt.", "traceback": ""}
    if outcome.status == "succeeded":
        measured = {"accuracy": (outcome.metrics or {}).get("accuracy")}
        return "task-succeeded", {"result": repr(measured), "runtime": seconds}
    if outcome.status in ("cancelled", "pruned"):
        return "task-revoked", {"terminated": True, "signum": None, "expired": False}
    why = f"{outcome.status}: {outcome.error or outcome.error_code or ''}"
    return "task-failed", {"exception": why, "traceback": ""}
