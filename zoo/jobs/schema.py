"""Open a database, and bring it to this program's schema: the migrations, by Alembic."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo import settings
from zoo.errors import StoreError, reason
from zoo.jobs.database import BUSY_SECONDS, Database

if TYPE_CHECKING:
    from alembic.config import Config


SCHEMA = 2
"""The number of the newest migration."""


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
    known = "SELECT name FROM sqlite_master WHERE name = 'alembic_version'"
    with database.read() as rows:
        if not rows.value(known if database.is_sqlite else "SELECT to_regclass('alembic_version')"):
            return 0
        return int(rows.value("SELECT version_num FROM alembic_version") or 0)


def upgrade(database: Database) -> None:
    """Apply every migration that is missing; a lock keeps two programs from doing so at once.

    Raises StoreError if the database cannot be changed.
    """
    with locked(database) as config:
        from alembic import command

        command.upgrade(config, "head")


@contextlib.contextmanager
def locked(database: Database) -> Iterator[Config]:
    """What Alembic's commands need, while nobody else may change the database; then commit."""
    # Imported here: they cost every other command a third of a second.
    from alembic.config import Config
    from sqlalchemy import create_engine, exc
    from sqlalchemy.pool import NullPool

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    url = re.sub(r"^postgres(ql)?(\+\w+)?:", "postgresql+psycopg:", database.url)
    # Without isolation_level None sqlite3 begins and ends transactions by itself.
    sqlite = {"timeout": BUSY_SECONDS, "isolation_level": None}
    options: dict[str, Any] = {"connect_args": sqlite} if database.is_sqlite else {}
    lock = "BEGIN IMMEDIATE" if database.is_sqlite else "SELECT pg_advisory_xact_lock(2607)"
    try:
        with create_engine(url, poolclass=NullPool, **options).connect() as connection:
            connection.exec_driver_sql(lock)
            config.attributes["connection"] = connection
            yield config
            connection.commit()
    except exc.DBAPIError as error:
        raise StoreError(
            f"The database {database.name} cannot be upgraded: {reason(error.orig or error)}.",
            "`zoo doctor` checks every part.",
        ) from error
