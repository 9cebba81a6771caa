"""A slot's jobs one after the other, and what passes between a runner and its supervisor."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from helpers.command_line import share, until
from zoo_workers import finalizer, runner_main
from zoo_workers import runner_pool as runners_room
from zoo_workers.artifact_writer import Storer
from zoo_workers.channel import Desk
from zoo_workers.execution import Watch
from zoo_workers.runner_pool import Runner, Runners
from zoo_workers.slots import Supervisor
from zoo_workers.workspace import Attempt

from zoo import jobs, settings
from zoo.errors import ArtifactError, StoreError
from zoo.job_spec import JobSpec
from zoo.jobs import AttemptEnd, Database, Job, QueueOptions, RowRefused
from zoo.storage import artifacts

TESTS = Path(__file__).parents[1]


def trick(**params: Any) -> JobSpec:
    return JobSpec(kind="train", model="trickster", params=params, dataset="digits")


@pytest.fixture
def runners(cache: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Runners]:
    share(cache, home)
    monkeypatch.setenv("ZOO_PLUGINS_DIR", str(TESTS / "plugins"))
    monkeypatch.setenv("ZOO_PLUGINS", "trickster,sklearn")
    (home / "work").mkdir()
    found = Runners(home / "work", jobs_per_runner=100, memory_mb=2000)
    yield found
    found.stop()


@pytest.fixture
def slot(db: Database, runners: Runners) -> Iterator[Supervisor]:
    """A worker's only slot."""
    own = dataclasses.replace(settings.load(), job_memory_mb=4000)
    found = Supervisor(db, own, runners, "w", "default", 1)
    found.models, found.datasets = {"trickster": "trickster 1"}, ["digits"]
    yield found
    found.end()


