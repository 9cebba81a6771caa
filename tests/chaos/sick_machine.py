"""A machine falls sick beside a healthy one: no job fails, and it says why it takes none."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from helpers.command_line import Zoo, until
from helpers.processes import Broker, Postgresql, Sickness, Sqlite, Store
from helpers.promise_check import Verdict, judge, watch_commits
from zoo_workers.health import MAX_FAULTS

from zoo import jobs
from zoo.job_spec import JobSpec
from zoo.jobs import Database, Worker
from zoo.queue import submit

TRICKSTER = Path(__file__).parents[1] / "plugins" / "trickster.py"
IMPORTS = {
    "no module": 'raise ImportError("libtricks.so: cannot open shared object file")',
    "no memory": (
        "import resource; used = int(open('/proc/self/statm').read().split()[0]) * 4096; "
        "resource.setrlimit(resource.RLIMIT_AS, (used + 2**20,) * 2); import zoo, sqlite3; "
        "import xml.dom.minidom, http.server, imaplib, mailbox, tkinter, turtle"
    ),
}
"""What the plugin of a machine does as it is imported, once a file of that name lies beside it."""


class Illness(Protocol):
    """What befalls a machine."""

    def begin(self) -> None: ...
    def end(self) -> None: ...
    def close(self) -> None: ...


class BadImport:
    """A plugin that cannot be imported by runners which start from now on."""

    def __init__(self, machine: Zoo, name: str) -> None:
        self._flag = machine.settings.plugins_folder / name

    def begin(self) -> None:
        self._flag.touch()

    def end(self) -> None:
        self._flag.unlink()

    def close(self) -> None:
        pass


KINDS: dict[str, Callable[[Zoo], Illness]] = {
    "full disk": lambda machine: Sickness(machine.home, "full disk"),
    "read-only home": lambda machine: Sickness(machine.home, "read-only home"),
    "cache on a full disk": lambda machine: Sickness(machine.home, "cache on a full disk"),
    "broken cache": lambda machine: Sickness(machine.home, "broken cache"),
    "plugin not importable": lambda machine: BadImport(machine, "no module"),
    "no memory for a runner": lambda machine: BadImport(machine, "no memory"),
}


@dataclass
class Found:
    """How it went."""

    kind: str
    ended: dict[str, int]
    elsewhere: int
    """Jobs that the healthy machine ended."""
    given_back: int
    """Attempts that the sick machine gave back."""
    charged: int
    """Jobs of which more than the attempt that ended them counts."""
    trouble: str
    """What the worker says of itself."""
    named_by: list[str]
    """Who names it: `worker list`, `doctor`, `metrics`."""
    recovery: float
    """Seconds from the end of the illness until it ran a job."""
    verdict: Verdict

    @property
    def is_good(self) -> bool:
        """Whether all that was promised is so."""
        few, named = self.given_back <= MAX_FAULTS, len(self.named_by) == 3
        done = self.elsewhere == sum(self.ended.values()) == self.ended.get("succeeded")
        return few and named and done and not self.charged and bool(self.verdict)


class Pair:
    """A healthy machine and one that is to fall sick, with a worker each."""

    def __init__(self, folder: Path, kind: str, store: Store, broker: Broker) -> None:
        """Raises LookupError where this machine does not allow the illness."""
        self.env = {"ZOO_DATABASE_URL": store.url, "ZOO_BROKER_URL": broker.url}
        self.env |= {
            "ZOO_ARTIFACTS_URL": str(folder / "artifacts"),
            "ZOO_PLUGINS": "trickster,sklearn",
        }
        self.env |= {"ZOO_FREE_MB": "1"}
        self.healthy = self._machine(folder / "healthy")
        # It looks after itself so seldom that jobs find out; each job imports anew.
        seldom = {"ZOO_REAP_SECONDS": "10", "ZOO_JOBS_PER_RUNNER": "1"}
        self.sick = self._machine(folder / "sick", **seldom)
        self.illness = KINDS[kind](self.sick)
        self.db = Database(store.url)
        watch_commits(self.db)
        self.accepted: dict[str, set[str]] = {}

    def _machine(self, home: Path, **env: str) -> Zoo:
        plugins = home.parent / f"plugins of {home.name}"
        plugins.mkdir()
        checks = "".join(
            f"if Path({str(plugins / name)!r}).exists():\n    {code}\n"
            for name, code in IMPORTS.items()
        )
        future, _, rest = TRICKSTER.read_text().partition("annotations\n")
        plugin = plugins / TRICKSTER.name
        plugin.write_text(f"{future}annotations\nfrom pathlib import Path\n{checks}{rest}")
        home.mkdir()
        return Zoo(home, **self.env, ZOO_PLUGINS_DIR=str(plugins), **env)

    def hire(self, machine: Zoo) -> Worker:
        process = machine.start("worker", "start", "--slots", "1", "--models", "trickster")
        return until(lambda: next((w for w in self.workers() if w.pid == process.pid), None))  # type: ignore[no-any-return]

    def workers(self) -> list[Worker]:
        return jobs.workers(self.db)

    def submit(self, number: int) -> Sequence[str]:
        params = {"seconds": 0.1}
        spec = JobSpec(kind="train", model="trickster", params=params, dataset="digits")
        ids = submit.submit(self.db, self.healthy.settings, [spec] * number).ids
        self.accepted |= {each: {"succeeded"} for each in ids}
        return ids

    def close(self) -> None:
        for machine in (self.sick, self.healthy):
            for process in machine.started:
                process.terminate()
            machine.close()
        self.illness.close()


def run(kind: str, folder: Path, store: Store, n_jobs: int) -> Found:
    """Let one of two machines fall sick, submit jobs, and let it recover.

    Raises LookupError where this machine does not allow the illness.
    """
    broker = Broker()
    pair = Pair(folder, kind, store, broker)
    try:
        sick = pair.hire(pair.sick)
        pair.illness.begin()
        healthy = pair.hire(pair.healthy)
        ids = pair.submit(n_jobs)
        trouble = until(lambda: _trouble(pair, sick), 60)
        named_by = _named_by(pair, sick, trouble)
        until(lambda: not _open(pair.db), 120)
        ended = jobs.counts(pair.db)
        elsewhere = sum(jobs.get(pair.db, each).worker == healthy.name for each in ids)
        tried = [a for each in ids for a in jobs.attempts(pair.db, each)]
        given_back = sum(a.worker == sick.name for a in tried)
        charged = sum(a.counts for a in tried if a.worker == sick.name)
        pair.illness.end()
        began = time.monotonic()
        jobs.drain(pair.db, healthy.id)
        until(lambda: healthy.id not in {each.id for each in pair.workers()})
        (last,) = pair.submit(1)
        until(lambda: jobs.get(pair.db, last).worker == sick.name and not _open(pair.db), 60)
        recovery = time.monotonic() - began
        assert jobs.get(pair.db, last).status == "succeeded"
    finally:
        pair.close()
        broker.kill()
    verdict = judge(pair.healthy, pair.db, pair.accepted, also=[pair.sick])
    pair.db.close()
    return Found(kind, ended, elsewhere, given_back, charged, trouble, named_by, recovery, verdict)


def _trouble(pair: Pair, sick: Worker) -> str:
    """Return what the worker says, once it takes no more jobs."""
    now = next(w for w in pair.workers() if w.id == sick.id)
    return now.trouble or "" if now.state == "sick" else ""


def _named_by(pair: Pair, sick: Worker, trouble: str) -> list[str]:
    terminal = pair.healthy
    listed = terminal.run("worker", "list").stdout.replace("\n", " ")
    told = [f for f in terminal.json("doctor", code=1) if sick.name in f["detail"] and not f["ok"]]
    stats, _ = jobs.collect_stats(pair.db, jobs.Baseline())
    words = trouble.split(":")[0][:20]  # the rest counts seconds
    states = {seat.worker: seat.state for seat in stats.workers}
    found = {
        "list": f"{sick.name}: {words}" in listed,
        "doctor": any(words in each["detail"] for each in told),
        "metrics": states.get(sick.name) == "sick",
    }
    return [name for name, is_named in found.items() if is_named]


def _open(db: Database) -> int:
    found = jobs.counts(db)
    return found.get("queued", 0) + found.get("running", 0)


def show(found: Sequence[Found]) -> None:
    """Print a table."""
    heads = ("sick by", "succeeded", "given back", "charged", "named by", "runs again after")
    line = "{:24} {:>12} {:>11} {:>8}  {:22} {:>16}"
    print(line.format(*heads))
    for each in found:
        succeeded = f"{each.ended.get('succeeded', 0)} of {sum(each.ended.values())}"
        named = ", ".join(each.named_by)
        recovery = f"{each.recovery:.1f} s"
        cells = (each.kind, succeeded, each.given_back, each.charged, named, recovery)
        print(line.format(*cells))
        print(f"    {each.trouble}")
        if not each.verdict:
            print(f"    {each.verdict}")


def main() -> int:
    """Let a machine fall sick in each way; 1 if a job failed or was charged."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--jobs", type=int, default=100)
    options.add_argument("--kind", choices=list(KINDS), action="append", help="[default: all]")
    options.add_argument("--store", choices=["sqlite", "postgresql"], default="sqlite")
    given = options.parse_args()
    results = []
    for kind in given.kind or KINDS:
        with tempfile.TemporaryDirectory(prefix="zoo-sick-") as temporary:
            folder = Path(temporary)
            (folder / "rows").mkdir()
            store: Store = Sqlite(folder / "rows", 0) if given.store == "sqlite" else Postgresql()
            try:
                results.append(run(kind, folder, store, given.jobs))
                print(f"{kind}: {results[-1].ended}", file=sys.stderr)
            except LookupError as error:
                print(f"{kind}: not tried, {error}")
            finally:
                store.close()
    show(results)
    return 0 if all(each.is_good for each in results) else 1


if __name__ == "__main__":
    sys.exit(main())
