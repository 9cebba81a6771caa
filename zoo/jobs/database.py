"""Transactions on the database, SQLite or PostgreSQL.

Statements are written once for both: values stand in them as `:name`, and the fragments that
differ are taken from `Database.sql`, a `Dialect`.
"""

from __future__ import annotations

import contextlib
import functools
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ParamSpec, TypeVar

from zoo.errors import StoreError, reason
from zoo.jobs.dialects import PATIENCE_SECONDS, SQLITE, Dialect, Postgresql, Sqlite
from zoo.jobs.pooler import LOCK_TIMEOUT

MOST_DEADLOCKS = 5
IDLE_CONNECTIONS = 8
"""Maximum number of idle connections kept open."""

Row = dict[str, Any]


class RowRefused(Exception):
    """A row violates a key or a CHECK of the tables."""


class Deadlock(StoreError):
    """The database rolled this transaction back to resolve a deadlock."""


P = ParamSpec("P")
T = TypeVar("T")


def again_after_deadlock(work: Callable[P, T]) -> Callable[P, T]:
    """Decorate a function to run again after a deadlock: the other transaction has ended by then.

    Locks are taken in one order (see `scheduling`) as far as the jobs are known beforehand;
    dependencies are only found on the way.
    """

    @functools.wraps(work)
    def patient(*args: P.args, **named: P.kwargs) -> T:
        for _ in range(MOST_DEADLOCKS):
            with contextlib.suppress(Deadlock):
                return work(*args, **named)
        return work(*args, **named)

    return patient