def test_the_next_job_runs_while_the_last_one_is_stored(
    db: Database, slot: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = jobs.add(db, [trick(), trick()])[0]
    put = artifacts.put

    def slow(*args: Any) -> str:
        until(lambda: jobs.get(db, second).started_at)
        return put(*args)

    monkeypatch.setattr(artifacts, "put", slow)
    slot.work_on()
    found = [jobs.get(db, each) for each in (first, second)]
    assert [job.status for job in found] == ["succeeded", "succeeded"], found[0].error
    assert (found[1].started_at or 0) < (found[0].finished_at or 0)
    assert slot.busy == 0


def test_a_slot_takes_the_job_that_its_last_one_sets_free(db: Database, slot: Supervisor) -> None:
    first = jobs.add(db, [trick()])[0][0]
    second = jobs.add(db, [trick()], QueueOptions(after=[first]))[0][0]
    slot.work_on()
    assert jobs.get(db, second).status == "succeeded"


@pytest.mark.parametrize("where", ["run", "end"])
def test_a_fault_of_the_worker_itself_costs_the_slot_one_job(
    db: Database, slot: Supervisor, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    jobs.add(db, [trick(), trick()])
    owner, name = (Watch, "_store") if where == "end" else (Watch, "_have_it_run")
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, lambda *_: 1 / 0)
        slot.work_on()
    assert slot.busy == 0 and jobs.counts(db) == {"running": 2}
    jobs.expire_leases(db, "w")
    jobs.reap(db, backoff=0)
    slot.work_on()
    assert jobs.counts(db) == {"succeeded": 2}


# --- ends together ---


@pytest.fixture
def together(monkeypatch: pytest.MonkeyPatch, slot: Supervisor) -> list[int]:
    """Attempts that end wait until they are three; how many were committed together."""
    found = []
    finish_all = jobs.finish_all

    def counted(db: Database, said: list[AttemptEnd]) -> list[bool]:
        found.append(len(said))
        return finish_all(db, said)

    three = lambda _: until(lambda: len(slot._ends._waiting) == 3)  # noqa: E731
    monkeypatch.setattr(finalizer, "time", SimpleNamespace(sleep=three, monotonic=lambda: 0.0))
    monkeypatch.setattr(jobs, "finish_all", counted)
    # However slow this machine is just now.
    monkeypatch.setattr(Watch, "is_brief", True)
    return found


def test_jobs_of_a_moment_are_stored_and_committed_together(
    db: Database, slot: Supervisor, together: list[int]
) -> None:
    refs = jobs.add(db, [trick() for _ in range(3)])[0]
    slot.work_on()
    assert jobs.counts(db) == {"succeeded": 3} and together == [3]
    for job in (jobs.get(db, ref) for ref in refs):
        files = artifacts.files(slot.settings.artifacts, str(job.artifact), job.artifact_sha256)
        assert "metrics.json" in files
    assert not list((slot.settings.home / "work").iterdir()) and slot.busy == 0


def test_who_is_alone_waits_for_nobody(
    db: Database, slot: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Watch, "is_brief", True)
    naps: list[float] = []
    monkeypatch.setattr(
        finalizer, "time", SimpleNamespace(sleep=naps.append, monotonic=lambda: 0.0)
    )
    for _ in range(2):
        jobs.add(db, [trick()])
        slot.work_on()
    assert jobs.counts(db) == {"succeeded": 2}
    assert naps == [0.0, finalizer.GATHER_SECONDS]  # the second came in the same moment


@pytest.mark.parametrize("fails", ["put", "flush"])
def test_one_that_cannot_be_stored_does_not_stand_in_the_way_of_the_others(
    db: Database,
    slot: Supervisor,
    together: list[int],
    monkeypatch: pytest.MonkeyPatch,
    fails: str,
) -> None:
    refs = jobs.add(db, [trick() for _ in range(3)])[0]
    once, failed = getattr(artifacts, fails), list[bool]()

    def full(first: Any, *args: Any) -> Any:
        paths = first if fails == "flush" else [str(first)]
        if any(refs[1] in path for path in paths) and not failed:
            failed.append(True)  # asked once more, a disk may say that all is well
            raise ArtifactError("The disk is full.")
        return once(first, *args)

    with monkeypatch.context() as patch:
        patch.setattr(artifacts, fails, full)
        slot.work_on()
    assert jobs.counts(db) == {"succeeded": 2, "queued": 1}
    assert together == [2]
    (tried,) = jobs.attempts(db, refs[1])
    assert (tried["outcome"], tried["error_code"]) == ("queued", "artifact")


def test_one_that_another_worker_has_taken_over_is_not_among_those_committed(
    db: Database, slot: Supervisor, together: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    refs = jobs.add(db, [trick() for _ in range(3)])[0]
    finish_all = jobs.finish_all

    def late(db: Database, said: list[AttemptEnd]) -> list[bool]:
        with db.write() as rows:
            rows.run("UPDATE job SET lease_until = 0 WHERE id = :id", {"id": refs[1]})
        assert jobs.reap(db, backoff=0) == [(refs[1], "queued")]
        known = {"models": slot.models, "datasets": slot.datasets}
        assert jobs.claim(db, pool="default", worker="other", lease=60, **known)
        return finish_all(db, said)

    monkeypatch.setattr(jobs, "finish_all", late)
    slot.work_on()
    found = [jobs.get(db, ref) for ref in refs]
    assert [job.status for job in found] == ["succeeded", "running", "succeeded"]
    assert (found[1].worker, found[1].attempt) == ("other", 2)
    # What it had stored is gone, what the others have is there.
    stored = [slot.settings.home / "artifacts" / ref / "1" for ref in refs]
    assert [folder.exists() for folder in stored] == [True, False, True]


@pytest.mark.parametrize("error", [StoreError("The connection is lost."), RowRefused("no")])
def test_what_cannot_be_committed_together_is_committed_one_by_one(
    db: Database,
    slot: Supervisor,
    together: list[int],
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
) -> None:
    jobs.add(db, [trick() for _ in range(3)])
    finish_all = jobs.finish_all

    def refused(db: Database, said: list[AttemptEnd]) -> list[bool]:
        if isinstance(error, StoreError):  # it is committed, but nobody hears of it
            finish_all(db, said)
        raise error

    monkeypatch.setattr(jobs, "finish_all", refused)
    slot.work_on()
    assert jobs.counts(db) == {"succeeded": 3}
    # Also of those that were found to be done already, what was stored is kept.
    for job in jobs.listing(db):
        files = artifacts.files(slot.settings.artifacts, str(job.artifact), job.artifact_sha256)
        assert "metrics.json" in files


# --- the process that stores ---


@pytest.fixture
def beside(slot: Supervisor) -> Storer:
    """The process that stores, once it is there."""
    until(slot.storer._ready)
    return slot.storer


def stored(slot: Supervisor, job: Job) -> dict[str, Any]:
    return artifacts.files(slot.settings.artifacts, str(job.artifact), job.artifact_sha256)


def test_what_jobs_of_a_moment_leave_is_stored_by_a_process_of_its_own(
    db: Database,
    slot: Supervisor,
    together: list[int],
    beside: Storer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("put", "flush"):
        monkeypatch.setattr(artifacts, name, lambda first, *_: 1 / 0 if first else None)
    jobs.add(db, [trick(lines=2) for _ in range(3)])
    slot.work_on()
    assert jobs.counts(db) == {"succeeded": 3} and together == [3]
    for job in jobs.listing(db):
        assert {"metrics.json", "log.txt", "predictions.npz"} <= stored(slot, job).keys()
    assert not list((slot.settings.home / "work").iterdir())


def test_one_that_it_cannot_store_goes_back_into_the_queue_by_itself(
    db: Database, slot: Supervisor, together: list[int], beside: Storer
) -> None:
    refs = jobs.add(db, [trick() for _ in range(3)])[0]
    place = slot.settings.home / "artifacts"
    place.mkdir()
    (place / refs[1]).write_text("in the way")
    slot.work_on()
    assert jobs.counts(db) == {"succeeded": 2, "queued": 1} and together == [2]
    (tried,) = jobs.attempts(db, refs[1])
    assert (tried["outcome"], tried["error_code"]) == ("queued", "artifact")


def test_what_it_could_not_store_the_worker_stores_once_it_can(
    db: Database,
    slot: Supervisor,
    together: list[int],
    beside: Storer,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    refs = jobs.add(db, [trick() for _ in range(3)])[0]
    (slot.settings.home / "artifacts").mkdir()
    in_the_way = slot.settings.home / "artifacts" / refs[1]
    in_the_way.touch()
    ask = beside._ask

    def asked(process: Runner, orders: list[dict[str, Any]]) -> list[dict[str, Any]]:
        told = ask(process, orders)
        in_the_way.unlink()
        return told

    monkeypatch.setattr(beside, "_ask", asked)
    slot.work_on()
    assert jobs.counts(db) == {"succeeded": 3} and together == [3]
    for job in jobs.listing(db):
        into = tmp_path / job.id
        artifacts.get(slot.settings.artifacts, str(job.artifact), str(job.artifact_sha256), into)
        assert "predictions.npz" in {each.name for each in into.iterdir()}


def test_a_fault_that_it_tells_of_is_what_the_attempt_says(
    db: Database,
    slot: Supervisor,
    together: list[int],
    beside: Storer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ask = beside._ask

    def full(process: Runner, orders: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [{"fault": "The disk is full."} for _ in ask(process, orders)]

    monkeypatch.setattr(beside, "_ask", full)
    refs = jobs.add(db, [trick() for _ in range(3)])[0]
    slot.work_on()
    assert jobs.counts(db) == {"queued": 3} and not together
    assert {jobs.attempts(db, ref)[0]["error"] for ref in refs} == {"The disk is full."}


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGSTOP])
def test_a_worker_whose_process_that_stores_is_lost_does_without(
    db: Database, slot: Supervisor, together: list[int], beside: Storer, sign: int
) -> None:
    beside._patience, process = 0.2, beside._ready()
    assert process is not None
    os.kill(process.pid, sign)
    jobs.add(db, [trick() for _ in range(3)])
    slot.work_on()
    assert jobs.counts(db) == {"succeeded": 3} and together == [3]
    assert all(stored(slot, job) for job in jobs.listing(db))
    assert beside._ready() is None and not process.is_alive()


def test_a_job_of_which_nobody_can_tell_whether_it_was_stored_is_tried_again(
    db: Database,
    slot: Supervisor,
    together: list[int],
    beside: Storer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ask = beside._ask

    def lost(process: Runner, orders: list[dict[str, Any]]) -> list[dict[str, Any]]:
        assert all(each["sha256"] for each in ask(process, orders))
        raise OSError("the answer is lost")

    refs = jobs.add(db, [trick() for _ in range(3)])[0]
    with monkeypatch.context() as patch:
        patch.setattr(beside, "_ask", lost)
        slot.work_on()
    assert jobs.counts(db) == {"queued": 3} and not together
    with db.write() as rows:
        rows.run("UPDATE job SET not_before = 0")
    slot.work_on()
    assert jobs.counts(db) == {"succeeded": 3}
    for ref in refs:
        assert [each["error_code"] for each in jobs.attempts(db, ref)] == ["artifact", None]
        folder = slot.settings.home / "artifacts" / ref
        assert [each.name for each in folder.iterdir()] == ["2"]


def test_what_is_stored_together_answers_each_for_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flush = artifacts.flush

    def full(paths: list[str]) -> None:
        if any("/b/1" in path for path in paths):
            raise ArtifactError("The disk is full.")
        flush(paths)

    monkeypatch.setattr(artifacts, "flush", full)
    orders = []
    for name in "abc":
        if name != "a":
            (tmp_path / name).mkdir()
        folder = str(tmp_path / name)
        orders.append({"folder": folder, "where": f"{name}/1", "facts": {}, "texts": {"x": "1"}})
    url = str(tmp_path / "artifacts")
    a, b, c = runner_main.ANSWERS["store"]({"url": url, "artifacts": orders})["told"]
    assert a == {} and b == {"fault": "The disk is full."}
    assert artifacts.files(url, "c/1", c["sha256"]).keys() == {"x"}


def test_it_ends_with_its_worker(slot: Supervisor, beside: Storer) -> None:
    process = beside._ready()
    assert process is not None and process.is_alive()
    slot.end()
    assert not process.is_alive() and beside._ready() is None


# --- runners ---


@pytest.mark.parametrize(("memory_mb", "kept"), [(1.0, False), (4000.0, True)])
def test_a_runner_that_holds_too_much_is_replaced_and_looked_at_now_and_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, memory_mb: float, kept: bool
) -> None:
    clock = SimpleNamespace(now=100.0, monotonic=lambda: clock.now)
    monkeypatch.setattr(runners_room, "time", clock)
    found = Runners(tmp_path, jobs_per_runner=100, memory_mb=4000.0)

    def pid_of_the_next() -> int:
        with found.borrow("a") as runner:
            runner.order({"do": "catalogue"})
            until(lambda: runner.answer(1.0))
            return int(runner.pid)

    try:
        first = pid_of_the_next()
        found._memory_mb = memory_mb
        assert pid_of_the_next() == first  # it was looked at in the same moment
        clock.now += 1.0
        assert pid_of_the_next() == first  # and now again, after its job
        assert (pid_of_the_next() == first) is kept
    finally:
        found.stop()


# --- the desk ---


def tell(desk: Desk, *facts: dict[str, Any], end: str = "\n") -> None:
    text = "\n".join(json.dumps(fact) for fact in facts) + end
    os.write(desk.progress.number, text.encode())


WRITE_THERE = """
import os, sys
log, progress = map(int, sys.argv[1:])
os.write(log, b"from there\\n")
os.write(progress, b'{"phase": "fit", "at": 1.5}\\n')
os.kill(os.getpid(), 9)
"""


def test_what_a_process_wrote_before_it_was_killed_is_read(tmp_path: Path) -> None:
    desk, mine = Desk(tmp_path), Attempt(tmp_path / "job-1", 8)
    with mine.at(desk):
        handed = (desk.log.number, desk.progress.number)
        command = [sys.executable, "-c", WRITE_THERE, *map(str, handed)]
        assert subprocess.run(command, pass_fds=handed, timeout=60).returncode == -9
    news = mine.news()
    assert news.lines == ((0, "from there\n"),) and news.fit_started_at == 1.5
    assert not list(tmp_path.iterdir())  # the two files have no name that somebody must remove


def test_a_job_finds_log_and_progress_of_the_last_one_gone(tmp_path: Path) -> None:
    desk, before, mine = Desk(tmp_path), Attempt(tmp_path / "a-1", 8), Attempt(tmp_path / "b-1", 8)
    with before.at(desk):
        os.write(desk.log.number, b"old words, and more of them\n")
        tell(desk, {"phase": "fit", "at": 1}, {"file": "metrics.json", "text": "{}"})
    with mine.at(desk):
        assert not mine.news()
        os.write(desk.log.number, b"new\n")
        tell(desk, {"phase": "save", "at": 2})
    assert mine.news().lines == ((0, "new\n"),) and not mine.texts
    assert before.news().progress == {"phase": "fit", "since": 1}
    assert before.texts == {"metrics.json": "{}"}


def test_a_line_is_heard_once_it_is_whole(tmp_path: Path) -> None:
    desk, mine = Desk(tmp_path), Attempt(tmp_path / "job-1", 8)
    step = {"step": 1, "total": 2, "unit": "epoch", "metrics": {"loss": 0.5}}
    with mine.at(desk):
        tell(desk, step, end="")
        assert not mine.news()
        os.write(desk.progress.number, b"\n")
        assert mine.news().steps == ((1, {"loss": 0.5}),)


def test_small_files_go_by_way_of_the_progress_and_large_ones_do_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner_main, "MAX_TEXT", 600)
    desk, mine = Desk(tmp_path), Attempt(tmp_path / "job-1", 8)
    mine.make()
    spec = JobSpec(kind="train", model="logistic", params={}, dataset="digits")
    with mine.at(desk):
        order = {"files": str(mine.files), "source": "", "spec": spec.model_dump()}
        answer = runner_main._run(order, desk.log.number, desk.progress.number)
    assert answer["status"] == "succeeded"
    assert json.loads((mine.files / "metrics.json").read_text()) == answer["metrics"]
    assert json.loads(mine.texts["history.json"])[0]["step"] == 1
    assert "metrics.json" not in mine.texts and not (mine.files / "history.json").exists()
