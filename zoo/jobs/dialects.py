"""The two databases: the SQL in which they differ, their errors, and how to connect to them."""

from __future__ import annotations

import contextlib
import getpass
import logging
import os
import re
import sqlite3
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoo import private_folder
from zoo.errors import StoreError, UsageError, ZooError
from zoo.jobs import pooler
from zoo.settings import FileSecret


@dataclass(frozen=True)
class Dialect:
    """The fragments of SQL in which the databases differ; statements name them in f-strings."""

    name: str
    now: str
    """Seconds since 1970 on the database's clock, the only clock that statuses and leases know."""
    for_update: str
    """Lock the rows that a SELECT finds."""
    skip_locked: str
    """Lock them as well, but leave out those that another transaction has locked."""
    by_hint_index: str
    """After the name of the table `job`: plan with the index `job_hint`."""
    begin_read: str
    begin_write: str
    lock_schema: str
    """Begin the transaction that migrates the tables, and keep other programs from doing so."""
    lock_table: str
    """Keep others from changing a table until the transaction ends; `{}` is its name."""
    database_bytes: str
    """The size of the database on disk."""
    has_migrations: str
    """Find a row with a value if the table of the migrations is there."""


SQLITE = Dialect(
    name="sqlite",
    now="((julianday('now') - 2440587.5) * 86400.0)",
    for_update="",
    skip_locked="",
    by_hint_index="INDEXED BY job_hint",
    begin_read="BEGIN",
    # A read that becomes a write fails at once when another writes: take the lock first.
    begin_write="BEGIN IMMEDIATE",
    lock_schema="BEGIN IMMEDIATE",
    lock_table="",  # there is one writer at a time
    database_bytes="(SELECT page_count * page_size FROM pragma_page_count, pragma_page_size)",
    has_migrations="SELECT name FROM sqlite_master WHERE name = 'alembic_version'",
)
POSTGRESQL = Dialect(
    name="postgresql",
    # Evaluated once per statement: else no index could find what is due, and each look for jobs
    # without a hint would read every queued row.
    now="(SELECT extract(epoch from clock_timestamp())::double precision)",
    # No key ever changes. The stronger FOR UPDATE would also stop those who add a row that names
    # one, a job of the group for example; two such transactions would wait for each other.
    for_update="FOR NO KEY UPDATE",
    skip_locked="FOR NO KEY UPDATE SKIP LOCKED",
    by_hint_index="",
    # One state of the rows for every statement of a read.
    begin_read="BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
    begin_write="BEGIN",
    lock_schema="SELECT pg_advisory_xact_lock(2607)",
    lock_table="LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE",
    database_bytes="pg_database_size(current_database())",
    has_migrations="SELECT to_regclass('alembic_version')",
)

BUSY_SECONDS = 30.0
PATIENCE_SECONDS = 20.0
"""Default time limit for a server that does not answer."""

THRESHOLD = "prepare_threshold"
"""Option of the URL."""
PREPARE_THRESHOLD = 5
"""Uses of a statement after which the server keeps it prepared; psycopg's default."""
TRUSTED_SECONDS = 1.0
"""A connection that was idle for longer is tested before it is used."""


class _File(sqlite3.Connection):
    """A connection that knows the device and inode of its file."""

    place: tuple[int, int] | None = None


