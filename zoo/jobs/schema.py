"""Open a database and migrate its schema, with Alembic."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from zoo import settings
from zoo.errors import StoreError, reason
from zoo.jobs.database import Database
from zoo.jobs.dialects import PATIENCE_SECONDS

if TYPE_CHECKING:
    from alembic.config import Config


SCHEMA = 13
"""The number of the newest migration."""


def connect(url: str | None = None, *, patience: float = PATIENCE_SECONDS) -> Database:
    """Open the database and check that its schema is that of this program.

    An embedded SQLite database is created or upgraded. Raises StoreError if that fails, if a
    server's database needs `zoo db upgrade`, or if a newer program has upgraded it.

    Args:
        url: The database; that of the settings by default.
        patience: Seconds after which a server that does not answer is given up.
    """
    database = Database(url or settings.load().database, patience)
    found = schema_version(database)
    _refuse_newer(database, found)
    if found < SCHEMA and database.is_sqlite:
        upgrade(database)
    elif found < SCHEMA:
        raise StoreError(
            f"The database {database.name} has schema {found}, this program needs {SCHEMA}.",
            "Run `zoo db upgrade` once.",
        )
    return database


def _refuse_newer(database: Database, found: int) -> None:
    if found > SCHEMA:
        raise StoreError(
            f"The database {database.name} has schema {found}, this program knows {SCHEMA}.",
            "Upgrade mnist-zoo on this machine.",
        )


def schema_version(database: Database) -> int:
    """Return the number of the last migration that was applied; 0 for an empty database."""
    with database.read() as rows:
        if not rows.value(rows.sql.has_migrations):
            return 0
        return int(rows.value("SELECT version_num FROM alembic_version") or 0)


def upgrade(database: Database) -> None:
    """Apply the missing migrations, under a lock against other programs.

    Raises StoreError if the database cannot be changed.
    """
    _refuse_newer(database, schema_version(database))
    with locked(database) as config:
        from alembic import command

        command.upgrade(config, "head")


@contextlib.contextmanager
def locked(database: Database) -> Iterator[Config]:
    """Yield Alembic's configuration while the database is locked, then commit."""
    # Imported here: they cost every other command a third of a second.
    from alembic.config import Config
    from sqlalchemy import create_engine, exc
    from sqlalchemy.pool import NullPool

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    engine = create_engine(
        "sqlite://" if database.is_sqlite else "postgresql+psycopg://",
        poolclass=NullPool,
        creator=database.driver.open_plainly,
    )
    try:
        with engine.connect() as connection:
            connection.exec_driver_sql(database.sql.lock_schema)
            config.attributes["connection"] = connection
            yield config
            connection.commit()
    except exc.DBAPIError as error:
        raise StoreError(
            f"The database {database.name} cannot be upgraded: {reason(error.orig or error)}.",
            "`zoo doctor` checks every part.",
        ) from error
