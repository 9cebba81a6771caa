"""Give the free pages of an embedded database back to the disk, after many rows were removed."""

from __future__ import annotations

from zoo.jobs.database import Database

LEAST_BYTES = 2**20
"""Less is not worth a rewrite."""


def free_bytes(db: Database) -> int:
    """Return the size of the free pages if they are most of the file, else 0.

    Of PostgreSQL 0: its autovacuum finds a use for them. Nor while a job runs: `compact` keeps
    workers from writing for as long as it takes.
    """
    if not db.is_sqlite:
        return 0
    with db.read() as rows:
        pages, free, size = (
            rows.value(f"PRAGMA {each}") for each in ("page_count", "freelist_count", "page_size")
        )
        if rows.value("SELECT id FROM job WHERE status = 'running' LIMIT 1"):
            return 0
    return int(free * size) if free * 2 > pages and free * size >= LEAST_BYTES else 0


def compact(db: Database) -> None:
    """Rewrite the file without its free pages, if that is still due; writers wait meanwhile.

    What is copied is less than half of the file, and needs as much space on the disk. Raises
    StoreError if there is too little.
    """
    if free_bytes(db):
        db.alone("VACUUM")
        db.alone("PRAGMA wal_checkpoint(TRUNCATE)")  # which shortens the file
