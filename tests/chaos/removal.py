"""Jobs and garbage are removed by commands that are killed at each step, while workers run."""

from __future__ import annotations

import argparse
import secrets
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from helpers import command_server
from helpers.command_line import Zoo, until
from helpers.processes import Broker, Crew, Postgresql, Sqlite, Store
from helpers.promise_check import Verdict, judge, watch_commits

from zoo import jobs
from zoo.data.added import STORED
from zoo.job_spec import JobSpec
from zoo.jobs import Database, Job
from zoo.queue import submit

PLUGINS = Path(__file__).parents[1] / "plugins"
DYING = Path(__file__).parents[1] / "helpers" / "dying_command.py"
DAYS_LATER = 2
"""For `zoo gc`, which leaves alone what has changed in the last day."""
WAITING = 20
"""Jobs that wait for the workers all the time."""
AT_ONCE = 3
"""Jobs that one command removes."""
KEPT = 60
"""ZOO_KEEP_JOBS of the housekeeping that is killed."""
COMMANDS: dict[str, Sequence[str]] = {
    "rm": ("rm", "--yes"),
    "rm --keep-metrics": ("rm", "--keep-metrics", "--yes"),
    "gc": ("gc", "--yes"),
    "retention": ("retention",),
}


@dataclass
class Found:
    """How it went."""

    store: str
    kills: Counter[str] = field(default_factory=Counter)
    """Kills of each command: one before each of its steps."""
    removed: int = 0
    ended: int = 0
    without_files: list[str] = field(default_factory=list)
    """Rows whose files were not all there, at any time."""
    without_row: list[str] = field(default_factory=list)
    """Files that no row named after the next pass."""
    seconds: float = 0.0
    verdict: Verdict = field(default_factory=Verdict)

    @property
    def is_good(self) -> bool:
        """Whether rows and files stayed together, and the promise was kept."""
        return bool(self.verdict) and not self.without_files and not self.without_row


class Removal:
    """Two workers that are never without a job, and commands that remove what they leave."""

    def __init__(self, folder: Path, store: Store, broker: Broker) -> None:
        self.folder = folder / "artifacts"
        env = {"ZOO_DATABASE_URL": store.url, "ZOO_BROKER_URL": broker.url}
        env |= {"ZOO_PLUGINS_DIR": str(PLUGINS), "ZOO_PLUGINS": "trickster,sklearn"}
        env |= {"ZOO_ARTIFACTS_URL": str(self.folder)}
        self.zoo = Zoo(folder / "home", **env)
        self.zoo.home.mkdir(exist_ok=True)
        self.db = Database(store.url)
        watch_commits(self.db)
        self.accepted: dict[str, set[str]] = {}
        self.removable: set[str] = set()
        self.found = Found("sqlite" if self.db.is_sqlite else "postgresql")
        self.crew = Crew(self.zoo, 2, folder / "workers.log")

    def run(self, most: int) -> None:
        """Kill each command before its first step, its second, until it ends; at most so often."""
        until(lambda: self._keep_busy() >= 2 * KEPT)
        for name, words in COMMANDS.items():
            for step in range(1, most + 1):
                self._keep_busy()
                if self._die(words, step):
                    break
                self.found.kills[name] += 1
                self._see_no_row_without_files()
        until(lambda: not self._open(), 300)

    def finish(self) -> None:
        """After the workers have ended: one more pass, and then a look at every file."""
        self._die(("gc", "--yes"), 10**9)
        self._see_no_row_without_files()
        rows = jobs.listing(self.db, limit=10**6)
        named = {job.artifact for job in rows} | {None}
        for job in self.folder.iterdir():
            for each in job.iterdir():
                if f"{job.name}/{each.name}" not in named and each.name != "extra":
                    self.found.without_row.append(str(each))
        self.found.without_row += jobs.list_removals(self.db)
        self.found.removed = len(self.accepted) - len(rows)
        self.found.ended = len(self.accepted)

    def _die(self, words: Sequence[str], step: int) -> bool:
        """Let a command die at a step; return whether it had fewer and came to its end."""
        env, late = dict(self.zoo.env), 0
        if words[0] == "rm":
            chosen = [job.id for job in self._ended() if not job.removal_note][:AT_ONCE]
            self.removable |= set(chosen)
            words = [*words, *chosen]
        elif words[0] == "gc":
            late = DAYS_LATER
            self._leave_garbage()
        else:
            env["ZOO_KEEP_JOBS"] = str(KEPT)
            self.removable |= {job.id for job in self._ended(10**6)}
        command = command_server.start([str(step), str(late), *words], env, DYING)
        with command:
            out, err = command.communicate(timeout=120)
        assert command.returncode in (0, -9), (words, step, command.returncode, out, err)
        return command.returncode == 0

    def _leave_garbage(self) -> None:
        """Leave what killed workers, uploads and removed datasets do."""
        (job, *_) = (each for each in self._ended() if each.artifact)
        places = [secrets.token_hex(16), f"{job.id}/7", f"{STORED}/{secrets.token_hex(32)}"]
        for place in places:
            (self.folder / place / "1").mkdir(parents=True, exist_ok=True)
            (self.folder / place / "1" / "file").write_text("nobody's")
        (self.zoo.home / "work" / f"{job.id}-1-left").mkdir(parents=True, exist_ok=True)

    # --- the jobs ---

    def _keep_busy(self) -> int:
        """Have enough jobs wait; return how many have ended."""
        while (missing := WAITING - self._open()) > 0:
            models = [{"seconds": 0.5, "lines": 3}, {"seconds": 0.3}, {"trick": "raise"}]
            specs = [
                JobSpec(kind="train", model="trickster", params=models[n % 3], dataset="digits")
                for n in range(missing)
            ]
            done = submit.submit(self.db, self.zoo.settings, specs)
            for ref, spec in zip(done.ids, specs, strict=True):
                fails = spec.params.get("trick") == "raise"
                self.accepted[ref] = {"failed" if fails else "succeeded"}
        return len(self._ended())

    def _open(self) -> int:
        counts = jobs.counts(self.db)
        return counts.get("queued", 0) + counts.get("running", 0)

    def _ended(self, most: int = 5 * KEPT) -> list[Job]:
        """Return the newest jobs that have ended."""
        return jobs.listing(self.db, statuses=["succeeded", "failed"], limit=most)

    def _see_no_row_without_files(self) -> None:
        """See that no file of a row is missing; `judge` reads them all at the end."""
        for job in self._ended():
            files = [self.folder / (job.artifact or ".") / "manifest.json", self.folder]
            if all(each.exists() for each in files):
                continue
            if any(now.artifact for now in jobs.get_many(self.db, [job.id])):
                self.found.without_files.append(job.id)