class Sqlite:
    """The embedded database: one file."""

    sql = SQLITE
    errors = sqlite3.Error
    refusals = sqlite3.IntegrityError
    deadlocks: tuple[type[Exception], ...] = ()
    """None, since there is one writer at a time."""
    is_pooled = False

    def __init__(self, url: str) -> None:
        self.writing: contextlib.AbstractContextManager[Any] = threading.Lock()
        """Held by the thread that writes."""
        self.path = Path(re.sub(r"^sqlite(\+\w+)?:///", "", url))
        self.name = f"sqlite:///{self.path}"
        try:
            private_folder.make(self.path.parent)
            private_folder.check(self.path)
        except ZooError as error:
            raise StoreError(error.message, error.hint) from None

    def open(self) -> sqlite3.Connection:
        with contextlib.suppress(OSError):  # SQLite reports why it cannot be created
            private_folder.make_file(self.path)
        # Used by one thread at a time, not always the same one.
        connection = sqlite3.connect(
            self.path,
            timeout=BUSY_SECONDS,
            isolation_level=None,
            check_same_thread=False,
            factory=_File,
        )
        try:
            self._set_up(connection)
        except sqlite3.Error:
            connection.close()
            raise
        connection.place = self._place()
        return connection

    def open_plainly(self) -> sqlite3.Connection:
        """Open a connection for Alembic; it begins and ends no transaction by itself."""
        return sqlite3.connect(self.path, timeout=BUSY_SECONDS, isolation_level=None)

    def _set_up(self, connection: sqlite3.Connection) -> None:
        connection.row_factory = lambda cursor, row: dict(
            zip((column[0] for column in cursor.description), row, strict=True)
        )
        ends = time.monotonic() + BUSY_SECONDS
        while True:
            try:
                connection.execute("PRAGMA journal_mode=WAL")
                break
            except sqlite3.OperationalError as error:
                # The one statement that does not wait while another process creates the file.
                if "locked" not in str(error) or time.monotonic() > ends:
                    raise
                time.sleep(0.01)
        for pragma in ("synchronous=FULL", "foreign_keys=ON", "case_sensitive_like=ON"):
            connection.execute(f"PRAGMA {pragma}")

    def batched(self, connection: Any) -> contextlib.AbstractContextManager[Any]:
        """Do nothing: statements run in this process."""
        return contextlib.nullcontext()

    def _place(self) -> tuple[int, int] | None:
        try:
            found = self.path.stat()
        except OSError:
            return None
        return found.st_dev, found.st_ino

    def is_good(self, connection: Any, idle: float) -> bool:
        """Return whether its file still exists: SQLite would not notice that it was removed."""
        return connection.place is not None and connection.place == self._place()


class Postgresql:
    """A PostgreSQL server."""

    sql = POSTGRESQL

    def __init__(self, url: str, patience: float = PATIENCE_SECONDS) -> None:
        """Parse the URL; `patience` is the time limit for the server in seconds."""
        _check_kind(url)
        try:
            import psycopg
        except ImportError:
            raise StoreError(
                "PostgreSQL needs its driver.", "Install it: pip install 'mnist-zoo[postgres]'."
            ) from None
        # Its warning about a pipeline whose connection is lost is raised as an error as well.
        logging.getLogger("psycopg").addHandler(logging.NullHandler())
        self.writing: contextlib.AbstractContextManager[Any] = contextlib.nullcontext()
        self.errors = psycopg.Error
        self.refusals = psycopg.IntegrityError
        self.deadlocks: tuple[type[Exception], ...] = (psycopg.errors.DeadlockDetected,)
        self._patience = patience
        self._set_url(url)
        self.is_pooled = False
        """Whether a pooler was found between this program and the server."""
        self.keeps_statements_apart: bool | None = None
        """Whether that pooler does; None until it was tried."""

    def _set_url(self, url: str) -> None:
        """Parse the URL; nothing is changed if it is not one."""
        _check_kind(url)
        left, threshold = _take_threshold(url)
        self.options: dict[str, Any] = timeouts(self._patience) | _read_url(left)
        self._all_options = _defaults() | self.options
        self._threshold = threshold
        self._url = url

    def _read_secret_again(self) -> None:
        """Take the URL that the secret file has now: its password may have been changed.

        If the file cannot be read, or has no URL, it may just be being written: the last one stays.
        """
        if isinstance(self._url, FileSecret):
            with contextlib.suppress(UsageError, StoreError):
                again = self._url.read_again()
                if again != self._url:
                    self._set_url(again)

    @property
    def name(self) -> str:
        """The URL with user, host, port and database only."""
        options = self.options
        user = (
            f"{options['user']}{':***' if 'password' in options else ''}@"
            if "user" in options
            else ""
        )
        port = f":{options['port']}" if "port" in options else ""
        return f"postgresql://{user}{options.get('host', '')}{port}/{options.get('dbname', '')}"

    def open(self) -> Any:
        import psycopg
        from psycopg.rows import dict_row

        self._read_secret_again()
        connection = psycopg.connect(
            **self._all_options, autocommit=True, row_factory=dict_row, prepare_threshold=None
        )
        self.is_pooled = pooler.is_between(connection)
        if self.is_pooled and self.keeps_statements_apart is None:
            self.keeps_statements_apart = pooler.keeps_statements_apart(connection)
        connection.prepare_threshold = self.prepare_threshold
        return connection

    @property
    def prepare_threshold(self) -> int | None:
        """Uses of a statement after which it is prepared; None: never."""
        if self._threshold is not None:
            return self._threshold if self._threshold >= 0 else None
        return PREPARE_THRESHOLD if not self.is_pooled or self.keeps_statements_apart else None

    @property
    def mixes_statements(self) -> bool:
        """Whether a pooler runs statements that other clients have prepared: tries it out."""
        return (
            self.is_pooled
            and not self.keeps_statements_apart
            and self.prepare_threshold is not None
            and pooler.shares_servers(self.open)
        )

    def batched(self, connection: Any) -> contextlib.AbstractContextManager[Any]:
        """Send several statements in one round trip: psycopg's pipeline mode."""
        pipeline: contextlib.AbstractContextManager[Any] = connection.pipeline()
        return pipeline

    def open_plainly(self) -> Any:
        """Open a connection for Alembic."""
        import psycopg

        self._read_secret_again()
        return psycopg.connect(**self._all_options, prepare_threshold=None)

    def is_good(self, connection: Any, idle: float) -> bool:
        """Return whether it still works; one that was used just now is not tested."""
        if idle < TRUSTED_SECONDS:
            return True
        try:
            connection.execute("SELECT 1")
        except self.errors:
            return False
        return True


