"""A training that was interrupted goes on from its checkpoint and ends with the same bits."""

from __future__ import annotations

import dataclasses
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import fsspec
import pytest
from helpers import processes, servers
from helpers.command_line import Zoo, share, until
from zoo_workers import execution
from zoo_workers.runner_pool import RunnerPool
from zoo_workers.slots import Supervisor

import zoo as notebook
from zoo import jobs, settings
from zoo.errors import UsageError
from zoo.job_spec import JobSpec
from zoo.jobs import Database, Job, Outcome
from zoo.settings import Settings
from zoo.storage import artifacts

TESTS = Path(__file__).parents[1]
STEPS, AT = 12, 6
"""Of a training, and the one at which it waits until a file exists."""


@pytest.fixture(scope="module")
def shared_home(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home for all tests of this file, as their processes are."""
    found = share(cache, tmp_path_factory.mktemp("resume") / "home")
    (found / "work").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ZOO_HOME", str(found))
        patch.setenv("ZOO_PLUGINS_DIR", str(TESTS / "plugins"))
        patch.setenv("ZOO_PLUGINS", "counter,sklearn")
        yield found


@pytest.fixture(scope="module")
def runners(shared_home: Path) -> Iterator[RunnerPool]:
    found = RunnerPool(shared_home / "work", jobs_per_runner=1000, memory_mb=2000)
    yield found
    found.stop()


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    port = servers.free_port()
    with (
        servers.s3("127.0.0.1", port, tmp_path_factory.mktemp("s3") / "log"),
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "zoo")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "a-secret-key")
        fsspec.filesystem("s3").clear_instance_cache()
        artifacts.check("s3://models/team")
        yield "s3://models/team"
    fsspec.filesystem("s3").clear_instance_cache()


@pytest.fixture(params=["folder", "s3"])
def chosen(request: pytest.FixtureRequest, shared_home: Path) -> Settings:
    """A worker's settings, with each kind of artifact store; a checkpoint is due at each report."""
    url = request.getfixturevalue("bucket") if request.param == "s3" else ""
    return dataclasses.replace(
        settings.load(), artifacts_url=url, checkpoint_seconds=1e-6, job_memory_mb=4000
    )


@pytest.fixture
def slot(db: Database, runners: RunnerPool, chosen: Settings) -> Iterator[Supervisor]:
    """The supervisor of a worker with one slot."""
    found = supervisor(db, runners, chosen)
    yield found
    found.close()


def supervisor(db: Database, runners: RunnerPool, chosen: Settings) -> Supervisor:
    found = Supervisor(db, chosen, runners, "w", "default", 1)
    found.models, found.datasets = {"counter": "counter 1"}, ["digits"]
    found.finalizer.writer.close()
    return found


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    """A training waits at the step `AT` until this file exists."""
    return tmp_path / "gate"


def training(gate: Path | None = None, **params: Any) -> JobSpec:
    params = {"steps": STEPS, "at": AT, "until": str(gate or "")} | params
    return JobSpec(kind="train", model="counter", params=params, dataset="digits")


@pytest.fixture
def begun(slot: Supervisor) -> Iterator[Callable[[], threading.Thread]]:
    """Starts the slot in a thread, which is waited for."""
    started: list[threading.Thread] = []

    def begin() -> threading.Thread:
        started.append(threading.Thread(target=slot.run_jobs))
        started[-1].start()
        return started[-1]

    yield begin
    for each in started:
        each.join(120)


def saved_at(db: Database, ref: str, step: int) -> Job:
    """The job once its row names a checkpoint of that step."""
    return until(lambda: (j := jobs.get(db, ref)).checkpoint and j.checkpoint["step"] == step and j)


def weights(chosen: Settings, job: Job) -> bytes:
    assert job.status == "succeeded", job.error
    return artifacts.read(
        chosen.artifacts, str(job.artifact), str(job.artifact_sha256), "weights/w.npy"
    )


def undisturbed(db: Database, slot: Supervisor) -> bytes:
    (ref,) = jobs.add(db, [training()])[0]
    slot.run_jobs()
    return weights(slot.settings, jobs.get(db, ref))


def checkpoints(chosen: Settings, ref: str) -> list[str]:
    return artifacts.folders(chosen.artifacts, f"{ref}/checkpoints")


def kill_runners() -> None:
    for each in processes.runners(os.getpid()):
        each.kill()


def test_a_training_whose_runner_is_killed_goes_on_with_the_same_bits(
    db: Database,
    slot: Supervisor,
    gate: Path,
    begun: Callable[[], threading.Thread],
) -> None:
    (ref,) = jobs.add(db, [training(gate)], max_attempts=1)[0]
    thread = begun()
    named = saved_at(db, ref, AT).checkpoint
    kill_runners()
    until(lambda: jobs.get(db, ref).attempt == 2)
    gate.touch()
    thread.join(120)
    job = jobs.get(db, ref)
    assert weights(slot.settings, job) == undisturbed(db, slot)
    first, second = jobs.attempts(db, ref)
    assert (first.outcome, first.error_code, first.counts) == ("queued", "killed", 0)
    assert named and named["attempt"] == 1
    assert second.resumed_from == job.resumed_from == {"attempt": 1, "step": AT, "exact": True}
    assert [each["step"] for each in jobs.steps(db, ref)] == list(range(1, STEPS + 1))
    # A log that is followed says each step once.
    assert [step for _, step, _ in jobs.steps_after(db, ref)] == list(range(1, STEPS + 1))
    assert job.checkpoint is None and checkpoints(slot.settings, ref) == []


cheapest = [
    pytest.mark.parametrize("db", ["sqlite"], indirect=True),
    pytest.mark.parametrize("chosen", ["folder"], indirect=True),
]


def on_one_machine(test: Any) -> Any:
    """Run the test with SQLite and a folder alone."""
    for mark in cheapest:
        test = mark(test)
    return test


def test_a_late_upload_of_a_stale_attempt_changes_nothing(
    db: Database,
    slot: Supervisor,
    runners: RunnerPool,
    gate: Path,
    begun: Callable[[], threading.Thread],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (ref,) = jobs.add(db, [training(gate)])[0]
    stored, goes_on = threading.Event(), threading.Event()
    put = artifacts.put

    def slow(folder: Path, url: str, where: str, *args: Any) -> str:
        is_first = where == f"{ref}/checkpoints/1-1"
        sha256 = put(folder, url, where, *args)
        if is_first:
            stored.set()
            assert goes_on.wait(120)
        return sha256

    monkeypatch.setattr(artifacts, "put", slow)
    stale = begun()
    assert stored.wait(120)
    # Its worker sleeps through the lease, and another one takes the job over and saves its own.
    jobs.expire_leases(db, "w")
    assert jobs.reap(db, backoff=0) == [(ref, "queued")]
    other = supervisor(db, runners, slot.settings)
    thread = threading.Thread(target=other.run_jobs)
    thread.start()
    named = saved_at(db, ref, AT).checkpoint
    assert named and named["attempt"] == 2
    goes_on.set()
    stale.join(120)
    assert jobs.get(db, ref).checkpoint == named
    assert f"{ref}/checkpoints/1-1" not in checkpoints(slot.settings, ref)
    gate.touch()
    thread.join(120)
    other.close()
    assert weights(slot.settings, jobs.get(db, ref)) == undisturbed(db, slot)
    assert checkpoints(slot.settings, ref) == []


@on_one_machine
def test_a_drained_worker_stores_the_newest_checkpoint_first(
    db: Database, slot: Supervisor, gate: Path, begun: Callable[[], threading.Thread]
) -> None:
    (ref,) = jobs.add(db, [training(gate)])[0]
    thread = begun()
    until(lambda: (jobs.get(db, ref).progress.step or 0) == AT)
    slot.drain(0)
    thread.join(120)
    job = jobs.get(db, ref)
    assert job.status == "queued" and job.checkpoint and job.checkpoint["attempt"] == 1
    assert checkpoints(slot.settings, ref) == [job.checkpoint["where"].rpartition("/")[2]]


@on_one_machine
@pytest.mark.parametrize("how", ["timed_out", "cancelled"])
def test_an_ended_training_can_be_continued_by_a_retry(
    db: Database, slot: Supervisor, gate: Path, begun: Callable[[], threading.Thread], how: str
) -> None:
    (ref,) = jobs.add(db, [training(gate).model_copy(update={"timeout": 1000.0})])[0]
    thread = begun()
    saved_at(db, ref, AT)
    with pytest.MonkeyPatch.context() as patch:
        if how == "cancelled":
            jobs.cancel(db, ref)
        else:
            late = SimpleNamespace(monotonic=lambda: time.monotonic() + 1000, sleep=time.sleep)
            patch.setattr(execution, "time", late)
        thread.join(120)
    old = jobs.get(db, ref)
    assert (old.status, old.checkpoint and old.checkpoint["step"]) == (how, AT)
    gate.touch()
    (again,) = jobs.retry(db, [ref], resume=True)
    slot.run_jobs()
    job = jobs.get(db, again)
    assert weights(slot.settings, job) == undisturbed(db, slot)
    assert job.resumed_from == {"attempt": 1, "step": AT, "exact": True, "job": ref}
    assert [each["step"] for each in jobs.steps(db, again)] == list(range(1, STEPS + 1))
    assert checkpoints(slot.settings, ref) == checkpoints(slot.settings, again) == []


@on_one_machine
def test_a_plain_retry_begins_anew(
    db: Database, slot: Supervisor, gate: Path, begun: Callable[[], threading.Thread]
) -> None:
    (ref,) = jobs.add(db, [training(gate)])[0]
    thread = begun()
    saved_at(db, ref, AT)
    jobs.cancel(db, ref)
    thread.join(120)
    gate.touch()
    (again,) = jobs.retry(db, [ref])
    slot.run_jobs()
    job = jobs.get(db, again)
    assert job.resumed_from is None and job.status == "succeeded"
    # That of the old job is kept for those who want to continue it after all.
    assert len(checkpoints(slot.settings, ref)) == 1


@on_one_machine
@pytest.mark.parametrize("fault", ["missing", "damaged"])
def test_without_its_checkpoint_a_training_begins_anew_and_says_so(
    db: Database,
    slot: Supervisor,
    gate: Path,
    begun: Callable[[], threading.Thread],
    fault: str,
) -> None:
    (ref,) = jobs.add(db, [training(gate)], max_attempts=1)[0]
    thread = begun()
    named = saved_at(db, ref, AT).checkpoint
    slot.drain(0)
    thread.join(120)
    assert named
    folder = Path(slot.settings.artifacts) / named["where"]
    if fault == "missing":
        artifacts.remove(slot.settings.artifacts, named["where"])
    else:
        (folder / "model" / "w.npy").write_bytes(b"other bytes")
    gate.touch()
    slot.drain_by = None
    slot.run_jobs()
    job = jobs.get(db, ref)
    assert weights(slot.settings, job) == undisturbed(db, slot)
    assert job.resumed_from is None
    log = "".join(each.text for each in jobs.log_after(db, ref))
    assert "The training begins anew: " in log


@on_one_machine
def test_a_stopped_training_succeeds_with_what_it_has_learned(
    db: Database, slot: Supervisor, gate: Path, begun: Callable[[], threading.Thread]
) -> None:
    (ref,) = jobs.add(db, [training(gate)])[0]
    thread = begun()
    until(lambda: jobs.get(db, ref).progress.step == AT)
    assert jobs.request_stop(db, ref)
    thread.join(120)
    job = jobs.get(db, ref)
    assert job.status == "succeeded" and job.metrics["stopped_early"] is True
    assert [each["step"] for each in jobs.steps(db, ref)] == list(range(1, AT + 1))
    assert checkpoints(slot.settings, ref) == []


@on_one_machine
def test_the_progress_of_a_resumed_training_does_not_fall_to_zero(
    db: Database, slot: Supervisor, gate: Path, begun: Callable[[], threading.Thread]
) -> None:
    (ref,) = jobs.add(db, [training(gate)])[0]
    thread = begun()
    saved_at(db, ref, AT)
    kill_runners()
    seen: list[Any] = []

    def look() -> bool:
        job = jobs.get(db, ref)
        if job.attempt == 2 and job.progress.phase in ("prepare", "fit"):
            seen.append(job.progress)
        return job.attempt == 2 and job.resumed_from is not None

    until(look)
    gate.touch()
    thread.join(120)
    assert seen and not [each for each in seen if each.step != AT]


@on_one_machine
def test_a_short_training_saves_nothing(
    db: Database, slot: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    slot.settings = dataclasses.replace(slot.settings, checkpoint_seconds=30)
    started: list[str] = []
    begin = threading.Thread.start
    monkeypatch.setattr(
        threading.Thread, "start", lambda self: (started.append(self.name), begin(self))[1]
    )
    (ref,) = jobs.add(db, [training()])[0]
    slot.run_jobs()
    assert jobs.get(db, ref).status == "succeeded"
    assert not [name for name in started if name.startswith("checkpoints")]


# --- the rows, and what the commands say of them ---


def with_checkpoint(db: Database, status: str = "failed") -> Job:
    """A job that ended after it had saved a checkpoint."""
    (ref,) = jobs.add(db, [training()])[0]
    models = {"counter": "counter 1"}
    claimed = jobs.claim(
        db, pool="default", models=models, datasets=["digits"], worker="w", lease=600
    )
    assert claimed and claimed[0].job == ref
    where = jobs.checkpoint_path(ref, 1, "3")
    checkpoint = {"where": where, "sha256": "0" * 64, "attempt": 1, "step": 7, "total": STEPS}
    checkpoint |= {"unit": "epoch", "bytes": 10, "at": 1.0, "advanced": True}
    assert jobs.save_checkpoint(db, claimed[0], checkpoint)
    assert jobs.finish(db, claimed[0], Outcome(status, error_code="x", error="x"))
    return jobs.get(db, ref)


def test_a_retry_has_the_checkpoint_of_the_old_job_if_that_is_asked_for(db: Database) -> None:
    for resume in (False, True):
        old = with_checkpoint(db)
        (ref,) = jobs.retry(db, [old.id], resume=resume, exact=resume)
        again = jobs.get(db, ref)
        assert again.checkpoint == (old.checkpoint if resume else None)
        assert again.spec == old.spec | {"exact": resume}
        jobs.cancel(db, ref)


def test_the_checkpoint_of_the_old_job_gives_no_attempt_back(db: Database) -> None:
    old = with_checkpoint(db)
    (ref,) = jobs.retry(db, [old.id], resume=True, max_attempts=1)
    jobs.claim(
        db, pool="default", models={"counter": ""}, datasets=["digits"], worker="w", lease=-1
    )
    assert jobs.reap(db, backoff=0) == [(ref, "lost")]


def test_the_commands_say_from_which_step_a_training_goes_on(here: Database, home: Path) -> None:
    zoo = Zoo(home, ZOO_BROKER_URL=f"redis://127.0.0.1:{servers.free_port()}/0")
    old = with_checkpoint(here)
    assert "checkpoint  epoch 7/12 of attempt 1" in zoo.run("show", old.id).stdout
    done = zoo.run("retry", "--continue", old.id)
    again = done.stdout.strip()
    assert f"{again[:8]} goes on from epoch 7/12." in done.stderr
    found = zoo.json("show", again)
    assert (found["checkpoint"]["step"], found["resumed_from"]) == (7, None)
    (without,) = jobs.add(here, [training()])[0]
    jobs.cancel(here, without)
    refused = zoo.run("retry", "--continue", without, code=2).stderr
    assert f"The job {without[:8]} has no checkpoint to continue from." in refused


def test_a_notebook_goes_on_from_the_checkpoint_if_that_is_asked_for(
    here: Database, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ZOO_BROKER_URL", f"redis://127.0.0.1:{servers.free_port()}/0")
    old = notebook.get_job(with_checkpoint(here).id)
    assert isinstance(old, notebook.JobHandle)
    again = old.retry(resume=True, exact=True)
    assert "queued; broker unreachable" in capsys.readouterr().err
    assert (again.row.checkpoint_step, again.row.spec["exact"]) == ("epoch 7/12", True)
    anew = again.cancel().retry()
    assert anew.row.retry_of == again.id and not anew.row.checkpoint
    with pytest.raises(UsageError, match="has no checkpoint to continue from"):
        anew.cancel().retry(resume=True)
    with pytest.raises(UsageError, match="with `resume` only"):
        anew.retry(exact=True)
    _, group = jobs.add(here, [training(), training()], group_kind="seeds")
    several = notebook.get_job(str(group))
    assert isinstance(several, notebook.GroupHandle)
    before = [job.id for job in several.cancel().jobs]
    assert several.retry() is several and several.status == "queued"
    assert not {*before} & {job.id for job in several.jobs}