def run(folder: Path, store: Store, most: int = 10**6) -> Found:
    """Remove in an empty folder, killing each command before each of its steps.

    `most` limits the steps of each command.
    """
    broker = Broker()
    began = time.monotonic()
    removal = Removal(folder, store, broker)
    try:
        try:
            removal.run(most)
        finally:
            removal.crew.dismiss()
            broker.kill()
        removal.finish()
        found = removal.found
        found.verdict = judge(
            removal.zoo, removal.db, removal.accepted, removable=removal.removable
        )
        found.seconds = time.monotonic() - began
        return found
    finally:
        removal.db.close()


def show(found: Found) -> None:
    """Print a table."""
    print(f"\n{found.store}, {found.seconds:.0f} s")
    for name, kills in found.kills.items():
        print(f"  kills of {name:20} {kills}")
    print(f"  jobs                          {found.ended}")
    print(f"  removed                       {found.removed}")
    print(f"  rows without their files      {len(found.without_files)}")
    print(f"  files without their row       {len(found.without_row)}")
    for name in ("lost", "doubled", "damaged", "debris"):
        wrong = getattr(found.verdict, name)
        print(f"  {name:29} {len(wrong)}")
        print("".join(f"    {each}\n" for each in wrong[:20]), end="")
    for each in (*found.without_files[:20], *found.without_row[:20]):
        print(f"  ! {each}")


def main() -> int:
    """Kill commands at each step on both databases; 1 if rows and files have parted."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--store", choices=["sqlite", "postgresql", "both"], default="both")
    options.add_argument("--most", type=int, default=10**6, help="steps of each command")
    given = options.parse_args()
    results = []
    for kind in ["sqlite", "postgresql"] if given.store == "both" else [given.store]:
        with tempfile.TemporaryDirectory(prefix="zoo-removal-") as temporary:
            folder = Path(temporary)
            (folder / "home").mkdir()
            store: Store = Sqlite(folder / "home", 0) if kind == "sqlite" else Postgresql()
            try:
                results.append(run(folder, store, given.most))
            finally:
                store.close()
        show(results[-1])
    return 0 if all(each.is_good for each in results) else 1


if __name__ == "__main__":
    sys.exit(main())