class Transaction:
    """Statements of one transaction; their values are written as `:name`."""

    def __init__(self, connection: Any, sql: Dialect) -> None:
        self._connection = connection
        self.sql = sql
        """The fragments of SQL in which the databases differ."""
        self._is_sqlite = sql is SQLITE

    def run(self, statement: str, values: Mapping[str, Any] | None = None) -> None:
        """Run a statement without a result; its error may be raised by a later statement."""
        self._execute(statement, values)

    def many(self, statement: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Run a statement once for each row of values."""
        if rows:
            self._connection.cursor().executemany(self._prepared(statement), rows)

    def each(self, statement: str, rows: Sequence[Mapping[str, Any]]) -> list[Row | None]:
        """Run a statement once for each row of values; return the row, if any, of each."""
        if self._is_sqlite:
            return [self.one(statement, values) for values in rows]
        cursor = self._connection.cursor()
        # All are sent before the first result is awaited.
        cursor.executemany(self._prepared(statement), rows, returning=True)
        return [cursor.fetchone() for _ in cursor.results()]

    def all(self, statement: str, values: Mapping[str, Any] | None = None) -> list[Row]:
        """Return all rows of a statement."""
        return list(self._execute(statement, values).fetchall())

    def one(self, statement: str, values: Mapping[str, Any] | None = None) -> Row | None:
        """Return the first row of a statement, or None."""
        found = self.all(statement, values)
        return found[0] if found else None

    def value(self, statement: str, values: Mapping[str, Any] | None = None) -> Any:
        """Return the first column of the first row, or None."""
        found = self.one(statement, values)
        return next(iter(found.values())) if found else None

    def _execute(self, statement: str, values: Mapping[str, Any] | None) -> Any:
        return self._connection.execute(self._prepared(statement), values or {})

    def _prepared(self, statement: str) -> str:
        return statement if self._is_sqlite else _with_psycopg_values(statement)


@functools.lru_cache(maxsize=1024)
def _with_psycopg_values(statement: str) -> str:
    """Write the values of a statement as psycopg does, `%(name)s`; `::` is a cast."""
    return re.sub(r"(?<!:):([a-z]\w*)", r"%(\1)s", statement.replace("%", "%%"))


def among(column: str, values: Sequence[Any]) -> tuple[str, dict[str, Any]]:
    """Return the condition that a column has one of the values, and the values by name."""
    named = {f"{column}_{i}": value for i, value in enumerate(values)}
    return f"{column} IN ({', '.join(f':{name}' for name in named)})" if named else "1 = 0", named


def slices(values: Sequence[Any], size: int = 500) -> Iterator[Sequence[Any]]:
    """Split values into parts: a statement takes a limited number of them."""
    return (values[start : start + size] for start in range(0, len(values), size))


class Database:
    """An open database; safe to share between threads, not between processes."""

    def __init__(self, url: str, patience: float = PATIENCE_SECONDS) -> None:
        """Prepare connections to `url`; `patience` is the time limit for the server in seconds."""
        self.is_sqlite = re.match(r"sqlite(\+\w+)?:", url) is not None
        self.driver: Sqlite | Postgresql = (
            Sqlite(url) if self.is_sqlite else Postgresql(url, patience)
        )
        self.sql = self.driver.sql
        """The fragments of SQL in which the databases differ."""
        self.url = url
        self._lock = threading.Lock()
        self._idle: list[tuple[Any, float]] = []

    @property
    def name(self) -> str:
        """The URL without a password, for terminals and logs."""
        return self.driver.name

    @property
    def idle_connections(self) -> int:
        """Number of open connections that wait for the next transaction."""
        return len(self._idle)

    @contextlib.contextmanager
    def write(self) -> Iterator[Transaction]:
        """Open a transaction that writes; it commits at the end of the block."""
        # Threads wait for each other here: SQLite polls for its lock, with sleeps in between.
        with self.driver.writing, self._transaction(self.sql.begin_write) as rows:
            yield rows

    def alone(self, statement: str, values: Mapping[str, Any] | None = None) -> list[Row]:
        """Run one statement as a transaction of its own and return its rows."""
        with self._connected() as connection:
            if self.driver.is_pooled:  # its time limit for locks needs a transaction
                with self._begun(connection, self.sql.begin_write) as rows:
                    return rows.all(statement, values)
            return Transaction(connection, self.sql).all(statement, values)

    def read(self) -> contextlib.AbstractContextManager[Transaction]:
        """Open a transaction that reads one consistent state; it never waits for a writer."""
        return self._transaction(self.sql.begin_read)

    @contextlib.contextmanager
    def _transaction(self, begin: str) -> Iterator[Transaction]:
        with self._connected() as connection, self._begun(connection, begin) as rows:
            yield rows

    @contextlib.contextmanager
    def _begun(self, connection: Any, begin: str) -> Iterator[Transaction]:
        with self.driver.batched(connection):
            connection.execute(begin)
            if self.driver.is_pooled:
                connection.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
            yield Transaction(connection, self.sql)
            connection.execute("COMMIT")

    @contextlib.contextmanager
    def _connected(self) -> Iterator[Any]:
        with self._translated_errors():
            connection = self._take()
            try:
                yield connection
            except BaseException:
                self._roll_back(connection)
                raise
            self._give_back(connection)

    def _roll_back(self, connection: Any) -> None:
        """Roll back; a connection that cannot is closed, since its state is unknown."""
        try:
            # After some errors, such as a full disk, SQLite has rolled back by itself.
            if not self.is_sqlite or connection.in_transaction:
                connection.execute("ROLLBACK")
        except self.driver.errors:
            connection.close()
        else:
            self._give_back(connection)

    def _take(self) -> Any:
        while True:
            with self._lock:
                connection, since = self._idle.pop() if self._idle else (None, 0.0)
            if connection is None:
                return self.driver.open()
            if self.driver.is_good(connection, time.monotonic() - since):
                return connection
            connection.close()

    def _give_back(self, connection: Any) -> None:
        with self._lock:
            if len(self._idle) < IDLE_CONNECTIONS:
                self._idle.append((connection, time.monotonic()))
                return
        connection.close()

    @contextlib.contextmanager
    def _translated_errors(self) -> Iterator[None]:
        try:
            yield
        except self.driver.refusals as error:
            raise RowRefused(reason(error)) from error
        except self.driver.errors as error:
            kind = Deadlock if isinstance(error, self.driver.deadlocks) else StoreError
            raise kind(
                f"The database {self.name} cannot be used: {reason(error)}.",
                "`zoo doctor` checks every part.",
            ) from error

    def close(self) -> None:
        """Close every connection; the next transaction opens one again."""
        with self._lock:
            while self._idle:
                self._idle.pop()[0].close()
