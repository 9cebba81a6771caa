"""The jobs of a slot one after the other, and what passes between a runner and its worker."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from helpers.command_line import share, until
from zoo_workers import finalizer, runner_main, runner_pool
from zoo_workers.execution import Execution
from zoo_workers.finalizer import ArtifactWriter, Finalizer
from zoo_workers.runner_pool import Runner, RunnerOutput, RunnerPool
from zoo_workers.slots import Supervisor
from zoo_workers.workspace import Workspace

from zoo import jobs, settings
from zoo.errors import ArtifactError, StoreError
from zoo.job_spec import JobSpec
from zoo.jobs import AttemptEnd, Claim, Database, Job, QueueOptions, RowRefused
from zoo.storage import artifacts

TESTS = Path(__file__).parents[1]
Change = Callable[[dict[str, Any]], dict[str, Any]]
OnReply = Callable[[Change], None]


def trick(**params: Any) -> JobSpec:
    return JobSpec(kind="train", model="trickster", params=params, dataset="digits")


@pytest.fixture(scope="module")
def at_home(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home for all tests of this file, as their processes are."""
    home = share(cache, tmp_path_factory.mktemp("supervisor") / "home")
    (home / "work").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ZOO_HOME", str(home))
        patch.setenv("ZOO_PLUGINS_DIR", str(TESTS / "plugins"))
        patch.setenv("ZOO_PLUGINS", "trickster,sklearn")
        yield home


@pytest.fixture(scope="module")
def runners(at_home: Path) -> Iterator[RunnerPool]:
    found = RunnerPool(at_home / "work", jobs_per_runner=1000, memory_mb=2000)
    yield found
    found.stop()


@pytest.fixture
def slot(db: Database, runners: RunnerPool) -> Iterator[Supervisor]:
    """The supervisor of a worker with one slot, which stores artifacts itself."""
    own = dataclasses.replace(settings.load(), job_memory_mb=4000)
    found = Supervisor(db, own, runners, "w", "default", 1)
    found.models, found.datasets = {"trickster": "trickster 1"}, ["digits"]
    found.finalizer.writer.close()
    yield found
    found.close()


