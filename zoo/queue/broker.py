"""Hints: the Celery app and the wake-up calls that it carries. The row is the truth."""

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
"""So begin the keys of the lists by which a process sees that the broker takes hints."""
REFUSED = "zoo.refused."
"""Before the name of a key that a queue should have: one of the wrong type is renamed to this."""
logger = logging.getLogger("zoo.worker")

READS_ONLY = "Name the primary, not a replica, in ZOO_BROKER_URL."
CLUSTER = (
    "is part of a cluster, which Zoo cannot use",
    "Take a Valkey or Redis without cluster mode (a replica and a fail-over are fine).",
)
REFUSALS = {
    "READONLY": ("is a read-only replica", READS_ONLY),
    "UNBLOCKED": ("has just become a read-only replica", READS_ONLY),
    "MASTERDOWN": ("is a replica that has lost its primary", READS_ONLY),
    "NOREPLICAS": ("accepts no writes, for it has too few replicas", "See min-replicas-to-write."),
    "OOM": ("has no memory left for hints", "Raise its maxmemory, or give Zoo one of its own."),
    "MISCONF": ("accepts no writes, for it cannot save to its disk", "Its log says why."),
    "LOADING": ("is still loading its data", ""),
    "BUSY": ("is busy with a script", ""),
    "NOAUTH": ("asks for a password", "Put it into ZOO_BROKER_URL: redis://:PASSWORD@host:6379/0."),
    "WRONGPASS": (
        "refuses the user or password of ZOO_BROKER_URL",
        "Put the right one there; a worker reads it when it starts.",
    ),
    "NOPERM": (
        "does not allow what Zoo needs to the user of ZOO_BROKER_URL",
        "docs/team.md says which commands and keys that is.",
    ),
    "DENIED": ("is in protected mode", "Give it a password, or have it listen to this machine."),
    **dict.fromkeys(("MOVED", "ASK", "CROSSSLOT", "CLUSTERDOWN", "TRYAGAIN"), CLUSTER),
}
"""What the server's error codes mean, and what to do about them."""


class _Loader(AppLoader):  # type: ignore[misc]
    """Reads no configuration module: CELERY_CONFIG_MODULE is of another project."""

    def read_configuration(self, env: str = "") -> dict[str, Any]:
        return {}


class App(Celery):  # type: ignore[misc]
    """A Celery app that is set up by Zoo's settings alone, whatever the environment says.

    Celery takes CELERY_BROKER_URL and its like for more than what the app is told.
    """

    backend_cls = "disabled://"
    broker: str
    """The URL of the broker."""

    def __init__(self, broker: str) -> None:
        # No fixups: that for Django imports the project that DJANGO_SETTINGS_MODULE names.
        super().__init__("zoo", set_as_current=False, loader=_Loader, fixups=())
        self.broker = broker

    def connection_for_read(self, url: str | None = None, **options: Any) -> Any:
        return super().connection_for_read(url or self.broker, **options)

    def connection_for_write(self, url: str | None = None, **options: Any) -> Any:
        return super().connection_for_write(url or self.broker, **options)


class Hint(Protocol):
    """What `send` needs to know of a queued job."""

    @property
    def job(self) -> str: ...
    @property
    def pool(self) -> str: ...
    @property
    def model(self) -> str: ...


def queue_name(pool: str, model: str) -> str:
    """The Celery queue of a pool and model: a worker consumes those of the models it can load."""
    return f"{pool}.{model}"


def make_app(settings: Settings, *, patient: bool) -> App:
    """The Celery app: `patient` for a worker, which waits for its broker as long as it takes.

    Raises UsageError if the broker's URL is none that Zoo knows.
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
            # A hint that a crash swallows is sent again: the broker need not keep it meanwhile,
            # and nobody need look every few seconds for what others may have kept.
            "ack_emulation": False,
            "priority_steps": [0],  # priorities stand in the rows: one key for each queue
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

    With `unless`, none to a queue that has that many already; `seconds` is the time limit of an
    answer. Raises BrokerError if the broker does not accept them at once: the rows stay queued,
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
    """A connection to the broker; what is wrong with it is raised as a BrokerError."""
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
    """The client of the Redis library that a connection sends with."""
    return connection.default_channel.client


def broker_error(app: App, error: BaseException) -> BrokerError:
    """Return the error for an exception of the broker, with a hint."""
    shown, code = _shown(app.broker), error_code(error)
    if code in REFUSALS:
        problem, hint = REFUSALS[code]
        return BrokerError(f"The broker {shown} {problem} ({code}).", hint)
    return BrokerError(f"The broker {shown} does not answer: {reason(error)}.")


def error_code(error: BaseException | None) -> str:
    """The server's code of an error, such as READONLY; empty if it is none of the server's."""
    while error is not None:
        code = getattr(error, "status_code", None) or str(error).partition(" ")[0]
        if code in REFUSALS or code == "WRONGTYPE":
            return str(code)
        error = error.__cause__  # kombu wraps what the Redis library raises
    return ""


def _set_aside(client: Any, names: Sequence[str]) -> None:
    """Rename keys that have the name of a queue but are no lists, as they block all hints."""
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
        declare=(),  # a queue of Redis is there by itself
        producer=producer,
        retry=False,
        ignore_result=True,
    )


def ping(app: App) -> str:
    """See that the broker answers, and give its address without a password.

    Raises BrokerError if it does not.
    """
    send(app, [])
    return _shown(app.broker)


def prove(app: App, queues: Sequence[str] = (), seconds: float | None = None) -> str:
    """See that a hint can be sent and taken back, and give the broker's address.

    It does with a list of its own what hints take, and has keys of the wrong type out of the way
    of these queues. `seconds` is what each answer may take. Raises BrokerError if the broker does
    not take hints, UsageError if it is part of a cluster.
    """
    sent = secrets.token_hex(16).encode()
    key = PROBE + sent.decode()
    try:
        with _connected(app, seconds) as connection:
            client = _client(connection)
            client.lpush(key, sent)
            try:
                # As a worker waits for several queues, which no cluster allows.
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
        raise BrokerError(f"The broker {shown} lost a message that was sent a moment ago.")
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
    if not is_good:  # not shown, for it may hold a password
        raise UsageError(
            "ZOO_BROKER_URL is not the URL of a Valkey or Redis.",
            "For example: redis://:PASSWORD@host:6379/0, rediss://... or unix:///path.",
        )
    if parts.scheme == "rediss" and "ssl_cert_reqs" not in parse_qs(parts.query):
        # Without a word about certificates kombu would accept any.
        return url + ("&" if parts.query else "?") + "ssl_cert_reqs=required"
    return url.replace("unix://", "redis+socket://", 1)


def _shown(url: str) -> str:
    parts = urlsplit(url)
    place = parts.hostname or parts.path
    return f"{parts.scheme}://{place}{f':{parts.port}' if parts.port else ''}"
