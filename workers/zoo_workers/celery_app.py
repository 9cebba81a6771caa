"""The Celery app of a worker and of Celery's own programs, configured by Zoo's settings alone."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from celery import Celery
from celery.loaders.app import AppLoader

from zoo.queue.broker import Broker
from zoo.settings import Settings


class _Loader(AppLoader):  # type: ignore[misc]
    """Reads no configuration module: CELERY_CONFIG_MODULE belongs to another project."""

    def read_configuration(self, env: str = "") -> dict[str, Any]:
        return {}


class App(Celery):  # type: ignore[misc]
    """A Celery app whose connections go to the server at which the broker was last located.

    In Celery, CELERY_BROKER_URL and similar variables override the settings of an app.
    """

    backend_cls = "disabled://"

    def __init__(self, broker: Broker) -> None:
        # No fixups: the Django fixup imports the project named by DJANGO_SETTINGS_MODULE.
        super().__init__("zoo", set_as_current=False, loader=_Loader, fixups=())
        self.broker = broker

    def connection_for_read(self, url: str | None = None, **options: Any) -> Any:
        return super().connection_for_read(url or kombu_url(self.broker.server), **options)

    def connection_for_write(self, url: str | None = None, **options: Any) -> Any:
        return super().connection_for_write(url or kombu_url(self.broker.server), **options)


def make_app(settings: Settings, *, patient: bool) -> App:
    """Return the Celery app; `patient` sets the longer time limits of a worker.

    Raises UsageError for an unsupported broker URL.
    """
    broker = Broker(settings, patient=patient)
    app = App(broker)
    app.conf.update(
        broker_url=kombu_url(broker.server),
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
            "socket_timeout": broker.answer_seconds,
            "socket_connect_timeout": broker.connect_seconds,
        },
    )
    return app


def kombu_url(server: str) -> str:
    """Return the URL of a server as kombu reads it, which has its own words for sockets."""
    parts = urlsplit(server)
    if parts.scheme != "unix":
        return server
    options = {"virtual_host" if n == "db" else n: value for n, value in parse_qsl(parts.query)}
    asked = f"?{urlencode(options)}" if options else ""
    return f"redis+socket://{parts.netloc}{parts.path}{asked}"
