"""The broker consumer of a worker: it validates every message and survives every broker error.

Celery's worker stops at a malformed message, and at some replies of a server that fails over. This
one drops a message that is not a hint, and reconnects after any error, without a limit; meanwhile
its slots claim jobs from the database.
"""

from __future__ import annotations

import logging
import os
import random
import re
import signal
import time
from collections.abc import Callable, Sequence
from typing import Any

import kombu
import redis
from celery.concurrency import thread
from celery.worker import consumer
from celery.worker.state import maybe_shutdown
from kombu.transport import redis as transport

from zoo.errors import ZooError
from zoo.queue import hint_messages
from zoo_workers.celery_app import App

logger = logging.getLogger("zoo.worker")

POLL_SECONDS = 10
"""Time for which the broker keeps one request for hints open; a hint is returned at once."""
SHOWN_CHARACTERS = 120
"""Characters of a dropped message that are logged."""
MAX_LINES = 20
"""Number of dropped messages that are logged singly; further ones are counted."""
QUIET_SECONDS = 60.0
"""Time without a dropped message after which the next one is logged singly again."""
PROVE_SECONDS = 5.0
"""Time limit for a reply of a broker after an outage."""
PAUSE_SECONDS, MAX_PAUSE_SECONDS = 0.5, 30.0
"""First pause between two attempts to connect, which doubles each time, and its limit."""
STEADY_SECONDS = 60.0
"""Length of a connection after which the next outage starts with short pauses."""
REMIND_SECONDS = 600.0
"""Time in an outage after which the next line about it is logged."""
MAX_ERRORS = 10
"""Number of different errors of an outage that are logged at once."""
CHECK_SECONDS = 5.0
"""Longest interval at which slots check the database for jobs while the broker is unavailable."""


def configure(app: App, queues: Sequence[str]) -> None:
    """Configure the Celery app of a worker for hints from these queues only."""
    app.amqp.Connection = _Connection
    # A queue of Redis exists by itself: declare none, and read no table of them.
    app.conf.task_queues = [kombu.Queue(n, routing_key=n, no_declare=True) for n in queues]
    app.finalize()
    for name in list(app.tasks):  # Celery's own: celery.map, celery.chord_unlock, ...
        if name != hint_messages.TASK:
            app.tasks.unregister(name)


class _Client(redis.Redis):
    """Passes only valid hints on to kombu, which does not validate messages."""

    def parse_response(self, connection: Any, command_name: Any, **options: Any) -> Any:
        reply = super().parse_response(connection, command_name, **options)  # type: ignore[no-untyped-call]
        if command_name != "BRPOP" or not reply:
            return reply
        key, message = reply
        name = key.decode(errors="replace")
        try:  # written again: what else the message may hold is none of Celery's business
            return key, hint_messages.write(*hint_messages.read(message, name), name)
        except ValueError as error:
            shown = ascii(message[:SHOWN_CHARACTERS])
            line = "dropped a message of %d bytes from the queue %s, because %s: %s"
            _dropped.log(line % (len(message), ascii(name)[1:-1], error, shown))
            return None


class _Dropped:
    """Log lines about dropped messages: a flood of messages must not fill the disk."""

    def __init__(self) -> None:
        self._last = float("-inf")
        self._count = 0

    def log(self, line: str) -> None:
        """Log the first ones singly; then their number at each power of ten."""
        now = time.monotonic()
        if now - self._last > QUIET_SECONDS:
            self._count = 0
        self._last = now
        self._count += 1
        if self._count <= MAX_LINES:
            logger.warning("%s", line)
        if self._count == MAX_LINES:
            logger.warning("further dropped messages are only counted")
        elif self._count > MAX_LINES and re.fullmatch("10+", str(self._count)):
            logger.warning("dropped %d messages in a row that are not hints", self._count)


_dropped = _Dropped()


class _Channel(transport.Channel):  # type: ignore[misc]
    do_restore = False  # housekeeping sends a hint again if the job waits

    def _get_client(self) -> Any:
        super()._get_client()  # checks the version of the library
        return _Client

    def close(self) -> None:
        # kombu would wait until the broker replies to the open request for hints.
        client = self.__dict__.get("client")
        if client is not None and client.connection is not None:
            client.connection.disconnect()
        super().close()


class _Transport(transport.Transport):  # type: ignore[misc]
    Channel = _Channel
    brpop_timeout = POLL_SECONDS


class _Connection(kombu.Connection):  # type: ignore[misc]
    def get_transport_cls(self) -> type[_Transport]:
        return _Transport


