"""`python -m benchmarks.counting FILE worker start ...`: a `zoo` command that counts transactions.

Each is a line of FILE once the command has ended: [when it ended, "read" or "write", the function
that made it, seconds until it was let in, seconds that it took then].
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
    """Count this process's transactions, and write them down when it ends."""
    found: list[Counted] = []
    for kind in ("read", "write"):
        setattr(Database, kind, _counted(kind, getattr(Database, kind), found))
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


if __name__ == "__main__":
    from zoo.cli.main import main

    count_into(Path(sys.argv.pop(1)))
    main()
