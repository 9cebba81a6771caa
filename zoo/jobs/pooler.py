"""Connection poolers, such as PgBouncer, between Zoo and PostgreSQL.

In transaction mode each transaction runs on whichever connection of the pooler is free: settings of
a session and prepared statements then belong to all its clients.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

LOCK_TIMEOUT = "20s"
"""A client that was cut off in a transaction holds its locks until the server notices."""
MARK = "zoo: whose statement is this"
ROUNDS = 3


def is_between(connection: Any) -> bool:
    """Return whether a new connection is one to a pooler; set the lock timeout of one that is not.

    A pooler gives its clients process ids of its own.
    """
    found = connection.execute(
        "SELECT pg_backend_pid() AS pid, CASE WHEN pg_backend_pid() = %(pid)s "
        "THEN set_config('lock_timeout', %(timeout)s, false) END AS timeout",
        {"pid": connection.info.backend_pid, "timeout": LOCK_TIMEOUT},
    ).fetchone()
    return bool(found["pid"] != connection.info.backend_pid)


def keeps_statements_apart(connection: Any) -> bool:
    """Return whether a pooler gives prepared statements names of its own, as PgBouncer 1.21 does.

    Others pass them on: two clients that share a server then run each other's statements.
    """
    import psycopg

    if not psycopg.capabilities.has_send_close_prepared():
        return False  # psycopg would end them by name, in SQL, which PgBouncer does not rename
    connection.prepare_threshold = 0  # psycopg's None overrides `prepare`
    try:
        connection.execute("BEGIN", prepare=False)
        asked = f"SELECT name FROM pg_prepared_statements WHERE statement LIKE '%{MARK}%'"
        names = [row["name"] for row in connection.execute(asked, prepare=True).fetchall()]
        ours = [name for name in names if name.startswith("_pg3_")]
        for name in ours:
            connection.execute(f'DEALLOCATE "{name}"', prepare=False)
    except psycopg.ProgrammingError:  # it exists already: that of another client
        return False
    finally:
        connection.execute("ROLLBACK", prepare=False)
        connection.prepare_threshold = None
    return bool(names) and not ours


def shares_servers(open_one: Callable[[], Any]) -> bool:
    """Return whether a second client was seen on the server of a first one: transaction mode."""
    first, second = open_one(), open_one()
    first.prepare_threshold = second.prepare_threshold = None
    try:
        for _ in range(ROUNDS):
            pids = []
            for connection in (first, second):
                connection.execute("BEGIN")
                row = connection.execute("SELECT pg_backend_pid() AS pid").fetchone()
                connection.execute("COMMIT")
                pids.append(row["pid"])
            if pids[0] == pids[1]:
                return True
    finally:
        first.close()
        second.close()
    return False
