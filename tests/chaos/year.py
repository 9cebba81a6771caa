"""A year in an hour: jobs come and go by the hundred thousand, and nothing grows beyond bounds."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import tempfile
import time
from dataclasses import dataclass, field, fields
from pathlib import Path

import psutil
from helpers.command_line import Zoo, until
from helpers.processes import Broker, Crew, Postgresql, Sqlite, Store, living
from zoo_workers.finalizer import MAX_PER_SLOT

from zoo import jobs
from zoo.job_spec import JobSpec
from zoo.jobs import Database, QueueOptions
from zoo.queue import local_services, submit

PLUGINS = Path(__file__).parents[1] / "plugins"
KEPT, KEPT_FAILED = 1000, 100
KEEP_JOBS = f"{KEPT} failed={KEPT_FAILED} tag:paper=forever"
SLICE = 500
"""Jobs of one submission; the next one is made when fewer than twice as many are queued."""
MONTHS = 12
PAPER, PINNED = 2, 2
"""Jobs a month that are kept for ever by their tag, and by a pin."""
SAMPLE_SECONDS = 5.0
UNUSED_DAYS = 0.01
"""Of `zoo gc` each month: as old as a season is in a year of an hour."""
MB = 2**20
SLOTS = 2
TABLES = ("job", "attempt", "history", "log", "metric", "outbox", "hook_error", "rung", "removal")
"""All tables that have rows of jobs, but for `dependency` and groups, which these jobs have not."""
WRONG = f"""
    OLD.status IN ('queued', 'running') OR OLD.pinned = 1 OR OLD.tags LIKE '%paper%'
    OR CASE WHEN OLD.status = 'failed' THEN
        (SELECT count(*) FROM (SELECT 1 FROM job WHERE status = 'failed' AND seq > OLD.seq
            LIMIT {KEPT_FAILED}) AS newer) < {KEPT_FAILED}
    ELSE (SELECT count(*) FROM (SELECT 1 FROM job WHERE seq > OLD.seq
            LIMIT {KEPT}) AS newer) < {KEPT} END"""
"""Condition on a deleted row (`OLD`): no rule of the retention permits its removal."""
COUNT = f"""
    UPDATE counted SET gone = gone + 1, wrong = wrong + CASE WHEN {WRONG} THEN 1 ELSE 0 END;"""
TRIGGERS = {
    True: [f"CREATE TRIGGER counted AFTER DELETE ON job BEGIN {COUNT} END"],
    False: [
        f"CREATE FUNCTION counted() RETURNS trigger AS $$ BEGIN {COUNT} RETURN OLD; END $$"
        " LANGUAGE plpgsql",
        "CREATE TRIGGER counted AFTER DELETE ON job FOR EACH ROW EXECUTE FUNCTION counted()",
    ],
}


def watch_deletions(db: Database) -> None:
    """Add triggers that count removed jobs, and those whose removal no rule permits."""
    with db.write() as rows:
        rows.run("CREATE TABLE counted (gone INTEGER, wrong INTEGER)")
        rows.run("INSERT INTO counted VALUES (0, 0)")
        for statement in TRIGGERS[db.is_sqlite]:
            rows.run(statement)


@dataclass
class Sample:
    """What there is at one moment."""

    seconds: float
    submitted: int = 0
    open: int = 0
    jobs: int = 0
    other_rows: int = 0
    folders: int = 0
    """Of jobs in the artifact store."""
    artifact_mb: float = 0.0
    database_mb: float = 0.0
    cache_mb: float = 0.0
    log_mb: float = 0.0
    work: int = 0
    """Folders of attempts."""
    temporary: int = 0
    """Files and folders for temporary files."""
    memory_mb: float = 0.0
    """Of all processes of this home."""


@dataclass
class Found:
    """How it went."""

    store: str
    samples: list[Sample] = field(default_factory=list)
    gone: int = 0
    wrong: int = 0
    """Jobs that were removed though they were to be kept."""
    kept: dict[str, int] = field(default_factory=dict)
    """How many jobs are left at the end, and should be, by the rule that keeps them."""
    leftovers: dict[str, int] = field(default_factory=dict)
    """At the end: rows of no job, folders of no row, rows without their folder and so on."""

    def bounds(self) -> dict[str, tuple[float, float]]:
        """Return the largest value and the bound of each thing that may grow."""
        open_jobs = max(each.open for each in self.samples)
        rows = 3 * KEPT + open_jobs
        most = {
            "jobs": rows,
            "other_rows": 8 * rows,
            "folders": rows,
            "artifact_mb": rows * 0.05,
            "database_mb": 40 + rows * 0.02,
            "cache_mb": 40.0,
            "log_mb": 4 * local_services.LOG_BYTES / MB,
            "work": SLOTS * (MAX_PER_SLOT + 1),  # one runs in each slot, others are being stored
            "temporary": 40,
            "memory_mb": 1500.0,
        }
        return {k: (max(getattr(each, k) for each in self.samples), v) for k, v in most.items()}

    @property
    def is_good(self) -> bool:
        """Whether everything stayed within its bounds and nothing went that should live."""
        within = all(seen <= most for seen, most in self.bounds().values())
        equal = self.kept["left"] == self.kept["to be kept"]
        return within and equal and not self.wrong and not any(self.leftovers.values())


class Year:
    """A home or a team's stores, a worker or two, and someone who submits."""

    def __init__(self, folder: Path, store: Store, broker: Broker | None, n_jobs: int) -> None:
        """`broker` is that of a team; a home brings its own."""
        self.n_jobs = n_jobs
        self.store_folder = folder / "artifacts" if broker else folder / "home" / "artifacts"
        self.temporary = folder / "tmp"
        self.temporary.mkdir()
        tempfile.tempdir = str(self.temporary)
        env = {"ZOO_PLUGINS_DIR": str(PLUGINS), "ZOO_PLUGINS": "trickster,sklearn"}
        env |= {"ZOO_KEEP_JOBS": KEEP_JOBS, "ZOO_REAP_SECONDS": "2"}
        env |= {"ZOO_IDLE_SECONDS": "600", "ZOO_SLOTS": str(SLOTS)}
        env |= {"ZOO_JOBS_PER_RUNNER": "10000"}  # imports are not what grows
        if broker:
            env |= {"ZOO_DATABASE_URL": store.url, "ZOO_BROKER_URL": broker.url}
            env |= {"ZOO_ARTIFACTS_URL": str(self.store_folder)}
        self.zoo = Zoo(folder / "home", **env, TMPDIR=str(self.temporary))
        os.environ |= self.zoo.env  # this process submits, and may start a worker
        self.db = self.zoo.database()
        watch_deletions(self.db)
        self.found = Found("team" if broker else "home")
        self.began = time.monotonic()
        self.submitted = 0
        self.protected: set[str] = set()
        self._sampled = -SAMPLE_SECONDS
        self._table = folder / "month.csv"

    def run(self) -> None:
        """Submit all jobs, month by month, and wait until what is not kept has gone."""
        for month in range(MONTHS):
            while self.submitted < self.n_jobs * (month + 1) // MONTHS:
                until(lambda: self._look() < 2 * SLICE, 600)
                self._submit()
            self._turn(month)
        until(lambda: self._look() == 0, 600)
        until(lambda: self._look() == 0 and not self._surplus(), 300)

    def _look(self) -> int:
        """Return the number of open jobs; take a sample now and then."""
        counts = jobs.counts(self.db)
        number = counts.get("queued", 0) + counts.get("running", 0)
        now = time.monotonic() - self.began
        if now - self._sampled >= SAMPLE_SECONDS:
            self._sampled = now
            self.found.samples.append(self._sample(now, number))
        return number

    def _submit(self) -> None:
        odd = {3: _job("trickster", trick="raise"), 7: _job("logistic", max_iter=1)}
        specs = [odd.get(n % 50, _job("trickster", lines=n % 5)) for n in range(SLICE)]
        ids = submit.submit(self.db, self.zoo.settings, specs).ids
        self.submitted += len(ids)
        jobs.cancel_many(self.db, ids[-5:])

    def _turn(self, month: int) -> None:
        """At the end of a month: a new version of a dataset, jobs that are kept, and `zoo gc`."""
        rows = "".join(f"{n * (month + 2) % 7},{n % 5},{'ab'[n % 2]}\n" for n in range(200))
        self._table.write_text("x,y,kind\n" + rows)
        self.zoo.run("data", "add", "month", str(self._table), "--target", "kind")
        specs = [_job("trickster") for _ in range(PAPER + PINNED)]
        ids = submit.submit(self.db, self.zoo.settings, specs[:PAPER], QueueOptions(tags=["paper"]))
        other = submit.submit(self.db, self.zoo.settings, specs[PAPER:])
        jobs.pin(self.db, other.ids, pinned=True)
        self.protected |= {*ids.ids, *other.ids}
        self.zoo.run("train", "logistic", "--dataset", "month", timeout=600)
        self.submitted += len(specs) + 1
        self.zoo.run("data", "rm", "month", "--yes")
        self.zoo.run("gc", "--yes", "--days", str(UNUSED_DAYS))
        print(f"  month {month + 1}: {self.found.samples[-1]}", file=sys.stderr)

    def _surplus(self) -> int:
        """Return how many jobs are left that the next sweeps are to remove."""
        return self._left() - self._to_be_kept() + jobs.count_removals(self.db)

    def _left(self) -> int:
        return jobs.count(self.db, jobs.ALL_JOBS)

    def _to_be_kept(self) -> int:
        """Return the number of jobs that a rule keeps, from the rows alone."""
        with self.db.read() as rows:
            newest = f"SELECT id FROM job ORDER BY seq DESC LIMIT {KEPT}"
            failed = "SELECT id FROM job WHERE status = 'failed' ORDER BY seq DESC LIMIT 100"
            ids = {row["id"] for row in rows.all(newest)}
            lost = {r["id"] for r in rows.all("SELECT id FROM job WHERE status = 'failed'")}
            kept = (ids - lost) | {row["id"] for row in rows.all(failed)}
        return len(kept | self.protected)

    def _sample(self, now: float, number: int) -> Sample:
        with self.db.read() as rows:
            counts = {t: int(rows.value(f"SELECT count(*) FROM {t}")) for t in TABLES}
        size, folders = _measure(self.store_folder, depth=1)
        logs = [path for path in local_services.log_files(self.zoo.settings) if path.exists()]
        return Sample(
            now,
            submitted=self.submitted,
            open=number,
            jobs=counts.pop("job"),
            other_rows=sum(counts.values()),
            folders=folders,
            artifact_mb=size / MB,
            database_mb=jobs.database_bytes(self.db) / MB,
            cache_mb=_measure(self.zoo.settings.cache)[0] / MB,
            log_mb=sum(path.stat().st_size for path in logs) / MB,
            work=_measure(self.zoo.home / "work", depth=1)[1],
            temporary=_measure(self.temporary, depth=9)[1],
            memory_mb=sum(_memory(each) for each in living(self.zoo.home)) / MB,
        )

    def finish(self) -> None:
        """Count what is left, once the workers have ended."""
        found = self.found
        with self.db.read() as rows:
            row = rows.one("SELECT gone, wrong FROM counted") or {}
            found.gone, found.wrong = int(row["gone"]), int(row["wrong"])
            for table in TABLES[1:-1]:
                lone = f"SELECT count(*) FROM {table} WHERE job_id NOT IN (SELECT id FROM job)"
                found.leftovers[f"rows of {table} without a job"] = int(rows.value(lone))
            named = {r["artifact"] for r in rows.all("SELECT artifact FROM job")} - {None}
        stored = {
            f"{job.name}/{each.name}"
            for job in self.store_folder.iterdir()
            if len(job.name) == 32
            for each in job.iterdir()
        }
        found.leftovers["folders without a row"] = len(stored - named)
        found.leftovers["rows without a folder"] = len(named - stored)
        found.leftovers["places to be removed"] = jobs.count_removals(self.db)
        found.leftovers["work folders"] = _measure(self.zoo.home / "work", depth=1)[1]
        temporary = [each for each in self.temporary.iterdir() if each != self.zoo.settings.runtime]
        found.leftovers["temporary files"] = len(temporary)
        found.kept = {"left": self._left(), "to be kept": self._to_be_kept()}
        alive = {job.id for job in jobs.listing(self.db, limit=10**6)}
        found.leftovers["kept for ever, but gone"] = len(self.protected - alive)
        unaccounted = self.submitted - found.gone - found.kept["left"]
        found.leftovers["neither there nor counted as gone"] = unaccounted