def test_the_next_job_runs_while_the_last_one_is_stored(
    db: Database, slot: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = jobs.add(db, [trick(), trick()])[0]
    put = artifacts.put

    def slow(*args: Any) -> str:
        until(lambda: jobs.get(db, second).started_at)
        return put(*args)

    monkeypatch.setattr(artifacts, "put", slow)
    slot.run_jobs()
    found = [jobs.get(db, each) for each in (first, second)]
    assert [job.status for job in found] == ["succeeded", "succeeded"], found[0].error
    assert (found[1].started_at or 0) < (found[0].finished_at or 0)
    assert slot.busy == 0


def test_a_slot_takes_the_job_that_its_last_one_sets_free(db: Database, slot: Supervisor) -> None:
    first = jobs.add(db, [trick()])[0][0]
    second = jobs.add(db, [trick()], QueueOptions(after=[first]))[0][0]
    slot.run_jobs()
    assert jobs.get(db, second).status == "succeeded"


@pytest.mark.parametrize("where", ["run", "end"])
def test_a_fault_of_the_worker_itself_costs_the_slot_one_job(
    db: Database, slot: Supervisor, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    jobs.add(db, [trick(), trick()])
    step = "store" if where == "end" else "create"
    with monkeypatch.context() as patch:
        patch.setattr(Workspace, step, lambda _: 1 / 0)
        slot.run_jobs()
    assert slot.busy == 0 and jobs.counts(db) == {"running": 2}
    jobs.expire_leases(db, "w")
    jobs.reap(db, backoff=0)
    slot.run_jobs()
    assert jobs.counts(db) == {"succeeded": 2}


# --- attempts committed together ---


@pytest.fixture
def together(monkeypatch: pytest.MonkeyPatch, slot: Supervisor) -> list[int]:
    """Attempts are committed once three have ended; the numbers of those committed together."""
    found = []
    finish_all, add = jobs.finish_all, Finalizer.add
    added = threading.Semaphore(0)

    def counted(db: Database, ends: list[AttemptEnd]) -> list[bool]:
        found.append(len(ends))
        return finish_all(db, ends)

    def counting(self: Finalizer, execution: Execution) -> Future[None]:
        done = add(self, execution)
        added.release()
        return done

    def wait_for_three(_: float) -> None:
        assert all(added.acquire(timeout=60) for _ in range(3))

    clock = SimpleNamespace(sleep=wait_for_three, monotonic=lambda: 0.0)
    monkeypatch.setattr(finalizer, "time", clock)
    monkeypatch.setattr(Finalizer, "add", counting)
    monkeypatch.setattr(jobs, "finish_all", counted)
    # Also on a slow machine.
    monkeypatch.setattr(Execution, "is_short", True)
    return found


def test_short_jobs_are_stored_and_committed_together(
    db: Database, slot: Supervisor, together: list[int]
) -> None:
    # Its process starts with the first job; until it is ready the worker stores artifacts itself.
    slot.finalizer.writer = ArtifactWriter(slot.settings.artifacts, timeout=60)
    refs = jobs.add(db, [trick() for _ in range(3)])[0]
    slot.run_jobs()
    assert jobs.counts(db) == {"succeeded": 3} and together == [3]
    for job in (jobs.get(db, ref) for ref in refs):
        files = artifacts.files(slot.settings.artifacts, str(job.artifact), job.artifact_sha256)
        assert "metrics.json" in files
    assert not list((slot.settings.home / "work").iterdir()) and slot.busy == 0


def test_a_single_attempt_does_not_wait_for_others(
    db: Database, slot: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Execution, "is_short", True)
    naps: list[float] = []
    monkeypatch.setattr(
        finalizer, "time", SimpleNamespace(sleep=naps.append, monotonic=lambda: 0.0)
    )
    for _ in range(2):
        jobs.add(db, [trick()])
        slot.run_jobs()
    assert jobs.counts(db) == {"succeeded": 2}
    assert naps == [0.0, finalizer.GATHER_SECONDS]  # the second one ended in the same moment


@pytest.mark.parametrize("fails", ["put", "flush"])
def test_an_artifact_that_cannot_be_stored_does_not_block_the_others(
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
            failed.append(True)  # a second fsync may report success
            raise ArtifactError("The disk is full.")
        return once(first, *args)

    with monkeypatch.context() as patch:
        patch.setattr(artifacts, fails, full)
        slot.run_jobs()
    assert jobs.counts(db) == {"succeeded": 2, "queued": 1}
    assert together == [2]
    (tried,) = jobs.attempts(db, refs[1])
    assert (tried.outcome, tried.error_code) == ("queued", "artifact")


def test_a_job_that_another_worker_has_claimed_is_not_committed_with_the_others(
    db: Database, slot: Supervisor, together: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    refs = jobs.add(db, [trick() for _ in range(3)])[0]
    finish_all = jobs.finish_all

    def late(db: Database, ends: list[AttemptEnd]) -> list[bool]:
        with db.write() as rows:
            rows.run("UPDATE job SET lease_until = 0 WHERE id = :id", {"id": refs[1]})
        assert jobs.reap(db, backoff=0) == [(refs[1], "queued")]
        known = {"models": slot.models, "datasets": slot.datasets}
        assert jobs.claim(db, pool="default", worker="other", lease=60, **known)
        return finish_all(db, ends)

    monkeypatch.setattr(jobs, "finish_all", late)
    slot.run_jobs()
    found = [jobs.get(db, ref) for ref in refs]
    assert [job.status for job in found] == ["succeeded", "running", "succeeded"]
    assert (found[1].worker, found[1].attempt) == ("other", 2)
    # Its artifact is deleted, those of the others are kept.
    stored = [slot.settings.home / "artifacts" / ref / "1" for ref in refs]
    assert [folder.exists() for folder in stored] == [True, False, True]


@pytest.mark.parametrize("error", [StoreError("The connection is lost."), RowRefused("no")])
def test_attempts_that_cannot_be_committed_together_are_committed_one_by_one(
    db: Database,
    slot: Supervisor,
    together: list[int],
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
) -> None:
    jobs.add(db, [trick() for _ in range(3)])
    finish_all = jobs.finish_all

    def refused(db: Database, ends: list[AttemptEnd]) -> list[bool]:
        if isinstance(error, StoreError):  # committed, but the reply is lost
            finish_all(db, ends)
        raise error

    monkeypatch.setattr(jobs, "finish_all", refused)
    slot.run_jobs()
    assert jobs.counts(db) == {"succeeded": 3}
    # The artifacts of those that were found to be committed are kept, too.
    for job in jobs.listing(db):
        files = artifacts.files(slot.settings.artifacts, str(job.artifact), job.artifact_sha256)
        assert "metrics.json" in files


# --- the process that writes artifacts ---


@pytest.fixture(scope="module")
def writers(at_home: Path) -> Iterator[list[ArtifactWriter]]:
    """Those that the tests have used; the last one may still be there."""
    found = list[ArtifactWriter]()
    yield found
    for each in found:
        each.close()


@pytest.fixture
def writer(slot: Supervisor, writers: list[ArtifactWriter]) -> Iterator[ArtifactWriter]:
    """The process that writes artifacts, once it is ready."""
    if not writers or writers[-1].ready() is None:
        writers.append(ArtifactWriter(slot.settings.artifacts, slot.settings.lease_seconds / 2))
        until(writers[-1].ready)
    instead, slot.finalizer.writer = slot.finalizer.writer, writers[-1]
    yield writers[-1]
    slot.finalizer.writer = instead  # the next test uses this one again


@pytest.fixture
def on_reply(writer: ArtifactWriter, monkeypatch: pytest.MonkeyPatch) -> OnReply:
    """Passes each reply of the process through a function first."""
    receive = Runner.receive

    def use(change: Change) -> None:
        def changed(self: Runner, timeout: float) -> dict[str, Any] | None:
            reply = receive(self, timeout)
            return change(reply) if reply and "stored" in reply else reply

        monkeypatch.setattr(Runner, "receive", changed)

    return use


def stored(slot: Supervisor, job: Job) -> dict[str, Any]:
    return artifacts.files(slot.settings.artifacts, str(job.artifact), job.artifact_sha256)


def test_artifacts_of_short_jobs_are_stored_by_a_separate_process(
    db: Database,
    slot: Supervisor,
    together: list[int],
    writer: ArtifactWriter,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("put", "flush"):
        monkeypatch.setattr(artifacts, name, lambda first, *_: 1 / 0 if first else None)
    jobs.add(db, [trick(lines=2) for _ in range(3)])
    slot.run_jobs()
    assert jobs.counts(db) == {"succeeded": 3} and together == [3]
    for job in jobs.listing(db):
        assert {"metrics.json", "log.txt", "predictions.npz"} <= stored(slot, job).keys()
    assert not list((slot.settings.home / "work").iterdir())


def test_a_job_whose_artifact_it_cannot_store_is_requeued_by_itself(
    db: Database, slot: Supervisor, together: list[int], writer: ArtifactWriter
) -> None:
    refs = jobs.add(db, [trick() for _ in range(3)])[0]
    place = slot.settings.home / "artifacts"
    place.mkdir(exist_ok=True)
    (place / refs[1]).write_text("in the way")
    slot.run_jobs()
    assert jobs.counts(db) == {"succeeded": 2, "queued": 1} and together == [2]
    (tried,) = jobs.attempts(db, refs[1])
    assert (tried.outcome, tried.error_code) == ("queued", "artifact")


def test_an_artifact_that_it_could_not_store_the_worker_stores_once_that_is_possible(
    db: Database, slot: Supervisor, together: list[int], on_reply: OnReply, tmp_path: Path
) -> None:
    refs = jobs.add(db, [trick() for _ in range(3)])[0]
    (slot.settings.home / "artifacts").mkdir(exist_ok=True)
    in_the_way = slot.settings.home / "artifacts" / refs[1]
    in_the_way.touch()

    def unblock(reply: dict[str, Any]) -> dict[str, Any]:
        in_the_way.unlink()
        return reply

    on_reply(unblock)
    slot.run_jobs()
    assert jobs.counts(db) == {"succeeded": 3} and together == [3]
    for job in jobs.listing(db):
        into = tmp_path / job.id
        artifacts.get(slot.settings.artifacts, str(job.artifact), str(job.artifact_sha256), into)
        assert "predictions.npz" in {each.name for each in into.iterdir()}


def test_an_error_that_it_replies_with_is_the_error_of_the_attempt(
    db: Database, slot: Supervisor, together: list[int], on_reply: OnReply
) -> None:
    on_reply(lambda reply: {"stored": [{"error": "The disk is full."} for _ in reply["stored"]]})
    refs = jobs.add(db, [trick() for _ in range(3)])[0]
    slot.run_jobs()
    assert jobs.counts(db) == {"queued": 3} and not together
    assert {jobs.attempts(db, ref)[0].error for ref in refs} == {"The disk is full."}


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGSTOP])
def test_a_worker_stores_artifacts_itself_if_that_process_is_lost(
    db: Database, slot: Supervisor, together: list[int], writer: ArtifactWriter, sign: int
) -> None:
    writer.timeout, process = 0.2, writer.ready()
    assert process is not None
    os.kill(process.pid, sign)
    jobs.add(db, [trick() for _ in range(3)])
    slot.run_jobs()
    assert jobs.counts(db) == {"succeeded": 3} and together == [3]
    assert all(stored(slot, job) for job in jobs.listing(db))
    assert writer.ready() is None and not process.is_alive()


def test_a_job_is_tried_again_if_nobody_can_tell_whether_it_was_stored(
    db: Database, slot: Supervisor, together: list[int], on_reply: OnReply
) -> None:
    replies = []

    def lose(reply: dict[str, Any]) -> dict[str, Any]:
        replies.append(reply)
        if len(replies) > 1:
            return reply
        assert all(each["sha256"] for each in reply["stored"])
        raise OSError("the reply is lost")

    on_reply(lose)
    refs = jobs.add(db, [trick() for _ in range(3)])[0]
    slot.run_jobs()
    assert jobs.counts(db) == {"queued": 3} and not together
    with db.write() as rows:
        rows.run("UPDATE job SET not_before = 0")
    slot.run_jobs()
    assert jobs.counts(db) == {"succeeded": 3}
    for ref in refs:
        assert [each.error_code for each in jobs.attempts(db, ref)] == ["artifact", None]
        folder = slot.settings.home / "artifacts" / ref
        assert [each.name for each in folder.iterdir()] == ["2"]


def test_artifacts_stored_together_have_an_error_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flush = artifacts.flush

    def full(paths: list[str]) -> None:
        if any("/b/1" in path for path in paths):
            raise ArtifactError("The disk is full.")
        flush(paths)

    monkeypatch.setattr(artifacts, "flush", full)
    requests = []
    for name in "abc":
        if name != "a":
            (tmp_path / name).mkdir()
        folder = str(tmp_path / name)
        requests.append({"folder": folder, "where": f"{name}/1", "facts": {}, "texts": {"x": "1"}})
    url = str(tmp_path / "artifacts")
    a, b, c = runner_main.HANDLERS["store"]({"url": url, "artifacts": requests})["stored"]
    assert a == {} and b == {"error": "The disk is full."}
    assert artifacts.files(url, "c/1", c["sha256"]).keys() == {"x"}


def test_it_ends_with_its_worker(slot: Supervisor, writer: ArtifactWriter) -> None:
    process = writer.ready()
    assert process is not None and process.is_alive()
    slot.close()
    assert not process.is_alive() and writer.ready() is None


# --- runners ---


@pytest.mark.parametrize(("memory_mb", "kept"), [(1.0, False), (4000.0, True)])
def test_a_runner_that_holds_too_much_memory_is_replaced_and_checked_at_intervals(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, memory_mb: float, kept: bool
) -> None:
    clock = SimpleNamespace(now=100.0, monotonic=lambda: clock.now)
    monkeypatch.setattr(runner_pool, "time", clock)
    found = RunnerPool(tmp_path, jobs_per_runner=100, memory_mb=4000.0)

    def pid_of_the_next() -> int:
        with found.borrow("a") as runner:
            runner.send({"action": "catalogue"})
            until(lambda: runner.receive(1.0))
            return int(runner.pid)

    try:
        first = pid_of_the_next()
        found.memory_mb = memory_mb
        assert pid_of_the_next() == first  # it was checked in the same moment
        clock.now += 1.0
        assert pid_of_the_next() == first  # it is checked again, after its job
        assert (pid_of_the_next() == first) is kept
    finally:
        found.stop()


# --- the output of a runner ---


def workspace(home: Path, job: str = "job") -> Workspace:
    return Workspace(
        settings.load({"ZOO_HOME": str(home), "ZOO_LOG_KB": "8"}), Claim(job, 1, "owner")
    )


def report(output: RunnerOutput, *messages: dict[str, Any], end: str = "\n") -> None:
    text = "\n".join(json.dumps(message) for message in messages) + end
    os.write(output.progress.number, text.encode())


WRITE_AND_DIE = """
import os, sys
log, progress = map(int, sys.argv[1:])
os.write(log, b"printed\\n")
os.write(progress, b'{"phase": "fit", "at": 1.5}\\n')
os.kill(os.getpid(), 9)
"""


def test_the_output_of_a_killed_process_is_read(tmp_path: Path) -> None:
    output, mine = RunnerOutput(tmp_path), workspace(tmp_path)
    with mine.reading(output):
        inherited = (output.log.number, output.progress.number)
        command = [sys.executable, "-c", WRITE_AND_DIE, *map(str, inherited)]
        assert subprocess.run(command, pass_fds=inherited, timeout=60).returncode == -9
    update = mine.pending_update()
    assert update.lines == ((0, "printed\n"),) and update.fit_started_at == 1.5
    assert not list(tmp_path.iterdir())  # the two files have no name that must be removed


def test_a_job_does_not_see_log_and_progress_of_the_job_before(tmp_path: Path) -> None:
    output, before, mine = RunnerOutput(tmp_path), workspace(tmp_path, "a"), workspace(tmp_path)
    with before.reading(output):
        os.write(output.log.number, b"old lines, and more of them\n")
        report(output, {"phase": "fit", "at": 1}, {"file": "metrics.json", "text": "{}"})
    with mine.reading(output):
        assert not mine.pending_update()
        os.write(output.log.number, b"new\n")
        report(output, {"phase": "save", "at": 2})
    assert mine.pending_update().lines == ((0, "new\n"),) and not mine.texts
    assert before.pending_update().progress == {"phase": "fit", "since": 1}
    assert before.texts == {"metrics.json": "{}"}


def test_a_line_is_read_once_it_is_complete(tmp_path: Path) -> None:
    output, mine = RunnerOutput(tmp_path), workspace(tmp_path)
    step = {"step": 1, "total": 2, "unit": "epoch", "metrics": {"loss": 0.5}}
    with mine.reading(output):
        report(output, step, end="")
        assert not mine.pending_update()
        os.write(output.progress.number, b"\n")
        assert mine.pending_update().steps == ((1, {"loss": 0.5}),)


def test_small_files_are_sent_with_the_progress_and_large_ones_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner_main, "MAX_TEXT", 600)
    output, mine = RunnerOutput(tmp_path), workspace(tmp_path)
    mine.create()
    spec = JobSpec(kind="train", model="logistic", params={}, dataset="digits")
    with mine.reading(output):
        request = {"files": str(mine.files), "source": "", "spec": spec.model_dump()}
        reply = runner_main.run(request, output.log.number, output.progress.number)
    assert reply["status"] == "succeeded"
    assert json.loads((mine.files / "metrics.json").read_text()) == reply["metrics"]
    steps = json.loads(mine.texts["history.json"])
    assert [each["step"] for each in steps] == [10]  # of the ten classes only the last has metrics
    assert "metrics.json" not in mine.texts and not (mine.files / "history.json").exists()
