"""Did Zoo keep its promise: every accepted job ended, each result committed once, nothing left."""

from __future__ import annotations

import contextlib
import tempfile
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from helpers.command_line import Zoo, until
from helpers.processes import living
from zoo import jobs
from zoo.errors import ArtifactError
from zoo.jobs import Database, Job
from zoo.storage import artifacts

ENDED = "NEW.status NOT IN ('queued', 'running') AND NEW.files_removed_at IS NULL"
WITNESS = "INSERT INTO witness VALUES (NEW.id, NEW.attempt, NEW.status);"
TABLE = "CREATE TABLE witness (job_id TEXT, attempt INTEGER, status TEXT)"
SQLITE = f"CREATE TRIGGER witness AFTER UPDATE ON job WHEN {ENDED} BEGIN {WITNESS} END"
FUNCTION = (
    f"CREATE FUNCTION witness() RETURNS trigger AS $$ BEGIN {WITNESS} RETURN NEW; END $$"
    " LANGUAGE plpgsql"
)
POSTGRESQL = (
    f"CREATE TRIGGER witness AFTER UPDATE ON job FOR EACH ROW WHEN ({ENDED})"
    " EXECUTE FUNCTION witness()"
)
DELETIONS = "CREATE TABLE deletion (job_id TEXT, status TEXT)"
DELETION = "INSERT INTO deletion VALUES (OLD.id, OLD.status);"
SQLITE_DELETION = f"CREATE TRIGGER deletion AFTER DELETE ON job BEGIN {DELETION} END"
DELETION_FUNCTION = (
    f"CREATE FUNCTION deletion() RETURNS trigger AS $$ BEGIN {DELETION} RETURN OLD; END $$"
    " LANGUAGE plpgsql"
)
POSTGRESQL_DELETION = (
    "CREATE TRIGGER deletion AFTER DELETE ON job FOR EACH ROW EXECUTE FUNCTION deletion()"
)


@dataclass
class Verdict:
    """What is wrong; nothing, if all is empty."""

    lost: list[str] = field(default_factory=list)
    """Jobs that were accepted and are gone, have not ended, or ended as they should not."""
    doubled: list[str] = field(default_factory=list)
    """Jobs whose end was committed more than once, or not by the attempt that the row names."""
    damaged: list[str] = field(default_factory=list)
    """Artifacts that are not what their manifests say."""
    debris: list[str] = field(default_factory=list)
    """Processes, files and sockets that nobody needs any more."""

    def __bool__(self) -> bool:
        return not (self.lost or self.doubled or self.damaged or self.debris)


@dataclass
class Result:
    """What happened in a run."""

    store: str
    faults: Counter[str]
    ended: Counter[str]
    attempts: int
    left: list[int]
    seconds: float
    verdict: Verdict = field(default_factory=Verdict)


def watch_commits(db: Database) -> None:
    """Have the database itself record each end and removal of a job: Zoo's code has no part."""
    with db.write() as rows:
        triggers = [SQLITE, SQLITE_DELETION]
        if not db.is_sqlite:
            triggers = [FUNCTION, POSTGRESQL, DELETION_FUNCTION, POSTGRESQL_DELETION]
        for statement in (TABLE, DELETIONS, *triggers):
            rows.run(statement)


def judge(
    zoo: Zoo,
    db: Database,
    accepted: Mapping[str, set[str]],
    *,
    at_work: bool = False,
    also: Sequence[Zoo] = (),
    removable: Collection[str] = (),
) -> Verdict:
    """Look at everything once the workers have been stopped; at the rows alone, if one is at work.

    `accepted` has the statuses in which each accepted job may end; `also` are further machines;
    `removable` are the jobs that somebody has asked to remove.
    """
    found = {job.id: job for job in jobs.listing(db, limit=10**6)}
    verdict = Verdict()
    with db.read() as rows:
        deleted = {row["job_id"]: row["status"] for row in rows.all("SELECT * FROM deletion")}
    for ref, statuses in accepted.items():
        status = found[ref].status if ref in found else "gone"
        if status == "gone" and ref in removable:
            status = deleted.get(ref, "gone")
        if status not in statuses:
            verdict.lost.append(f"{ref} is {status}")
    # Of a submission that was cut off in its commit nobody knows: its jobs must end all the same.
    unknown = [job for job in found.values() if job.id not in accepted and not job.is_terminal]
    verdict.lost += [f"{job.id} is {job.status}" for job in unknown]
    verdict.doubled = _commits(db, found)
    verdict.damaged = _damages(zoo, found)
    for each in () if at_work else (zoo, *also):
        verdict.debris += [*_strays(each), *_leftovers(each)]
    return verdict