def _job(model: str, **params: object) -> JobSpec:
    return JobSpec(kind="train", model=model, params=params, dataset="digits")


def _measure(folder: Path, depth: int = 0) -> tuple[int, int]:
    """Return the bytes below a folder, and the number of entries down to `depth`."""
    size = number = 0
    for base, folders, files in os.walk(folder):
        level = len(Path(base).relative_to(folder).parts)
        number += (len(folders) + len(files)) if level < depth else 0
        for name in files:
            with contextlib.suppress(OSError):
                size += os.lstat(f"{base}/{name}").st_size
    return size, number


def _memory(process: psutil.Process) -> int:
    with contextlib.suppress(psutil.Error):
        return int(process.memory_info().rss)
    return 0


def run(folder: Path, kind: str, n_jobs: int) -> Found:
    """Let a year pass for a `home` or a `team`, in an empty folder."""
    (folder / "home").mkdir()
    broker = Broker() if kind == "team" else None
    store: Store = Postgresql() if broker else Sqlite(folder / "home", 0)
    year = Year(folder, store, broker, n_jobs)
    try:
        crew = Crew(year.zoo, 2, folder / "workers.log") if broker else None
        if crew is None:
            year.zoo.run("up")
        year.run()
        crew.dismiss() if crew else year.zoo.run("down")
        until(lambda: not living(year.zoo.home), 60)
        year.finish()
        return year.found
    finally:
        tempfile.tempdir = None
        year.zoo.close()
        year.db.close()
        if broker:
            broker.kill()
        store.close()


