"""Cost of a scrape of the metrics with a hundred thousand rows."""

from __future__ import annotations

import time
from statistics import median

from benchmarks import growth
from benchmarks.queue import Figure
from zoo import jobs
from zoo.jobs import Baseline, Database

ENVIRONMENT = '{"versions": {' + ", ".join(f'"package-{n}": "1.2.3"' for n in range(30)) + "}}"
ATTEMPTS = """
    INSERT INTO attempt (job_id, n, worker, plugin, started_at, ended_at, outcome, environment)
    SELECT id, 1, worker, 'p', started_at, finished_at, status, :told FROM job
    WHERE finished_at IS NOT NULL AND NOT EXISTS (SELECT 1 FROM attempt WHERE job_id = job.id)"""


def seconds(kind: str, *, first: bool) -> float:
    """Return the time of the first scrape of all rows, or the median of the next ten."""
    db = growth.place(kind, growth.MANY).db
    with db.write() as rows:
        rows.run(ATTEMPTS, {"told": ENVIRONMENT})
    took, baseline = _look(db, Baseline())
    later = [_look(db, baseline)[0] for _ in range(10)]
    return took if first else median(later)


def _look(db: Database, baseline: Baseline) -> tuple[float, Baseline]:
    start = time.perf_counter()
    _, baseline = jobs.collect_stats(db, baseline)
    return time.perf_counter() - start, baseline


def _figures(kind: str) -> list[Figure]:
    what = f"one scrape, 100,000 rows, {kind}"
    return [
        Figure(
            f"scrape-first-{kind}",
            f"the first of them, {kind}",
            5,
            "s",
            lambda: seconds(kind, first=True),
            runs=1,
        ),
        Figure(f"scrape-{kind}", what, 100, "ms", lambda: 1000 * seconds(kind, first=False)),
    ]


FIGURES = [*_figures("sqlite"), *_figures("postgresql")]
