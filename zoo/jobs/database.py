"""Open the database, SQLite or PostgreSQL, and keep its clock and its schema."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Double, Engine, create_engine, event, exc, inspect, text
from sqlalchemy.engine import make_url
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.pool import NullPool
from sqlalchemy.sql.functions import FunctionElement

from zoo import settings
from zoo.errors import StoreError

SCHEMA = 2
"""The number of the newest migration."""

BUSY_SECONDS = 30.0

PATIENCE = {
    "connect_timeout": 10,
    "tcp_user_timeout": 20_000,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 2,
}
"""libpq's words, seconds and milliseconds: a server that was cut off is given up, not waited for
until the operating system despairs of it (15 minutes). The URL may say otherwise."""


class now(FunctionElement[float]):
    """Seconds since 1970 on the database's clock: the only clock that statuses and leases know."""

    type = Double()
    inherit_cache = True


@compiles(now, "sqlite")
def _now_sqlite(element: Any, compiler: Any, **kw: Any) -> str:
    return "((julianday('now') - 2440587.5) * 86400.0)"


@compiles(now, "postgresql")
def _now_postgresql(element: Any, compiler: Any, **kw: Any) -> str:
    return "extract(epoch from clock_timestamp())::double precision"


class Database:
    """An open database; safe to share between threads, not between processes."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.is_sqlite = url.startswith("sqlite")
        self.engine = _sqlite_engine(url) if self.is_sqlite else _postgresql_engine(url)

    @property
    def name(self) -> str:
        """The URL without its password, fit for a terminal or a log."""
        return make_url(self.url).render_as_string(hide_password=True)

    @contextlib.contextmanager
    def write(self) -> Iterator[Connection]:
        """One transaction that writes; it commits at the end of the block."""
        with self._errors(), self.engine.begin() as connection:
            yield connection

    @contextlib.contextmanager
    def read(self) -> Iterator[Connection]:
        """One consistent view; never waits for a writer."""
        with self._errors(), self.engine.connect() as plain:
            yield plain.execution_options(zoo_read=True)

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except exc.IntegrityError:
            raise
        except exc.DBAPIError as error:
            reason = str(error.orig).strip().splitlines()[0]
            raise StoreError(
                f"The database {self.name} cannot be used: {reason}.",
                "`zoo doctor` checks every part.",
            ) from error

    def close(self) -> None:
        self.engine.dispose()


def connect(url: str | None = None) -> Database:
    """Open the database of the settings and see that its schema is this program's.

    The embedded SQLite is made or upgraded here. Raises StoreError where that is not possible,
    where a team's database needs `zoo db upgrade`, or where a newer program has upgraded it.
    """
    database = Database(url or settings.load().database)
    found = schema_version(database)
    if found > SCHEMA:
        raise StoreError(
            f"The database {database.name} has schema {found}, this program knows {SCHEMA}.",
            "Upgrade mnist-zoo on this machine.",
        )
    if found < SCHEMA and database.is_sqlite:
        upgrade(database)
    elif found < SCHEMA:
        raise StoreError(
            f"The database {database.name} has schema {found}, this program needs {SCHEMA}.",
            "Run `zoo db upgrade` once.",
        )
    return database


def schema_version(database: Database) -> int:
    """The number of the last migration that was applied; 0 for an empty database."""
    with database.read() as connection:
        if not inspect(connection).has_table("alembic_version"):
            return 0
        found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
        return int(found or 0)


def upgrade(database: Database) -> None:
    """Apply every migration that is missing; a lock keeps two programs from doing so at once."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    with database.write() as connection:
        if not database.is_sqlite:  # BEGIN IMMEDIATE has locked SQLite already
            connection.execute(text("SELECT pg_advisory_xact_lock(2607)"))
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def _sqlite_engine(url: str) -> Engine:
    path = make_url(url).database
    if path:
        try:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(
                f"The folder {Path(path).parent} cannot be made: {error.strerror}.",
                "Set ZOO_HOME to a folder that you may write to.",
            ) from None
    engine = create_engine(
        url, poolclass=NullPool, connect_args={"timeout": BUSY_SECONDS, "isolation_level": None}
    )

    @event.listens_for(engine, "connect")
    def _prepare(connection: sqlite3.Connection, _record: Any) -> None:
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        # A read that becomes a write fails at once when another writes: take the lock first.
        reads = connection.get_execution_options().get("zoo_read")
        connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")

    return engine


def _postgresql_engine(url: str) -> Engine:
    parsed = make_url(url)
    if parsed.get_backend_name() != "postgresql":
        raise StoreError(
            f"Rows live in SQLite or PostgreSQL, not in {parsed.get_backend_name()}.",
            "Give ZOO_DATABASE_URL a postgresql:// URL, or unset it.",
        )
    try:
        return create_engine(
            parsed.set(drivername="postgresql+psycopg"),
            pool_pre_ping=True,
            pool_size=5,
            connect_args={k: v for k, v in PATIENCE.items() if k not in parsed.query},
        )
    except ModuleNotFoundError:
        raise StoreError(
            "PostgreSQL needs its driver.", "Install it: pip install 'mnist-zoo[postgres]'."
        ) from None