def show(found: Found) -> None:
    """Print a table."""
    last = found.samples[-1]
    print(f"\n{found.store}: {last.submitted:,} jobs in {last.seconds:.0f} s")
    print(f"  gone {found.gone:,}, of these not to be removed: {found.wrong}")
    print(f"  left {found.kept['left']:,}, to be kept {found.kept['to be kept']:,}")
    print(f"  {'':22} {'most':>10} {'bound':>10} {'at the end':>10}")
    for name, (seen, most) in found.bounds().items():
        print(f"  {name:22} {seen:10,.1f} {most:10,.1f} {getattr(last, name):10,.1f}")
    for name, number in found.leftovers.items():
        print(f"  {name:36} {number}")


def main() -> int:
    """Let a year pass for a home and a team; 1 if something grew beyond its bound, or was lost."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--jobs", type=int, default=200_000)
    options.add_argument("--kind", choices=["home", "team", "both"], default="both")
    options.add_argument("--samples", type=Path, help="write all samples to this file (CSV)")
    given = options.parse_args()
    results = []
    for kind in ["home", "team"] if given.kind == "both" else [given.kind]:
        before = dict(os.environ)
        with tempfile.TemporaryDirectory(prefix="zoo-year-") as folder:
            results.append(run(Path(folder), kind, given.jobs))
        # Both are those of the home that is gone.
        os.environ.clear()
        os.environ |= before
        tempfile.tempdir = None
        show(results[-1])
        if given.samples:
            names = [each.name for each in fields(Sample)]
            lines = [",".join(str(getattr(s, n)) for n in names) for s in results[-1].samples]
            text = "\n".join([",".join(names), *lines]) + "\n"
            given.samples.with_stem(f"{given.samples.stem}-{kind}").write_text(text)
    return 0 if all(each.is_good for each in results) else 1


if __name__ == "__main__":
    sys.exit(main())
