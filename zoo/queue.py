"""Hints: the Celery app and the wake-up calls that it carries. The row is the truth."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol
from urllib.parse import parse_qs, urlsplit

import kombu.transport.redis  # noqa: F401 (else Celery imports it at the first hint: 0.1 s)
from celery import Celery
from celery.loaders.app import AppLoader
from kombu.exceptions import ChannelError, OperationalError

from zoo.errors import BrokerError, UsageError, reason
from zoo.settings import Settings

TASK = "zoo.run"


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
        # Early acknowledgement: what a crash interrupts comes back through the lease.
        task_acks_late=False,
        task_reject_on_worker_lost=False,
        task_ignore_result=True,
        worker_disable_prefetch=True,
        worker_enable_remote_control=False,
        worker_send_task_events=False,
        worker_hijack_root_logger=False,
        task_serializer="json",
        accept_content=["json"],
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options={
            "visibility_timeout": 120,
            "unacked_restore_interval": 5,
            "unacked_restore_throttle": 1,
            "health_check_interval": 10,
            "socket_timeout": 30 if patient else 1,
            "socket_connect_timeout": 10 if patient else 1,
        },
    )
    return app


def send(app: App, hints: Iterable[Hint], *, unless: int | None = None) -> None:
    """Send a hint for each job, in one connection.

    With `unless`, none to a queue where so many wait already. Raises BrokerError if the broker
    does not answer at once: the rows wait, a worker sends again.
    """
    connection = app.connection_for_write()
    broken = (OperationalError, OSError, *connection.connection_errors, *connection.channel_errors)
    try:
        with connection:
            connection.ensure_connection(max_retries=0, timeout=1)
            if unless is not None:
                hints = _needed(connection, list(hints), unless)
            with app.amqp.Producer(connection) as producer:
                for hint in hints:
                    _send(app, producer, hint)
    except broken as error:
        raise BrokerError(
            f"The broker {_shown(app.broker)} does not answer: {reason(error)}."
        ) from error


def _needed(connection: Any, hints: list[Hint], enough: int) -> list[Hint]:
    names = {queue_name(hint.pool, hint.model) for hint in hints}
    short = {name for name in names if _waiting(connection, name) < enough}
    return [hint for hint in hints if queue_name(hint.pool, hint.model) in short]


def _waiting(connection: Any, name: str) -> int:
    try:
        found = connection.default_channel.queue_declare(name, passive=True)
        return int(found.message_count)
    except ChannelError:  # nobody has used this queue yet
        return 0


def _send(app: App, producer: Any, hint: Hint) -> None:
    app.send_task(
        TASK,
        kwargs={"v": 1, "job": hint.job, "model": hint.model},
        queue=queue_name(hint.pool, hint.model),
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
