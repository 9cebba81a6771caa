"""Rows of added datasets: a version of a name is a row, and its contents are in the store."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from zoo.canonical_json import canonical
from zoo.errors import UsageError
from zoo.jobs.database import Database, Row, Transaction
from zoo.jobs.iso_times import with_iso_times


@dataclass(frozen=True)
class NewDataset:
    """A dataset whose contents are stored and that has no row yet."""

    name: str
    fingerprint: str
    meta: Mapping[str, Any]
    """The description, as `zoo.data.contents.Meta` in JSON."""
    recipe: Mapping[str, Any]
    """{"source", "options"}: where its contents were read from, and how."""
    artifact: str
    """Where the files are, below the artifacts URL."""
    artifact_sha256: str
    bytes: int


@dataclass(frozen=True)
class DatasetVersion(NewDataset):
    """A version of an added dataset."""

    TIMES = ("created_at",)
    version: int
    created_at: float
    """In seconds since 1970, on the database's clock."""

    @property
    def label(self) -> str:
        """The name with the version, such as `wine@1`."""
        return f"{self.name}@{self.version}"

    def to_json(self) -> dict[str, Any]:
        """Return the row in the JSON of commands."""
        return with_iso_times(asdict(self), self.TIMES)


@dataclass(frozen=True)
class DatasetUsers:
    """The numbers of jobs that refer to a dataset."""

    unfinished: int
    finished: int


END_UPLOAD = "DELETE FROM dataset WHERE name = :name AND artifact = :artifact AND version <= 0"
# Files that were damaged may have been stored again.
STORED_AGAIN = """
    UPDATE dataset SET artifact_sha256 = :artifact_sha256
    WHERE artifact = :artifact AND artifact_sha256 <> :artifact_sha256"""


def begin_upload(db: Database, name: str, fingerprint: str, artifact: str) -> None:
    """Record that contents are about to be stored, so that they are found if that is interrupted.

    `add_dataset` ends it. An upload is a row with a version of 0 or less, which is no version yet.
    """
    lowest = "SELECT min(version) AS n FROM dataset WHERE name = :name"
    insert = f"""
        INSERT INTO dataset (name, version, fingerprint, meta, recipe, artifact, artifact_sha256,
            bytes, created_at, removed_at)
        VALUES (:name, :version, :fingerprint, '{{}}', '{{}}', :artifact, '', 0, {db.sql.now},
            {db.sql.now})"""
    values = {"name": name, "fingerprint": fingerprint, "artifact": artifact}
    with _changing(db) as rows:
        low = rows.value(lowest, {"name": name})
        rows.run(insert, values | {"version": 0 if low is None else min(low - 1, 0)})


def remove_interrupted_uploads(db: Database, age: float, remove: Callable[[str], None]) -> int:
    """Remove what uploads have stored that began more than `age` seconds ago and never ended.

    Contents that a version or a younger upload has stay. `remove` is as for `remove_datasets`.
    Returns the number of removed contents.
    """
    old = f"""
        SELECT DISTINCT artifact FROM dataset
        WHERE version <= 0 AND created_at < {db.sql.now} - :age"""
    used = f"""
        SELECT 1 AS yes FROM dataset WHERE artifact = :artifact AND ({KEPT}
            OR version <= 0 AND created_at >= {db.sql.now} - :age)"""
    end = f"""
        DELETE FROM dataset
        WHERE artifact = :artifact AND version <= 0 AND created_at < {db.sql.now} - :age"""
    if not db.alone(old, {"age": age}):
        return 0
    removed = 0
    with _changing(db) as rows:
        for row in rows.all(old, {"age": age}):
            values = {"artifact": row["artifact"], "age": age}
            if not rows.one(used, values):
                remove(row["artifact"])
                removed += 1
            rows.run(end, values)
    return removed


def add_dataset(db: Database, found: NewDataset) -> tuple[DatasetVersion, bool]:
    """Insert the next version of a dataset, unless the newest one has the same contents.

    Returns the version, and whether it is new.
    """
    sql = db.sql
    insert = f"""
        INSERT INTO dataset (name, version, fingerprint, meta, recipe, artifact, artifact_sha256,
            bytes, created_at)
        VALUES (:name, :version, :fingerprint, :meta, :recipe, :artifact, :artifact_sha256,
            :bytes, {sql.now}) RETURNING *"""
    last = "SELECT max(version) AS n FROM dataset WHERE name = :name AND version > 0"
    row = vars(found) | {name: canonical(dict(getattr(found, name))) for name in ("meta", "recipe")}
    with _changing(db) as rows:
        rows.run(STORED_AGAIN, row)
        rows.run(END_UPLOAD, {"name": found.name, "artifact": found.artifact})
        newest = _newest(rows, found.name)
        if newest and newest.fingerprint == found.fingerprint:
            return newest, False
        version = (rows.value(last, {"name": found.name}) or 0) + 1
        added = rows.one(insert, row | {"version": version})
        assert added is not None
        return _to_version(added), True


