"""A training that was interrupted goes on from its checkpoint and ends with the same bits."""

from __future__ import annotations

import dataclasses
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
from helpers import processes, servers
from helpers.command_line import share, until
from zoo_workers.runner_pool import RunnerPool
from zoo_workers.slots import Supervisor

from zoo import jobs, settings
from zoo.job_spec import JobSpec
from zoo.jobs import Database, Job
from zoo.settings import Settings
from zoo.storage import artifacts

TESTS = Path(__file__).parents[1]
STEPS, AT = 12, 6
"""Of a training, and the one at which it waits until a file exists."""


@pytest.fixture(scope="module")
def home(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home for all tests of this file, as their processes are."""
    found = share(cache, tmp_path_factory.mktemp("resume") / "home")
    (found / "work").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ZOO_HOME", str(found))
        patch.setenv("ZOO_PLUGINS_DIR", str(TESTS / "plugins"))
        patch.setenv("ZOO_PLUGINS", "counter,sklearn")
        yield found


@pytest.fixture(scope="module")
def runners(home: Path) -> Iterator[RunnerPool]:
    found = RunnerPool(home / "work", jobs_per_runner=1000, memory_mb=2000)
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
def chosen(request: pytest.FixtureRequest, home: Path) -> Settings:
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
    assert job.checkpoint is None and checkpoints(slot.settings, ref) == []
