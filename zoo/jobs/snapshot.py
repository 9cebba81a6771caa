"""Copies of an embedded database while it is in use, and the stored files that its rows name."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from zoo.errors import StoreError, UsageError, reason
from zoo.jobs.database import Database
from zoo.jobs.dialects import Sqlite
from zoo.jobs.schema import connect

PAGE = 1000
"""Jobs that are read at once."""


class Stored(NamedTuple):
    """Files that a row names."""

    where: str
    """Their folder below the artifacts URL."""
    sha256: str
    """Of its manifest."""
    owner: str
    """The job, or NAME@VERSION of a dataset."""
    is_needed: bool = True
    """False of a checkpoint, without which a training begins anew."""


def copy_database(db: Database, file: Path) -> None:
    """Copy an embedded database, as of one moment, into a new file; writers do not wait.

    Raises UsageError for a team's database, StoreError if it cannot be read or written.
    """
    if not isinstance(db.driver, Sqlite):
        raise UsageError(
            "A team's database is not in a home: back it up with pg_dump.",
            "docs/operating.md says in which order, and how to carry jobs.",
        )
    try:
        with (
            contextlib.closing(db.driver.open_plainly()) as source,
            contextlib.closing(sqlite3.connect(file)) as target,
        ):
            source.backup(target)
    except sqlite3.Error as error:
        raise StoreError(f"The database {db.name} cannot be copied: {reason(error)}.") from None


@contextlib.contextmanager
def opened(file: Path) -> Iterator[Database]:
    """Open a copy, upgraded to this program's schema; afterwards it is a single file again."""
    db = connect(f"sqlite:///{file}")
    try:
        yield db
    finally:
        db.close()
        with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(file)) as alone:
            alone.execute("PRAGMA journal_mode=DELETE")


def check_database(file: Path) -> None:
    """Raise StoreError unless a file is an undamaged SQLite database."""
    try:
        with contextlib.closing(sqlite3.connect(file)) as found:
            (result,) = found.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.Error as error:
        result = reason(error)
    if result != "ok":
        raise StoreError(f"{file.name} is damaged: {result}.")


def count_rows(db: Database) -> tuple[int, int]:
    """Return the numbers of jobs and of versions of datasets."""
    with db.read() as rows:
        jobs = rows.value("SELECT count(*) AS n FROM job")
        return int(jobs), int(rows.value("SELECT count(*) AS n FROM dataset WHERE version > 0"))


def list_ended_ids(db: Database) -> list[str]:
    """Return the ids of jobs that have ended; they may have files of plugins."""
    with db.read() as rows:
        found = rows.all("SELECT id FROM job WHERE finished_at IS NOT NULL ORDER BY seq")
        return [row["id"] for row in found]


def list_stored(db: Database) -> Iterator[Stored]:
    """Yield the folders that rows of jobs and datasets name."""
    query = """
        SELECT seq, id, artifact, artifact_sha256, checkpoint FROM job
        WHERE seq > :after AND (artifact IS NOT NULL OR checkpoint IS NOT NULL)
        ORDER BY seq LIMIT :page"""
    after = 0
    while found := db.alone(query, {"after": after, "page": PAGE}):
        for row in found:
            if row["artifact"]:
                yield Stored(row["artifact"], row["artifact_sha256"], row["id"])
            if row["checkpoint"]:
                saved = json.loads(row["checkpoint"])
                yield Stored(saved["where"], saved["sha256"], row["id"], is_needed=False)
        after = found[-1]["seq"]
    kept = "SELECT * FROM dataset WHERE removed_at IS NULL ORDER BY name, version"
    for row in db.alone(kept):
        label = f"{row['name']}@{row['version']}"
        yield Stored(row["artifact"], row["artifact_sha256"], label)
