"""Jobs for a GPU in rows and slots: who claims them, and which process has which GPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psutil
import pytest
from helpers.command_line import until
from zoo_workers.runner_pool import Runner, RunnerPool

from zoo import jobs
from zoo.job_spec import JobSpec
from zoo.jobs import Database, QueueOptions
from zoo.jobs.worker_records import Gpu

FIRST, SECOND = (Gpu(n, "NVIDIA H200", 144_384) for n in range(2))


def a_spec(**given: Any) -> JobSpec:
    return JobSpec(kind="train", model="m", params={}, dataset="digits", **given)


def claim(db: Database, pool: str, *, has_gpu: bool) -> str | None:
    known: dict[str, Any] = {"models": {"m": "p 1"}, "datasets": ["digits"], "lease": 60}
    found = jobs.claim(db, pool=pool, worker="w", has_gpu=has_gpu, **known)
    return found[1].id if found else None


def test_only_a_slot_with_a_free_gpu_claims_a_job_for_one(db: Database) -> None:
    ((for_gpu,), _), ((plain,), _) = (
        jobs.add(db, [a_spec(device=device)], QueueOptions(pool="mine")) for device in ("gpu", None)
    )
    assert [each.device for each in jobs.get_many(db, [for_gpu, plain])] == ["gpu", None]
    assert {(each.device, each.jobs) for each in jobs.waiting(db)} == {("gpu", 1), (None, 1)}
    assert {each.id for each in jobs.first_waiting(db)} == {for_gpu, plain}
    assert claim(db, "mine", has_gpu=False) == plain
    assert claim(db, "mine", has_gpu=False) is None
    assert claim(db, "mine", has_gpu=True) == for_gpu


def test_jobs_of_one_submission_go_to_the_pools_of_their_devices(db: Database) -> None:
    ids, _ = jobs.add(db, [a_spec(device="gpu"), a_spec()], group_kind="seeds")
    assert [jobs.get(db, each).pool for each in ids] == ["gpu", "default"]
    assert {hint.pool for hint in jobs.take_stale_hints(db, after=-1)} == {"gpu", "default"}
    jobs.cancel(db, ids[0])
    (again,) = jobs.retry(db, [ids[0]])
    assert (jobs.get(db, again).pool, claim(db, "gpu", has_gpu=False)) == ("gpu", None)


def test_the_gpus_of_a_worker_are_in_its_row(db: Database) -> None:
    facts: dict[str, Any] = {"host": "h", "pid": 1, "slots": 2, "version": "1", "models": []}
    jobs.register_worker(db, jobs.NewWorker(id="a", name="a", pool="p", **facts))
    jobs.register_worker(db, jobs.NewWorker(id="b", name="b", pool="p", gpus=[SECOND], **facts))
    found = {each.name: each.gpus for each in jobs.workers(db)}
    assert found == {"a": [], "b": [SECOND]}


@pytest.fixture
def pool(tmp_path: Path) -> Any:
    found = RunnerPool(tmp_path, jobs_per_runner=100, memory_mb=4000.0)
    yield found
    found.stop()


def test_a_gpu_has_one_process_which_runs_one_model(pool: RunnerPool) -> None:
    def borrow(model: str, gpu: Gpu | None) -> Runner:
        with pool.borrow(model, gpu) as runner:
            return runner

    def visible(runner: Runner) -> str:
        # A process that has just been started may not have its variables yet.
        process, name = psutil.Process(runner.pid), "CUDA_VISIBLE_DEVICES"
        until(lambda: name in process.environ(), 10)
        return process.environ()[name]

    warm = borrow("a", FIRST)
    with pool.borrow("a", SECOND) as beside:
        assert (visible(warm), visible(beside)) == ("0", "1")
    assert borrow("a", FIRST) is warm
    other = borrow("b", FIRST)
    # A framework keeps the memory that it has taken: the first process is gone.
    assert other is not warm and not warm.is_alive() and beside.is_alive()
    plain = borrow("b", None)
    assert plain not in (other, beside) and visible(plain) == ""
    assert borrow("c", None) is plain
