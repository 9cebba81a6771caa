"""How a worker listens to the broker: it takes nothing on trust, and outlives every fault of it.

Celery's worker stops for good at a message of another shape, and at many an answer of a server
that fails over. Here a message that is no hint is dropped, and whatever goes wrong with the broker
has the worker connect again, for ever; meanwhile its slots take their jobs from the rows.
"""

from __future__ import annotations

import base64
import binascii
import json
import logging
import os
import random
import re
import signal
import time
import uuid
from collections.abc import Callable, Sequence
from typing import Any

import kombu
import redis
from celery.concurrency import thread
from celery.worker import consumer
from celery.worker.state import maybe_shutdown
from kombu.transport import redis as transport

from zoo.errors import ZooError
from zoo.queue import broker

logger = logging.getLogger("zoo.worker")

POLL_SECONDS = 10
"""How long the broker keeps one request for hints open: it answers at once when there is one."""
MOST_BYTES = 65_536
"""A hint has about 700."""
SHOWN_CHARACTERS = 120
"""Of a message that is no hint, in the log."""
MOST_LINES = 20
"""Of dropped messages that get a line each; those that follow are counted."""
QUIET_SECONDS = 60.0
"""Without a dropped message, and the next one gets a line again."""
PROVE_SECONDS = 5.0
"""What an answer may take of a broker that has been away."""
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
"""Seconds between two attempts to connect: twice as long each time."""
STEADY_SECONDS = 60.0
"""A connection that has lasted this long ends an outage: the next one begins with short pauses."""
LOOK_SECONDS = 5.0
"""Between two looks at the rows, while no hints come."""
JOB = re.compile(r"[0-9a-f]{32}")


def make_app(app: broker.App, queues: Sequence[str]) -> None:
    """Have the Celery app of a worker listen to these queues, and to nothing but hints."""
    app.amqp.Connection = _Connection
    # A queue of Redis is there by itself: nothing is declared, and no table of theirs is read.
    app.conf.task_queues = [kombu.Queue(n, routing_key=n, no_declare=True) for n in queues]
    app.finalize()
    for name in list(app.tasks):  # Celery's own: celery.map, celery.chord_unlock, ...
        if name != broker.TASK:
            app.tasks.unregister(name)


def read_hint(message: bytes, queue_name: str) -> tuple[str, str]:
    """The job and the model that a message of this queue names.

    Raises ValueError, in words, for one that is no hint.
    """
    if len(message) > MOST_BYTES:
        raise ValueError("it is too long")
    try:
        outer = json.loads(message)
        if outer["headers"]["task"] != broker.TASK:
            raise ValueError("it is for another task")
        body = base64.b64decode(outer["body"], validate=True)
        kwargs = json.loads(body)[1]
        job, model = kwargs["job"], kwargs["model"]
    except (KeyError, IndexError, TypeError, binascii.Error):
        raise ValueError("it is no hint") from None
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError):
        raise ValueError("it is not JSON") from None
    if not (isinstance(job, str) and isinstance(model, str)):
        raise ValueError("it is no hint")
    if not JOB.fullmatch(job) or not queue_name.endswith(f".{model}"):
        raise ValueError("it names no job of this queue")
    return job, model


def _message(job: str, model: str, queue_name: str) -> bytes:
    """A hint as Celery has it: whatever else a message holds (callbacks, chains, times) is gone."""
    task = uuid.uuid4().hex
    embed = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
    body = json.dumps([[], {"v": 1, "job": job, "model": model}, embed])
    properties = {
        "correlation_id": task,
        "delivery_tag": task,
        "delivery_info": {"exchange": "", "routing_key": queue_name},
        "body_encoding": "base64",
    }
    whole = {
        "body": base64.b64encode(body.encode()).decode(),
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "headers": {"lang": "py", "task": broker.TASK, "id": task, "root_id": task},
        "properties": properties,
    }
    return json.dumps(whole).encode()


class _Client(redis.Redis):
    """Gives kombu hints alone: it takes the shape of whatever it is given for granted."""

    def parse_response(self, connection: Any, command_name: Any, **options: Any) -> Any:
        answer = super().parse_response(connection, command_name, **options)  # type: ignore[no-untyped-call]
        if command_name != "BRPOP" or not answer:
            return answer
        key, message = answer
        name = key.decode(errors="replace")
        if name.startswith(broker.PROBE):  # no hint, and nothing that kombu is given
            return answer
        try:
            return key, _message(*read_hint(message, name), name)
        except ValueError as error:
            shown = ascii(message[:SHOWN_CHARACTERS])
            told = "dropped a message of %d bytes from the queue %s, for %s: %s"
            _dropped.tell(told % (len(message), ascii(name)[1:-1], error, shown))
            return None


class _Dropped:
    """The lines of the log about messages that were dropped: a flood of them fills no disk."""

    def __init__(self) -> None:
        self._last = float("-inf")
        self._count = 0

    def tell(self, line: str) -> None:
        """Log the first ones each; then their number, whenever it has grown tenfold."""
        now = time.monotonic()
        if now - self._last > QUIET_SECONDS:
            self._count = 0
        self._last = now
        self._count += 1
        if self._count <= MOST_LINES:
            logger.warning("%s", line)
        if self._count == MOST_LINES:
            logger.warning("further messages that are dropped are only counted")
        elif self._count > MOST_LINES and re.fullmatch("10+", str(self._count)):
            logger.warning("dropped %d messages in a row that are no hints", self._count)