class SlotPool(thread.TaskPool):  # type: ignore[misc]
    """Celery's threads, whose worker listens again as soon as a busy slot is free.

    Celery's own pool would check that once a second.
    """

    _hub: Any = None

    def register_with_event_loop(self, hub: Any) -> None:
        """Store the event loop; called by Celery at each connection."""
        self._hub = hub

    def on_apply(self, *args: Any, **named: Any) -> Any:
        """Execute a task in a slot."""
        result = super().on_apply(*args, **named)
        result.f.add_done_callback(self._wake)
        return result

    def _wake(self, _: Any) -> None:
        if self._hub is not None:
            self._hub.call_soon(lambda: None)


class Consumer(consumer.Consumer):  # type: ignore[misc]
    """Reconnects after any error, until the worker is asked to stop."""

    def __init__(
        self, *args: Any, check_for_jobs: Callable[[], None], check_seconds: float, **named: Any
    ) -> None:
        """`check_for_jobs` is called every `check_seconds` while the broker is unavailable."""
        super().__init__(*args, **named)
        # Celery reconnects after these; by default some replies of the server end the worker.
        self.connection_errors = (Exception,)
        self._queues = [each.name for each in self.app.amqp.queues.consume_from.values()]
        self._check_for_jobs = check_for_jobs
        self._check_seconds = min(check_seconds, CHECK_SECONDS)
        self._checked = float("-inf")
        self._outage = _Outage()
        self._has_connected = False
        self.connection: Any = None
        self._hang_up = signal.getsignal(signal.SIGHUP)

    def start(self) -> None:
        """Listen until the worker is asked to stop."""
        # Celery would restart the program, without the secrets that the worker has removed.
        if self._hang_up is not signal.SIG_IGN:
            signal.signal(signal.SIGHUP, lambda *_: os.kill(os.getpid(), signal.SIGTERM))
        else:
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
        super().start()

    def ensure_connected(self, conn: Any) -> Any:
        """Connect once, after a test that the broker stores and returns hints.

        `conn` was made before the server was located; another one is returned.
        """
        self.app.broker.prove(self._queues, seconds=PROVE_SECONDS)
        conn = self.app.connection_for_read()
        conn.connect()
        if self._outage.end() or not self._has_connected:
            # Earlier hints may be lost, or held by a worker that has just ended.
            self._check_for_jobs()
        self._has_connected = True
        return conn

    def create_task_handler(self, *args: Any, **named: Any) -> Callable[[Any], None]:
        """Return the function that takes hints; the first one proves that the connection works."""
        handle = super().create_task_handler(*args, **named)

        def take(message: Any) -> None:
            self._outage.reset()
            handle(message)

        return take

    def on_connection_error_before_connected(self, exc: BaseException) -> None:
        """Pause; then Celery connects again."""
        self._pause(exc)

    def on_connection_error_after_connected(self, exc: BaseException) -> None:
        """Close the connection and pause; then Celery connects again."""
        connection, self.connection = self.connection, None
        try:
            connection.close()
        except Exception as error:
            logger.debug("the connection to the broker could not be closed: %r", error)
        self._pause(exc)

    def _pause(self, error: BaseException) -> None:
        known = error if isinstance(error, ZooError) else self.app.broker.error(error)
        seconds = self._outage.begin(known)
        ends = time.monotonic() + seconds
        while (now := time.monotonic()) < ends:
            maybe_shutdown()
            if now > self._checked + self._check_seconds:
                self._checked = now
                self._check_for_jobs()
            time.sleep(min(0.2, ends - now))


class _Outage:
    """A broker outage, from the first error until hints arrive again: its pauses and log lines."""

    def __init__(self) -> None:
        self._since: float | None = None
        self._ended = time.monotonic()
        self._pauses = 0
        self._logged: set[str] = set()
        self._logged_at = 0.0

    def begin(self, error: ZooError) -> float:
        """Log the error once, and at intervals; return the seconds before the next attempt."""
        now = time.monotonic()
        if self._since is None:
            if now - self._ended > STEADY_SECONDS:
                self.reset()
            self._since = now
        is_new = str(error) not in self._logged and len(self._logged) < MAX_ERRORS
        if is_new or now - self._logged_at > REMIND_SECONDS:
            self._logged.add(str(error))
            self._logged_at = now
            minutes = (now - self._since) / 60
            so_far = f" for {minutes:.0f} min" if minutes >= 1 else ""
            logger.warning("%s Meanwhile%s jobs are claimed from the database.", error, so_far)
        longest: float = min(MAX_PAUSE_SECONDS, PAUSE_SECONDS * 2**self._pauses)
        self._pauses = min(self._pauses + 1, 10)
        return longest * random.uniform(0.5, 1.0)  # so that workers do not connect all at once

    def reset(self) -> None:
        """Start the next outage with short pauses, and log its errors again."""
        self._pauses = 0
        self._logged.clear()

    def end(self) -> bool:
        """End the outage; return whether there was one."""
        if self._since is None:
            return False
        self._ended = time.monotonic()
        logger.info("the broker delivers hints again, after %.0f s", self._ended - self._since)
        self._since = None
        return True
