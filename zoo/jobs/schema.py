"""Bring a database to this program's schema: the migrations, by Alembic."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo.errors import StoreError, reason
from zoo.jobs.database import BUSY_SECONDS, Database

if TYPE_CHECKING:
    from alembic.config import Config


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