def carried_version(db: Database, found: DatasetVersion) -> int:
    """Return the version that a dataset of another database has, or would get, in this one."""
    with db.read() as rows:
        return _carried_version(rows, found)[0]


def _carried_version(rows: Transaction, found: DatasetVersion) -> tuple[int, Row | None]:
    """Return the version, and the row that has these contents under the name already."""
    same = f"""
        SELECT * FROM dataset WHERE name = :name AND fingerprint = :fingerprint AND version > 0
        ORDER BY CASE WHEN {KEPT} THEN 0 ELSE 1 END, CASE WHEN version = :version THEN 0 ELSE 1 END,
            version DESC LIMIT 1"""
    taken = "SELECT 1 AS yes FROM dataset WHERE name = :name AND version = :version"
    last = "SELECT max(version) AS n FROM dataset WHERE name = :name"
    values = {n: getattr(found, n) for n in ("name", "fingerprint", "version")}
    if row := rows.one(same, values):
        return row["version"], row
    if not rows.one(taken, {"name": found.name, "version": found.version}):
        return found.version, None
    return int(rows.value(last, {"name": found.name})) + 1, None


def insert_carried_dataset(db: Database, found: DatasetVersion, removed_at: float | None) -> int:
    """Insert a version of a dataset of another database and return its number in this one.

    It keeps its number unless other contents have it; contents that are there under this name keep
    the number that they have there. With `removed_at` it is a version whose contents are gone:
    only the number is kept.
    """
    insert = """
        INSERT INTO dataset (name, version, fingerprint, meta, recipe, artifact, artifact_sha256,
            bytes, created_at, removed_at)
        VALUES (:name, :version, :fingerprint, :meta, :recipe, :artifact, :artifact_sha256,
            :bytes, :created_at, :removed_at)"""
    again = f"""
        UPDATE dataset SET removed_at = NULL, artifact_sha256 = :artifact_sha256
        WHERE name = :name AND version = :version AND NOT {KEPT}"""
    row = vars(found) | {name: canonical(dict(getattr(found, name))) for name in ("meta", "recipe")}
    with _changing(db) as rows:
        if removed_at is None:
            rows.run(STORED_AGAIN, row)
            rows.run(END_UPLOAD, {"name": found.name, "artifact": found.artifact})
        version, there = _carried_version(rows, found)
        if there is None:
            rows.run(insert, row | {"version": version, "removed_at": removed_at})
        elif removed_at is None:
            rows.run(again, row | {"version": version})
    return version


def find_dataset(db: Database, name: str, version: int | None = None) -> DatasetVersion | None:
    """Return a version of an added dataset, by default the newest; None if there is none."""
    with db.read() as rows:
        if version is None:
            return _newest(rows, name)
        query = f"SELECT * FROM dataset WHERE name = :name AND version = :version AND {KEPT}"
        row = rows.one(query, {"name": name, "version": version})
    return _to_version(row) if row else None


def find_contents(db: Database, fingerprint: str) -> DatasetVersion | None:
    """Return a version of an added dataset that has these contents; None if there is none."""
    query = f"""
        SELECT * FROM dataset WHERE fingerprint = :fingerprint AND {KEPT}
        ORDER BY created_at DESC LIMIT 1"""
    with db.read() as rows:
        row = rows.one(query, {"fingerprint": fingerprint})
    return _to_version(row) if row else None


def list_datasets(
    db: Database, name: str | None = None, limit: int | None = None
) -> list[DatasetVersion]:
    """List the versions of every added dataset, or of one: by name, the newest version first.

    `limit` is the most that are listed.
    """
    is_one = "" if name is None else " AND name = :name"
    query = f"SELECT * FROM dataset WHERE {KEPT}{is_one} ORDER BY name, version DESC LIMIT :limit"
    values: dict[str, Any] = {} if name is None else {"name": name}
    return [_to_version(row) for row in db.alone(query, values | {"limit": limit or MOST})]


def list_dataset_names(db: Database, beginning: str = "", limit: int | None = None) -> list[str]:
    """List the names of added datasets that begin so, at most `limit`, without descriptions."""
    query = f"""
        SELECT DISTINCT name FROM dataset
        WHERE {KEPT} AND substr(name, 1, :length) = :beginning ORDER BY name LIMIT :limit"""
    values = {"beginning": beginning, "length": len(beginning), "limit": limit or MOST}
    return [row["name"] for row in db.alone(query, values)]