def _commits(db: Database, found: Mapping[str, Job]) -> list[str]:
    with db.read() as rows:
        ends = rows.all("SELECT job_id, attempt, status FROM witness")
        won = rows.all("SELECT job_id, n FROM attempt WHERE outcome = 'succeeded'")
    times = Counter(end["job_id"] for end in ends)
    wrong = [f"{ref} ended {n} times" for ref, n in times.items() if n > 1]
    seen = {end["job_id"]: (end["attempt"], end["status"]) for end in ends}
    winners = Counter(row["job_id"] for row in won)
    for job in found.values():
        if job.is_terminal and seen.get(job.id) != (job.attempt, job.status):
            wrong.append(f"{job.id} is {job.status}, but {seen.get(job.id)} was committed")
        if job.status == "succeeded" and not (
            winners[job.id] == 1
            and {"job_id": job.id, "n": job.attempt} in won
            and (job.removal_note or job.artifact == f"{job.id}/{job.attempt}")
        ):
            wrong.append(f"{job.id} has the artifact {job.artifact}, {winners[job.id]} winners")
    return wrong


def _damages(zoo: Zoo, found: Mapping[str, Job]) -> list[str]:
    damages = []
    with tempfile.TemporaryDirectory() as folder:
        for job in found.values():
            if job.status != "succeeded" or job.removal_note:
                continue
            where, sha256 = str(job.artifact), str(job.artifact_sha256)
            try:
                artifacts.get(zoo.settings.artifacts, where, sha256, Path(folder) / job.id)
            except ArtifactError as error:
                damages.append(str(error))
    return damages


def _strays(zoo: Zoo) -> list[str]:
    with contextlib.suppress(AssertionError):
        # A runner needs a moment to see that its worker is gone.
        until(lambda: not living(zoo.home), 60)
    return [f"process {each.pid} {_command(each)}" for each in living(zoo.home)]


def _command(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.Error):
        return " ".join(process.cmdline())[:100]
    return ""


def _leftovers(zoo: Zoo) -> list[str]:
    work = zoo.home / "work"
    left = [f"file {path}" for path in (work.iterdir() if work.exists() else ())]
    left += [f"socket {path}" for path in zoo.home.rglob("*") if path.is_socket()]
    left += [f"half an artifact {path}" for path in (zoo.home / "artifacts").glob("*/.*")]
    return left + [f"servers {path}" for path in [zoo.settings.runtime] if path.exists()]


def show(result: Result) -> None:
    """Print the table of one run."""
    verdict = result.verdict
    ended = ", ".join(f"{n} {status}" for status, n in sorted(result.ended.items()))
    rows = [(kind, str(n)) for kind, n in sorted(result.faults.items())]
    rows += [
        ("faults, all", str(result.faults.total())),
        ("workers that ended", str(len(result.left))),
        ("jobs", f"{result.ended.total()} ({ended})"),
        ("attempts", str(result.attempts)),
        ("lost", str(len(verdict.lost))),
        ("doubled", str(len(verdict.doubled))),
        ("damaged", str(len(verdict.damaged))),
        ("left behind", str(len(verdict.debris))),
        ("seconds", f"{result.seconds:.0f}"),
    ]
    print(f"\n{result.store}")
    for name, value in rows:
        print(f"  {name:22} {value}")
    for fault in (*verdict.lost, *verdict.doubled, *verdict.damaged, *verdict.debris):
        print(f"  ! {fault}")
