"""The broker: a Celery app that sends hints to workers. The database is authoritative."""

from __future__ import annotations

import contextlib
import logging
import secrets
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol
from urllib.parse import parse_qs, urlsplit

import kombu.transport.redis  # noqa: F401 (else Celery imports it at the first hint: 0.1 s)
from celery import Celery
from celery.loaders.app import AppLoader
from kombu.exceptions import OperationalError

from zoo.errors import BrokerError, UsageError, reason
from zoo.settings import Settings

TASK = "zoo.run"
PROBE = "zoo.probe."
"""Prefix of the keys of temporary lists that test whether the broker accepts hints."""
REFUSED = "zoo.refused."
"""Prefix for renamed keys that have the name of a queue but are not lists."""
logger = logging.getLogger("zoo.worker")

READS_ONLY = "Name the primary, not a replica, in ZOO_BROKER_URL."
CLUSTER = (
    "is part of a cluster, which Zoo cannot use",
    "Use a Valkey or Redis without cluster mode (replicas and failover are supported).",
)
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
        "Correct it and restart the workers: they read it when they start.",
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
    broker: str
    """The URL of the broker."""

    def __init__(self, broker: str) -> None:
        # No fixups: the Django fixup imports the project named by DJANGO_SETTINGS_MODULE.
        super().__init__("zoo", set_as_current=False, loader=_Loader, fixups=())
        self.broker = broker

    def connection_for_read(self, url: str | None = None, **options: Any) -> Any:
        return super().connection_for_read(url or self.broker, **options)

    def connection_for_write(self, url: str | None = None, **options: Any) -> Any:
        return super().connection_for_write(url or self.broker, **options)


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
    url = _celery_url(settings.broker)
    app = App(url)
    app.conf.update(
        broker_url=url,
        task_ignore_result=True,
        worker_disable_prefetch=True,
        worker_enable_remote_control=False,
        worker_send_task_events=False,
        worker_hijack_root_logger=False,
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
    options = {} if seconds is None else {"socket_timeout": seconds}
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
    shown, code = _shown(app.broker), error_code(error)
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
    app.send_task(
        TASK,
        kwargs={"v": 1, "job": hint.job, "model": hint.model},
        queue=queue_name(hint.pool, hint.model),
        declare=(),  # queues in Redis need no declaration
        producer=producer,
        retry=False,
        ignore_result=True,
    )


def ping(app: App) -> str:
    """Check that the broker answers; return its address without the password.

    Raises BrokerError if it does not.
    """
    send(app, [])
    return _shown(app.broker)


def prove(app: App, queues: Sequence[str] = (), seconds: float | None = None) -> str:
    """Check that a hint can be sent and received; return the broker's address.

    The check runs the same commands as hints on a temporary list, and renames keys of the wrong
    type that have the names of these queues. `seconds` is the time limit of each answer. Raises
    BrokerError if the broker does not accept hints, UsageError if it is part of a cluster.
    """
    sent = secrets.token_hex(16).encode()
    key = PROBE + sent.decode()
    try:
        with _connected(app, seconds) as connection:
            client = _client(connection)
            client.lpush(key, sent)
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
    shown = _shown(app.broker)
    if found is None or found[1] != sent:
        raise BrokerError(f"The broker {shown} lost a test message.")
    return shown


def _celery_url(url: str) -> str:
    try:
        parts = urlsplit(url)
        _port, number = parts.port, parts.path.strip("/") or "0"
        is_good = parts.scheme == "unix" or (
            parts.scheme in ("redis", "rediss") and number.isdigit()
        )
    except ValueError:
        is_good = False
    if not is_good:  # not shown: it may contain a password
        raise UsageError(
            "ZOO_BROKER_URL is not a URL of Valkey or Redis.",
            "For example: redis://:PASSWORD@host:6379/0, rediss://... or unix:///path.",
        )
    if parts.scheme == "rediss" and "ssl_cert_reqs" not in parse_qs(parts.query):
        # By default kombu would accept any certificate.
        return url + ("&" if parts.query else "?") + "ssl_cert_reqs=required"
    return url.replace("unix://", "redis+socket://", 1)


def _shown(url: str) -> str:
    parts = urlsplit(url)
    place = parts.hostname or parts.path
    return f"{parts.scheme}://{place}{f':{parts.port}' if parts.port else ''}"