def count_users(db: Database, name: str, versions: Sequence[int]) -> DatasetUsers:
    """Count the jobs that refer to versions of a dataset."""
    with db.read() as rows:
        return _users(rows, name, versions)


def remove_datasets(
    db: Database, name: str, versions: Sequence[int], remove: Callable[[str], None]
) -> None:
    """Remove versions of a dataset, and what is stored of contents that no version has any more.

    The numbers of removed versions are not used again.

    Args:
        name: Name of the dataset.
        versions: The versions.
        remove: Removes the files of the contents at a path below the artifacts URL.

    Raises:
        UsageError: An unfinished job refers to one of them.
    """
    sql = db.sql
    one = "name = :name AND version = :version"
    mark = f"UPDATE dataset SET removed_at = {sql.now} WHERE {one} AND {KEPT} RETURNING *"
    same = f"SELECT 1 AS yes FROM dataset WHERE artifact = :artifact AND {KEPT}"
    with _changing(db) as rows:
        if left := _users(rows, name, versions).unfinished:
            many = "1 unfinished job refers" if left == 1 else f"{left} unfinished jobs refer"
            raise UsageError(
                f"The dataset '{name}' stays: {many} to it.",
                f"`zoo jobs --dataset {name}` lists them; wait for them, or cancel them.",
            )
        found = [rows.one(mark, {"name": name, "version": version}) for version in versions]
        for artifact in sorted({row["artifact"] for row in found if row}):
            if not rows.one(same, {"artifact": artifact}):
                remove(artifact)


def remove_contents(db: Database, artifact: str, remove: Callable[[str], None]) -> bool:
    """Remove what is stored of contents that no version or upload has; False if one has them.

    `remove` is as for `remove_datasets`.
    """
    with _changing(db) as rows:
        is_named = f"SELECT 1 FROM dataset WHERE artifact = :artifact AND {_NAMES}"
        if rows.one(is_named, {"artifact": artifact}):
            return False
        remove(artifact)
    return True


def list_contents(db: Database) -> set[str]:
    """Return the places of all contents that a version or an upload has."""
    query = f"SELECT DISTINCT artifact FROM dataset WHERE {_NAMES}"
    return {row["artifact"] for row in db.alone(query)}


def list_forgettable(db: Database) -> list[tuple[str, int]]:
    """List removed versions (name, version) whose rows nothing needs.

    No job refers to them, and a newer version keeps their number from being used again.
    """
    query = """
        SELECT name, version FROM dataset WHERE removed_at IS NOT NULL AND version > 0
            AND version < (SELECT max(version) FROM dataset AS o WHERE o.name = dataset.name)
            AND NOT EXISTS (SELECT 1 FROM job
                WHERE job.dataset = dataset.name AND dataset_version = dataset.version)"""
    return [(row["name"], row["version"]) for row in db.alone(query)]


def forget_dataset(db: Database, name: str, version: int) -> None:
    """Delete the row of a removed version."""
    one = "name = :name AND version = :version AND removed_at IS NOT NULL"
    with _changing(db) as rows:
        rows.run(f"DELETE FROM dataset WHERE {one}", {"name": name, "version": version})


MOST = 2**31
"""Rows that no database of datasets has: where no limit is asked for."""
KEPT = "removed_at IS NULL"
_NAMES = f"({KEPT} OR version <= 0)"
"""Condition on a row that its contents are to stay: of a version, or of an upload under way."""


@contextlib.contextmanager
def _changing(db: Database) -> Iterator[Transaction]:
    """Open a transaction that changes rows of datasets, one at a time.

    Numbers are given in turn, and no contents are removed while a version of them is added.
    """
    with db.write() as rows:
        if lock := rows.sql.lock_table:
            rows.run(lock.format("dataset"))
        yield rows


def _newest(rows: Transaction, name: str) -> DatasetVersion | None:
    query = f"SELECT * FROM dataset WHERE name = :name AND {KEPT} ORDER BY version DESC LIMIT 1"
    row = rows.one(query, {"name": name})
    return _to_version(row) if row else None


def _users(rows: Transaction, name: str, versions: Sequence[int]) -> DatasetUsers:
    query = """
        SELECT count(*) AS n, count(finished_at) AS finished FROM job
        WHERE dataset = :name AND dataset_version = :version"""
    found = [rows.one(query, {"name": name, "version": version}) for version in versions]
    finished = sum(row["finished"] for row in found if row)
    return DatasetUsers(sum(row["n"] for row in found if row) - finished, finished)


def _to_version(row: Row) -> DatasetVersion:
    read = {name: json.loads(row[name]) for name in ("meta", "recipe")}
    return DatasetVersion(**{k: v for k, v in row.items() if k != "removed_at"} | read)