def _check_kind(url: str) -> None:
    """Raise StoreError unless the URL is one of PostgreSQL."""
    kind = url.partition(":")[0].partition("+")[0]
    if kind not in ("postgresql", "postgres"):
        shown = kind if re.fullmatch(r"[a-z][a-z0-9]*", kind) else "this"
        raise StoreError(
            f"Rows live in SQLite or PostgreSQL, not in {shown}.",
            "Give ZOO_DATABASE_URL a postgresql:// URL, or unset it.",
        )


def timeouts(patience: float) -> dict[str, int]:
    """Return libpq's options, in seconds and milliseconds, that limit the wait for a server.

    Without them the limit is the operating system's TCP timeout, 15 minutes. Options in the URL
    take precedence.
    """
    return {
        "connect_timeout": max(2, int(patience / 2)),  # libpq takes 1 for 2
        "tcp_user_timeout": max(1, int(patience * 1000)),
        "keepalives_idle": max(1, int(patience / 2)),
        "keepalives_interval": max(1, int(patience / 4)),
        "keepalives_count": 2,
    }


EMPTY_BY_DEFAULT = {
    *("password", "passfile", "dbname", "host", "hostaddr", "application_name"),
    *("sslcert", "sslkey", "sslrootcert", "sslcrl", "sslcrldir", "requirepeer", "require_auth"),
}
"""Options of libpq that are empty by default."""


def _defaults() -> dict[str, Any]:
    """Return libpq's defaults of the options that environment variables (PGHOST...) would change.

    Commands and workers have no such variables; a notebook may have them for another database.
    PGSERVICE itself cannot be turned off: the options of its service are replaced one by one, but
    libpq fails if there is no such service.
    """
    from psycopg.pq import Conninfo

    found: dict[str, Any] = {}
    for each in Conninfo.get_defaults():
        name = each.keyword.decode()
        if each.envvar and (each.envvar.decode() in os.environ or "PGSERVICE" in os.environ):
            if name == "user":
                found[name] = getpass.getuser()
            elif each.compiled is not None or name in EMPTY_BY_DEFAULT:
                found[name] = (each.compiled or b"").decode()
    return found


def _take_threshold(url: str) -> tuple[str, int | None]:
    """Take `prepare_threshold` out of a URL; it is -1 for none. libpq does not know it."""
    place, mark, query = url.partition("?")
    options = query.split("&")
    given = [each.partition("=")[2] for each in options if each.startswith(f"{THRESHOLD}=")]
    if not given:
        return url, None
    left = "&".join(each for each in options if not each.startswith(f"{THRESHOLD}="))
    if given[-1] != "none" and not re.fullmatch("[0-9]{1,6}", given[-1]):
        raise StoreError(
            f"The {THRESHOLD} of ZOO_DATABASE_URL must be a whole number, or none.",
            "Without it, statements are prepared where that is safe.",
        )
    return place + (mark + left if left else ""), -1 if given[-1] == "none" else int(given[-1])


def _read_url(url: str) -> dict[str, Any]:
    from psycopg import ProgrammingError
    from psycopg.conninfo import conninfo_to_dict

    try:
        found: dict[str, Any] = conninfo_to_dict(re.sub(r"^\w+(\+\w+)?:", "postgresql:", url))
    except ProgrammingError:
        found = {"host": "@"}
    if "@" in str(found.get("host", "")):  # not shown, for it may hold half a password
        raise StoreError(
            "ZOO_DATABASE_URL is not the URL of a PostgreSQL.",
            "In a password, write @ as %40, : as %3A, / as %2F and % as %25.",
        )
    return found
