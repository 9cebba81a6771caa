"""What every worker looks for every few seconds is found by an index; the clock goes on."""

from __future__ import annotations

import pytest
from helpers import servers
from helpers.finished_jobs import a_spec

from zoo import jobs
from zoo.jobs import Database
from zoo.jobs.dialects import POSTGRESQL
from zoo.jobs.statuses import MAY_RUN

LOOKS = {
    "job_hint": f"{MAY_RUN} AND dispatched_at < {POSTGRESQL.now} - 30",
    "job_lease_until": f"status = 'running' AND lease_until < {POSTGRESQL.now}",
    "outbox_due_at": f"due_at < {POSTGRESQL.now}",
}
DUE = {"job_hint": "dispatched_at", "job_lease_until": "lease_until", "outbox_due_at": "due_at"}


@pytest.mark.parametrize("index", LOOKS)
def test_on_postgresql_what_is_due_is_found_by_an_index(postgresql: str, index: str) -> None:
    servers.empty(postgresql)
    db = Database(postgresql)
    table = "outbox" if index.startswith("outbox") else "job"
    with db.write() as rows:
        # A table without rows would be read as a whole, and its few guessed rows sorted.
        for otherwise in ("enable_seqscan", "enable_sort"):
            rows.run(f"SET LOCAL {otherwise} = off")
        plan = str(
            rows.all(f"EXPLAIN SELECT 1 FROM {table} WHERE {LOOKS[index]} ORDER BY {DUE[index]}")
        )
    db.close()
    assert f"using {index} " in plan or f"on {index} " in plan
    assert f"Index Cond: ({DUE[index]} <" in plan


def test_the_clock_goes_on_within_a_transaction(db: Database) -> None:
    jobs.add(db, [a_spec()])
    with db.write() as rows:
        clock = f"SELECT {rows.sql.now} AS at"
        first = rows.value(clock)
        assert any(rows.value(clock) > first for _ in range(1000))
