"""Open the database, SQLite or PostgreSQL, and speak SQL that both understand."""

from __future__ import annotations

import contextlib
import functools
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ParamSpec, TypeVar

from zoo.errors import StoreError, reason
from zoo.jobs.dialects import PATIENCE_SECONDS, Postgresql, Sqlite

MOST_DEADLOCKS = 5
IDLE_CONNECTIONS = 8
"""Kept open for the next transaction."""
SQLITE = {
    "now()": "((julianday('now') - 2440587.5) * 86400.0)",
    "FOR UPDATE SKIP LOCKED": "",
    "FOR UPDATE": "",
}
POSTGRESQL = {
    "%": "%%",
    # Asked once per statement: else no index could find what is due, and each look for jobs
    # without a hint would read every queued row.
    "now()": "(SELECT extract(epoch from clock_timestamp())::double precision)",
    "INDEXED BY job_hint": "",
    # No key ever changes. The stronger lock would also stop those who add a row that names one, a
    # job of the group for example; of two such who want the lock next, each waits for the other.
    "FOR UPDATE": "FOR NO KEY UPDATE",
}
"""What our SQL says, in the words of each database. `now()` is seconds since 1970 on the
database's clock, the only clock that statuses and leases know."""

Row = dict[str, Any]


class RowRefused(Exception):
    """The tables' own rules, their keys and CHECKs, refuse a row."""


class Deadlock(StoreError):
    """Two transactions waited for each other, and the database has rolled this one back."""


P = ParamSpec("P")
T = TypeVar("T")


def again_after_deadlock(work: Callable[P, T]) -> Callable[P, T]:
    """Have a function begin anew that locks several jobs, for the other one is through by then.

    Locks are taken in one order (`gates`) as far as the jobs are known before; what waits for what
    is only found on the way.
    """

    @functools.wraps(work)
    def patient(*args: P.args, **named: P.kwargs) -> T:
        for _ in range(MOST_DEADLOCKS):
            with contextlib.suppress(Deadlock):
                return work(*args, **named)
        return work(*args, **named)

    return patient


class Transaction:
    """Statements that take effect together; values stand in them as `:name`."""

    def __init__(self, connection: Any, is_sqlite: bool) -> None:
        self._connection = connection
        self._is_sqlite = is_sqlite

    def run(self, sql: str, values: Mapping[str, Any] | None = None) -> None:
        """Run a statement whose result nobody asks for; what is wrong with it may be said later."""
        self._execute(sql, values)

    def many(self, sql: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Run a statement once for each row of values."""
        if rows:
            self._connection.cursor().executemany(_translated(sql, self._is_sqlite), rows)

    def each(self, sql: str, rows: Sequence[Mapping[str, Any]]) -> list[Row | None]:
        """The one row, if any, that a statement gives for each row of values."""
        if self._is_sqlite:
            return [self.one(sql, values) for values in rows]
        cursor = self._connection.cursor()
        # All of them go out before the first answer is waited for.
        cursor.executemany(_translated(sql, False), rows, returning=True)
        return [cursor.fetchone() for _ in cursor.results()]

    def all(self, sql: str, values: Mapping[str, Any] | None = None) -> list[Row]:
        """Every row that a statement gives."""
        return list(self._execute(sql, values).fetchall())

    def one(self, sql: str, values: Mapping[str, Any] | None = None) -> Row | None:
        """The one row that a statement gives, if it gives any."""
        found = self.all(sql, values)
        return found[0] if found else None

    def value(self, sql: str, values: Mapping[str, Any] | None = None) -> Any:
        """The first column of the one row."""
        found = self.one(sql, values)
        return next(iter(found.values())) if found else None

    def _execute(self, sql: str, values: Mapping[str, Any] | None) -> Any:
        return self._connection.execute(_translated(sql, self._is_sqlite), values or {})


@functools.lru_cache(maxsize=1024)
def _translated(sql: str, is_sqlite: bool) -> str:
    for ours, theirs in (SQLITE if is_sqlite else POSTGRESQL).items():
        sql = sql.replace(ours, theirs)
    # psycopg writes a value as %(name)s; a cast keeps its two colons.
    return sql if is_sqlite else re.sub(r"(?<!:):([a-z]\w*)", r"%(\1)s", sql)


def among(column: str, values: Sequence[Any]) -> tuple[str, dict[str, Any]]:
    """The condition that a column has one of the values, and these by name."""
    named = {f"{column}_{i}": value for i, value in enumerate(values)}
    return f"{column} IN ({', '.join(f':{name}' for name in named)})" if named else "1 = 0", named


def slices(values: Sequence[Any], size: int = 500) -> Iterator[Sequence[Any]]:
    """The values in parts: a statement takes a limited number of them."""
    return (values[start : start + size] for start in range(0, len(values), size))


class Database:
    """An open database; safe to share between threads, not between processes."""

    def __init__(self, url: str, patience: float = PATIENCE_SECONDS) -> None:
        """`patience` is the time in seconds after which a silent server is given up."""
        self.is_sqlite = re.match(r"sqlite(\+\w+)?:", url) is not None
        self.driver: Sqlite | Postgresql = (
            Sqlite(url) if self.is_sqlite else Postgresql(url, patience)
        )
        self.url = url
        self._lock = threading.Lock()
        self._idle: list[tuple[Any, float]] = []

    @property
    def name(self) -> str:
        """Where it is, without a password: fit for a terminal or a log."""
        return self.driver.name

    @contextlib.contextmanager
    def write(self) -> Iterator[Transaction]:
        """One transaction that writes; it commits at the end of the block."""
        # A read that becomes a write fails at once when another writes: take SQLite's lock first.
        begin = "BEGIN IMMEDIATE" if self.is_sqlite else "BEGIN"
        # SQLite has who waits for its lock sleep for milliseconds between two looks at it.
        with self.driver.writing, self._transaction(begin) as rows:
            yield rows

    def alone(self, sql: str, values: Mapping[str, Any] | None = None) -> list[Row]:
        """Every row that a statement gives; it is a transaction by itself."""
        with self._connected() as connection:
            return Transaction(connection, self.is_sqlite).all(sql, values)

    def read(self) -> contextlib.AbstractContextManager[Transaction]:
        """One consistent view; never waits for a writer."""
        begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
        return self._transaction("BEGIN" if self.is_sqlite else begin)

    @contextlib.contextmanager
    def _transaction(self, begin: str) -> Iterator[Transaction]:
        with self._connected() as connection, self.driver.batched(connection):
            connection.execute(begin)
            yield Transaction(connection, self.is_sqlite)
            connection.execute("COMMIT")

    @contextlib.contextmanager
    def _connected(self) -> Iterator[Any]:
        with self._told():
            connection = self._take()
            try:
                yield connection
            except BaseException:
                self._roll_back(connection)
                raise
            self._give_back(connection)

    def _roll_back(self, connection: Any) -> None:
        """End the transaction; a connection that cannot is closed, for nobody knows its state."""
        try:
            # A full disk, for one, has made SQLite roll back by itself.
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
    def _told(self) -> Iterator[None]:
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
