"""`python -m benchmarks.counting FILE worker start ...`: a `zoo` command that counts transactions.

FILE gets one line per transaction when the command ends: [end time, "read" or "write", calling
function, seconds of waiting for the lock, seconds of the transaction].
"""

from __future__ import annotations

import atexit
import contextlib
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from zoo.jobs import Database
from zoo.jobs.database import Transaction

Counted = tuple[float, str, str, float, float]


def count_into(file: Path) -> None:
    """Record this process's transactions, and write them to the file when it ends."""
    found: list[Counted] = []
    for kind in ("read", "write"):
        setattr(Database, kind, _counted(kind, getattr(Database, kind), found))
    Database.alone = _counted_alone(Database.alone, found)  # type: ignore[method-assign]
    atexit.register(lambda: file.write_text(json.dumps(found)))


def _counted(kind: str, original: Any, found: list[Counted]) -> Any:
    @contextlib.contextmanager
    def timed(db: Database, name: str) -> Iterator[Transaction]:
        asked = time.perf_counter()
        with original(db) as rows:
            begun = time.perf_counter()
            yield rows
        ended = time.perf_counter()
        found.append((time.time(), kind, name, begun - asked, ended - begun))

    return lambda db: timed(db, sys._getframe(1).f_code.co_name)


def _counted_alone(original: Any, found: list[Counted]) -> Any:
    def timed(db: Database, sql: str, values: Any = None) -> Any:
        begun = time.perf_counter()
        given = original(db, sql, values)
        kind, name = "write" if "INSERT" in sql else "read", sys._getframe(1).f_code.co_name
        found.append((time.time(), kind, name, 0.0, time.perf_counter() - begun))
        return given

    return timed


if __name__ == "__main__":
    from zoo.cli.main import main

    count_into(Path(sys.argv.pop(1)))
    main()
