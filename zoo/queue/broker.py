"""The broker: a Celery app that sends hints to workers. The database is authoritative."""

from __future__ import annotations

import base64
import contextlib
import json
import logging
import secrets
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import kombu
import kombu.transport.redis  # (else Celery imports it at the first hint: 0.1 s)
from celery import Celery
from celery.loaders.app import AppLoader
from kombu.exceptions import OperationalError

from zoo.errors import BrokerError, UsageError, reason
from zoo.queue.broker_url import CLUSTER, BrokerUrl, parse_broker_url, show
from zoo.settings import FileSecret, Settings

TASK = "zoo.run"
PROBE = "zoo.probe."
"""Prefix of the keys of temporary lists that test whether the broker accepts hints."""
REFUSED = "zoo.refused."
"""Prefix for renamed keys that have the name of a queue but are not lists."""
logger = logging.getLogger("zoo.worker")

READS_ONLY = "Name the primary, not a replica, in ZOO_BROKER_URL."
REFUSALS = {
    "READONLY": ("is a read-only replica", READS_ONLY),
    "UNBLOCKED": ("has just become a read-only replica", READS_ONLY),
    "MASTERDOWN": ("is a replica that has lost its primary", READS_ONLY),
    "NOREPLICAS": ("accepts no writes: it has too few replicas", "See min-replicas-to-write."),
    "OOM": ("has no memory left for hints", "Raise its maxmemory, or use another broker."),
    "MISCONF": ("accepts no writes: it cannot save to its disk", "Its log has the reason."),
    "LOADING": ("is still loading its data", ""),
    "BUSY": ("is busy with a script", ""),
    "NOAUTH": ("asks for a password", "Set it in ZOO_BROKER_URL: redis://:PASSWORD@host:6379/0."),
    "WRONGPASS": (
        "rejects the user or password of ZOO_BROKER_URL",
        "Correct it. Workers read ZOO_BROKER_URL_FILE again, the variable only when they start.",
    ),
    "NOPERM": (
        "denies required commands or keys to the user of ZOO_BROKER_URL",
        "docs/team.md lists the required commands and keys.",
    ),
    "DENIED": ("is in protected mode", "Set a password, or let it accept this machine."),
    **dict.fromkeys(("MOVED", "ASK", "CROSSSLOT", "CLUSTERDOWN", "TRYAGAIN"), CLUSTER),
}
"""Error code of the server -> (problem, advice)."""


class _Loader(AppLoader):  # type: ignore[misc]
    """Reads no configuration module: CELERY_CONFIG_MODULE belongs to another project."""

    def read_configuration(self, env: str = "") -> dict[str, Any]:
        return {}


class App(Celery):  # type: ignore[misc]
    """A Celery app that is configured by Zoo's settings only, not by the environment.

    In Celery, CELERY_BROKER_URL and similar variables override the settings of an app.
    """

    backend_cls = "disabled://"

    def __init__(self, setting: str) -> None:
        """Take the broker's URL of the settings; raise UsageError if it is none."""
        # No fixups: the Django fixup imports the project named by DJANGO_SETTINGS_MODULE.
        super().__init__("zoo", set_as_current=False, loader=_Loader, fixups=())
        self._setting = setting
        self.url: BrokerUrl = parse_broker_url(setting)
        self.server = self.url.server or "redis://"
        """The URL of the server for kombu, as it was when it was last located."""

    def locate(self, seconds: float) -> None:
        """Find the server: read the file with its URL again, and ask its Sentinels.

        `seconds` is the time limit of all Sentinels. Raises BrokerError.
        """
        if isinstance(self._setting, FileSecret):
            try:
                again = self._setting.read_again()
                if again != self._setting:
                    self.url, self._setting = parse_broker_url(again), again
            except UsageError as error:  # perhaps just being written
                raise BrokerError(error.message, error.hint) from error
        self.server = self.url.locate(seconds)

    def connection_for_read(self, url: str | None = None, **options: Any) -> Any:
        return super().connection_for_read(url or self.server, **options)

    def connection_for_write(self, url: str | None = None, **options: Any) -> Any:
        return super().connection_for_write(url or self.server, **options)


class Hint(Protocol):
    """The fields of a queued job that `send` reads."""

    @property
    def job(self) -> str: ...
    @property
    def pool(self) -> str: ...
    @property
    def model(self) -> str: ...


def queue_name(pool: str, model: str) -> str:
    """Return the Celery queue of a pool and model; workers consume those of their models."""
    return f"{pool}.{model}"


def make_app(settings: Settings, *, patient: bool) -> App:
    """Return the Celery app; `patient` sets the longer timeouts of a worker.

    Raises UsageError for an unsupported broker URL.
    """
    app = App(settings.broker)
    app.conf.update(
        broker_url=app.server,
        task_ignore_result=True,
        worker_disable_prefetch=True,
        worker_enable_remote_control=False,
        worker_send_task_events=False,
        worker_hijack_root_logger=False,
        # With ZOO_CELERY_EVENTS: queues that expire would need the right to run scripts.
        **dict.fromkeys(("control_queue_expires", "control_queue_ttl")),
        **dict.fromkeys(("event_queue_expires", "event_queue_ttl")),
        task_serializer="json",
        accept_content=["json"],
        broker_transport_options={
            # Hints that are lost in a crash are sent again, so the broker keeps no unacknowledged
            # messages and workers do not poll for them.
            "ack_emulation": False,
            "priority_steps": [0],  # priorities are in the database: one key for each queue
            "health_check_interval": 10,
            "socket_timeout": 30 if patient else 1,
            "socket_connect_timeout": 10 if patient else 1,
        },
    )
    return app


