"""The broker: a Valkey or Redis with queues of hints for workers. The database is authoritative.

Hints are sent with the Redis library alone: importing Celery takes a quarter of `zoo train -d`.
Workers receive them with Celery.
"""

from __future__ import annotations

import contextlib
import logging
import secrets
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from zoo.errors import BrokerError, UsageError, reason
from zoo.queue import hint_messages
from zoo.queue.broker_url import CLUSTER, BrokerUrl, parse_broker_url, show
from zoo.queue.hint_messages import queue_name
from zoo.settings import FileSecret, Settings

PROBE = "zoo.probe"
"""Pool of the queues, each used once, that test whether the broker accepts hints."""
REFUSED = "zoo.refused."
"""Prefix for renamed keys that have the name of a queue but are not lists."""
CONNECT_SECONDS, ANSWER_SECONDS = 1.0, 1.0
"""Time limits of a command that a person waits for."""
PATIENT_CONNECT_SECONDS, PATIENT_ANSWER_SECONDS = 10.0, 30.0
"""Time limits of a worker."""
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


class Hint(Protocol):
    """The fields of a queued job that `send` reads."""

    @property
    def job(self) -> str: ...
    @property
    def pool(self) -> str: ...
    @property
    def model(self) -> str: ...


class Broker:
    """The broker of the settings, and the server that it was when it was last located."""

    def __init__(self, settings: Settings, *, patient: bool) -> None:
        """`patient` sets the longer time limits of a worker.

        Raises UsageError for an unsupported broker URL.
        """
        self._setting = settings.broker
        self._url = _checked_url(self._setting)
        self.server = self._url.server or "redis://"
        """The URL of the server, with its password."""
        self.answer_seconds = PATIENT_ANSWER_SECONDS if patient else ANSWER_SECONDS
        self.connect_seconds = PATIENT_CONNECT_SECONDS if patient else CONNECT_SECONDS

    @property
    def shown(self) -> str:
        """The server's URL without password, and the Sentinels that named it."""
        if not self._url.sentinels:
            return self._url.shown
        return f"{show(self.server)} (primary '{self._url.master_name}' of {self._url.shown})"

    def locate(self, seconds: float) -> None:
        """Find the server: read the file with its URL again, and ask its Sentinels.

        `seconds` is the time limit of all Sentinels. Raises BrokerError.
        """
        if isinstance(self._setting, FileSecret):
            try:
                again = self._setting.read_again()
                if again != self._setting:
                    self._url, self._setting = _checked_url(again), again
            except UsageError as error:  # perhaps just being written
                raise BrokerError(error.message, error.hint) from error
        self.server = self._url.locate(seconds)

    def send(
        self, hints: Iterable[Hint], *, unless: int | None = None, seconds: float | None = None
    ) -> None:
        """Send a hint for each job, in one connection.

        With `unless`, queues that already have that many hints get none; `seconds` is the time
        limit of an answer. Raises BrokerError if the broker does not accept the hints: the jobs
        stay queued, and a worker sends the hints again.
        """
        messages: dict[str, list[bytes]] = defaultdict(list)
        for hint in hints:
            name = queue_name(hint.pool, hint.model)
            messages[name].append(hint_messages.write(hint.job, hint.model, name))
        with self._connected(seconds) as client:
            _set_aside(client, sorted(messages))
            for name, found in messages.items():
                if unless is None or int(client.llen(name)) < unless:
                    client.lpush(name, *found)

    def prove(self, queues: Sequence[str] = (), seconds: float | None = None) -> str:
        """Send a hint to a queue of its own and receive it; return the broker's address.

        Keys of the wrong type that have the names of these queues are renamed. `seconds` is the
        time limit of each answer. Raises BrokerError if the broker does not accept hints,
        UsageError if it is part of a cluster.
        """
        job = secrets.token_hex(16)
        key = queue_name(PROBE, job)
        sent = hint_messages.write(job, job, key)
        try:
            with self._connected(seconds) as client:
                client.lpush(key, sent)
                try:
                    # Like a worker, on several queues at once: clusters reject this.
                    found: Any = client.brpop([f"{key}.none", key], timeout=1)
                except Exception:
                    with contextlib.suppress(Exception):
                        client.expire(key, 60)
                    raise
                _set_aside(client, queues)
        except BrokerError as error:
            if error.hint == CLUSTER[1]:
                raise UsageError(error.message, error.hint) from error
            raise
        if found is None or found[1] != sent:
            raise BrokerError(f"The broker {self.shown} lost or changed a test message.")
        return self.shown

    def error(self, error: BaseException) -> BrokerError:
        """Return a BrokerError with advice for an exception of the broker."""
        code = _error_code(error)
        if code in REFUSALS:
            problem, hint = REFUSALS[code]
            return BrokerError(f"The broker {self.shown} {problem} ({code}).", hint)
        return BrokerError(f"The broker {self.shown} does not answer: {reason(error)}.")

    @contextlib.contextmanager
    def _connected(self, seconds: float | None) -> Iterator[redis.Redis]:
        """Connect to the broker; raises its errors as BrokerError."""
        connect_seconds = min(seconds or self.connect_seconds, self.connect_seconds)
        self.locate(connect_seconds)
        try:
            with redis.Redis.from_url(
                self.server,
                socket_timeout=seconds or self.answer_seconds,
                socket_connect_timeout=connect_seconds,
                retry=Retry(NoBackoff(), 0),
            ) as client:
                client.ping()
                yield client
        except (redis.RedisError, OSError, UnicodeError) as error:  # the last: a host too long
            raise self.error(error) from error


def _checked_url(setting: str) -> BrokerUrl:
    """Read the setting; raise UsageError also for options that the Redis library does not take."""
    found = parse_broker_url(setting)
    try:
        pool = redis.ConnectionPool.from_url(found.server or found.server_url("localhost", 1))
        pool.connection_class(**pool.connection_kwargs)  # connects to nothing yet
    except (TypeError, ValueError, redis.RedisError) as error:
        raise UsageError(
            f"ZOO_BROKER_URL has an option that the Redis library does not take: {reason(error)}.",
            "Options are those of TLS, such as ssl_ca_certs=/etc/ssl/ca.pem.",
        ) from None
    return found


def _error_code(error: BaseException | None) -> str:
    """Return the server's code of an error, such as READONLY; empty for other errors."""
    while error is not None:
        code = getattr(error, "status_code", None) or str(error).partition(" ")[0]
        if code in REFUSALS or code == "WRONGTYPE":
            return str(code)
        error = error.__cause__  # Celery wraps the exceptions of the Redis library
    return ""


def _set_aside(client: redis.Redis, names: Sequence[str]) -> None:
    """Rename keys that have the name of a queue but are not lists: they would block all hints."""
    for name in names:
        found: Any = client.type(name)
        kind = found.decode()
        if kind not in ("list", "none"):
            client.rename(name, REFUSED + name)
            message = "the key %s of the broker was a %s, not a queue: renamed to %s"
            logger.warning(message, name, kind, REFUSED + name)