_dropped = _Dropped()


class _Channel(transport.Channel):  # type: ignore[misc]
    do_restore = False  # what a stopping worker has not begun is sent again, if it still waits

    def _get_client(self) -> Any:
        super()._get_client()  # it checks the version of the library
        return _Client

    def close(self) -> None:
        # kombu would wait until the broker answers the open request for hints.
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


class Slots(thread.TaskPool):  # type: ignore[misc]
    """Celery's threads; a worker whose slots were all busy listens again as soon as one is free.

    By itself Celery would look once a second whether one is.
    """

    _hub: Any = None

    def register_with_event_loop(self, hub: Any) -> None:
        """Learn what waits for messages; called by Celery at each connection."""
        self._hub = hub

    def on_apply(self, *args: Any, **named: Any) -> Any:
        """Have a slot execute a task."""
        result = super().on_apply(*args, **named)
        result.f.add_done_callback(self._wake)
        return result

    def _wake(self, _: Any) -> None:
        if self._hub is not None:
            self._hub.call_soon(lambda: None)


class Consumer(consumer.Consumer):  # type: ignore[misc]
    """Connects again whatever goes wrong; only a worker that is told to stop stops."""

    def __init__(
        self, *args: Any, look: Callable[[], None], look_seconds: float, **named: Any
    ) -> None:
        """`look` has the slots look at the rows; it is called while no hints come."""
        super().__init__(*args, **named)
        # What Celery connects again after: by itself some answers of the server end the worker.
        self.connection_errors = (Exception,)
        self._queues = [each.name for each in self.app.amqp.queues.consume_from.values()]
        self._look = look
        self._look_seconds = min(look_seconds, LOOK_SECONDS)
        self._looked = float("-inf")
        self._outage = _Outage()
        self._has_connected = False
        self.connection: Any = None
        self._hang_up = signal.getsignal(signal.SIGHUP)

    def start(self) -> None:
        """Listen until the worker is told to stop."""
        # Celery would start the program anew, without the secrets that it has been relieved of.
        if self._hang_up is not signal.SIG_IGN:
            signal.signal(signal.SIGHUP, lambda *_: os.kill(os.getpid(), signal.SIGTERM))
        else:
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
        super().start()

    def ensure_connected(self, conn: Any) -> Any:
        """Connect once, to a broker that takes hints and gives them back."""
        broker.prove(self.app, self._queues, seconds=PROVE_SECONDS)
        conn.connect()
        if self._outage.end() or not self._has_connected:
            # The hints of the time before may be gone, or be with a worker that has just ended.
            self._look()
        self._has_connected = True
        return conn

    def create_task_handler(self, *args: Any, **named: Any) -> Callable[[Any], None]:
        """What takes a hint: the first one says that this connection is a good one."""
        handle = super().create_task_handler(*args, **named)

        def take(message: Any) -> None:
            self._outage.forget()
            handle(message)

        return take

    def on_connection_error_before_connected(self, exc: BaseException) -> None:
        """Wait, then Celery connects once more."""
        self._pause(exc)

    def on_connection_error_after_connected(self, exc: BaseException) -> None:
        """Leave the connection, wait, then Celery connects once more."""
        connection, self.connection = self.connection, None
        try:
            connection.close()
        except Exception as error:
            logger.debug("the connection to the broker could not be closed: %r", error)
        self._pause(exc)

    def _pause(self, error: BaseException) -> None:
        seconds = self._outage.begin(
            error if isinstance(error, ZooError) else broker.broker_error(self.app, error)
        )
        ends = time.monotonic() + seconds
        while (now := time.monotonic()) < ends:
            maybe_shutdown()
            if now > self._looked + self._look_seconds:
                self._looked = now
                self._look()
            time.sleep(min(0.2, ends - now))


class _Outage:
    """From the first error until hints come again: its pauses and its lines in the log."""

    def __init__(self) -> None:
        self._since: float | None = None
        self._ended = time.monotonic()
        self._pauses = 0
        self._told: set[str] = set()

    def begin(self, error: ZooError) -> float:
        """Say what is wrong, once; gives the seconds to wait before the next attempt."""
        now = time.monotonic()
        if self._since is None:
            if now - self._ended > STEADY_SECONDS:
                self.forget()
            self._since = now
        if str(error) not in self._told:
            self._told.add(str(error))
            logger.warning("%s Jobs are taken from the rows meanwhile.", error)
        longest: float = min(LONGEST_PAUSE, FIRST_PAUSE * 2**self._pauses)
        self._pauses = min(self._pauses + 1, 10)
        return longest * random.uniform(0.5, 1.0)  # not all workers at the same moment

    def forget(self) -> None:
        """Have the next outage begin with short pauses, and say what it is about."""
        self._pauses = 0
        self._told.clear()

    def end(self) -> bool:
        """Whether there was one; it is over."""
        if self._since is None:
            return False
        self._ended = time.monotonic()
        logger.info("the broker gives hints again, after %.0f s", self._ended - self._since)
        self._since = None
        return True