def send(
    app: App, hints: Iterable[Hint], *, unless: int | None = None, seconds: float | None = None
) -> None:
    """Send a hint for each job, in one connection.

    With `unless`, queues that already have that many hints get none; `seconds` is the time limit
    of an answer. Raises BrokerError if the broker does not accept the hints: the jobs stay queued,
    and a worker sends the hints again.
    """
    hints = list(hints)
    names = sorted({queue_name(hint.pool, hint.model) for hint in hints})
    with _connected(app, seconds) as connection:
        client = _client(connection)
        _set_aside(client, names)
        if unless is not None:
            short = {name for name in names if client.llen(name) < unless}
            hints = [hint for hint in hints if queue_name(hint.pool, hint.model) in short]
        with app.amqp.Producer(connection) as producer:
            for hint in hints:
                _send(app, producer, hint)


@contextlib.contextmanager
def _connected(app: App, seconds: float | None) -> Iterator[Any]:
    """Connect to the broker; raises its errors as BrokerError."""
    usual = app.conf.broker_transport_options["socket_connect_timeout"]
    options = {}
    if seconds is not None:
        options = {"socket_timeout": seconds, "socket_connect_timeout": min(seconds, usual)}
    app.locate(min(seconds or usual, usual))
    connection = app.connection_for_write(transport_options=options)
    broken = (OperationalError, OSError, *connection.connection_errors, *connection.channel_errors)
    try:
        with connection:
            connection.ensure_connection(max_retries=0, timeout=1)
            yield connection
    except broken as error:
        raise broker_error(app, error) from error


def _client(connection: Any) -> Any:
    """Return the Redis client of a connection."""
    return connection.default_channel.client


def broker_error(app: App, error: BaseException) -> BrokerError:
    """Return a BrokerError with advice for an exception of the broker."""
    shown, code = show_server(app), error_code(error)
    if code in REFUSALS:
        problem, hint = REFUSALS[code]
        return BrokerError(f"The broker {shown} {problem} ({code}).", hint)
    return BrokerError(f"The broker {shown} does not answer: {reason(error)}.")


def error_code(error: BaseException | None) -> str:
    """Return the server's code of an error, such as READONLY; empty for other errors."""
    while error is not None:
        code = getattr(error, "status_code", None) or str(error).partition(" ")[0]
        if code in REFUSALS or code == "WRONGTYPE":
            return str(code)
        error = error.__cause__  # kombu wraps the exceptions of the Redis library
    return ""


def _set_aside(client: Any, names: Sequence[str]) -> None:
    """Rename keys that have the name of a queue but are not lists: they would block all hints."""
    for name in names:
        kind = client.type(name).decode()
        if kind not in ("list", "none"):
            client.rename(name, REFUSED + name)
            message = "the key %s of the broker was a %s, not a queue: renamed to %s"
            logger.warning(message, name, kind, REFUSED + name)


def _send(app: App, producer: Any, hint: Hint) -> None:
    name = queue_name(hint.pool, hint.model)
    app.send_task(
        TASK,
        kwargs={"v": 1, "job": hint.job, "model": hint.model},
        # By its name, Celery would look it up and keep it.
        queue=kombu.Queue(name, routing_key=name),
        declare=(),  # queues in Redis need no declaration
        producer=producer,
        retry=False,
        ignore_result=True,
    )


@dataclass(frozen=True)
class _Probe:
    """A hint that no worker waits for, in a queue of its own."""

    job: str
    pool: str = PROBE.rstrip(".")

    @property
    def model(self) -> str:
        return self.job


def ping(app: App) -> str:
    """Check that the broker answers; return its address without the password.

    Raises BrokerError if it does not.
    """
    send(app, [])
    return show_server(app)


def prove(app: App, queues: Sequence[str] = (), seconds: float | None = None) -> str:
    """Send a hint to a queue of its own and receive it; return the broker's address.

    Keys of the wrong type that have the names of these queues are renamed. `seconds` is the time
    limit of each answer. Raises BrokerError if the broker does not accept hints, UsageError if it
    is part of a cluster.
    """
    probe = _Probe(secrets.token_hex(16))
    key = queue_name(probe.pool, probe.model)
    try:
        with _connected(app, seconds) as connection, app.amqp.Producer(connection) as producer:
            _send(app, producer, probe)
            client = _client(connection)
            try:
                # Like a worker, on several queues at once: clusters reject this.
                found = client.brpop([f"{key}.none", key], timeout=1)
            except Exception:
                with contextlib.suppress(Exception):
                    client.expire(key, 60)
                raise
            _set_aside(client, queues)
    except BrokerError as error:
        if error.hint == CLUSTER[1]:
            raise UsageError(error.message, error.hint) from error
        raise
    shown = show_server(app)
    if found is None or not _is_hint_for(probe.job, found[1]):
        raise BrokerError(f"The broker {shown} lost or changed a test message.")
    return shown


def _is_hint_for(job: str, message: bytes) -> bool:
    try:
        _args, kwargs, _embedded = json.loads(base64.b64decode(json.loads(message)["body"]))
    except (ValueError, KeyError, TypeError):
        return False
    return bool(kwargs["job"] == job)


def show_server(app: App) -> str:
    """Return the server's URL without password, and the Sentinels that named it."""
    if not app.url.sentinels:
        return app.url.shown
    return f"{show(app.server)} (primary '{app.url.master_name}' of {app.url.shown})"
