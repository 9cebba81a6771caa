"""The GPUs of a machine, and what jobs for one ask of a submission."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from helpers.fake_gpus import write_pynvml
from typer.testing import CliRunner
from zoo_workers import runner_main

from zoo.jobs import QueueOptions
from zoo.jobs.worker_records import Gpu, Worker
from zoo.queue import gpus, submit
from zoo.queue.options import TrainingOptions
from zoo.settings import Settings

H200 = "NVIDIA H200"
TWO = [Gpu(0, H200, 141 * 1024, "GPU-0abc"), Gpu(1, H200, 141 * 1024, "GPU-1abc")]


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that gives this machine GPUs of these names."""

    def install(names: list[str] | None) -> None:
        monkeypatch.delitem(sys.modules, "pynvml", raising=False)
        monkeypatch.syspath_prepend(write_pynvml(tmp_path / "driver", names))

    monkeypatch.delenv(gpus.VISIBLE, raising=False)
    yield install
    sys.modules.pop("pynvml", None)


def test_the_drivers_gpus_are_listed_and_none_without_a_driver(driver: Any) -> None:
    driver([H200, H200])
    assert gpus.list_gpus() == TWO
    driver(None)
    assert gpus.list_gpus() == []


@pytest.mark.parametrize(
    ("visible", "expected"),
    [
        ({}, TWO),
        ({gpus.VISIBLE: ""}, []),
        ({gpus.VISIBLE: "1"}, TWO[1:]),
        ({gpus.VISIBLE: "GPU-1, 0"}, TWO[::-1]),
        ({gpus.VISIBLE: "0,7,1"}, TWO[:1]),
        ({gpus.VISIBLE: "-1"}, []),
    ],
)
def test_a_process_sees_the_gpus_that_its_environment_names(
    driver: Any, visible: dict[str, str], expected: list[Gpu]
) -> None:
    driver([H200, H200])
    assert gpus.list_visible(visible) == expected


def test_a_process_has_one_gpu_with_the_frameworks_growing_into_its_memory_or_none() -> None:
    assert gpus.environment(None, {}) == {"CUDA_VISIBLE_DEVICES": ""}
    own = {"TF_FORCE_GPU_ALLOW_GROWTH": "false"}
    assert gpus.environment(TWO[1], own) == {
        "CUDA_VISIBLE_DEVICES": "1",
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
        "ZOO_RUNNER_GPU": H200,
        "TF_FORCE_GPU_ALLOW_GROWTH": "false",
        "PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True",
    }


def test_gpus_of_a_worker_of_another_version_are_read_as_far_as_they_are_known() -> None:
    odd = [TWO[0].to_json(), {"index": 1}, "no", {"index": "x", "name": 1, "memory_mb": 2}]
    assert Gpu.read(odd) == TWO[:1]
    assert Gpu.read({"no": "list"}) == []


@pytest.mark.parametrize(
    ("device", "pool", "expected"),
    [
        (None, None, "default"),
        ("gpu", None, "gpu"),
        ("gpu", "mine", "mine"),
        (None, "gpu", "gpu"),
    ],
)
def test_a_job_for_a_gpu_goes_to_its_pool_unless_another_is_named(
    device: str | None, pool: str | None, expected: str
) -> None:
    assert QueueOptions(pool=pool).pool_of(device) == expected


@pytest.mark.parametrize(
    ("asked", "of_model", "expected"),
    [
        (None, "cpu", None),
        (None, "gpu", "gpu"),
        ("cpu", "gpu", None),
        ("gpu", "cpu", "gpu"),
    ],
)
def test_the_device_is_that_of_the_model_unless_another_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, asked: str | None, of_model: str, expected: str | None
) -> None:
    from zoo.plugins import registry

    monkeypatch.setattr(registry.model("logistic"), "device", of_model)
    (spec,) = submit.training("logistic", {}, TrainingOptions(dataset="digits", device=asked))
    assert spec.device == expected


def test_a_worker_without_a_gpu_runs_no_job_for_one(monkeypatch: pytest.MonkeyPatch) -> None:
    from zoo.plugins import registry

    (card,) = [each for each in registry.cards() if each.name == "logistic"]
    facts = {"id": "w", "name": "w", "host": "h", "pid": 1, "pool": "gpu", "slots": 3, "busy": 0}
    times = {"state": "online", "version": "1", "started_at": 0.0, "beat_at": 0.0}
    plain = Worker(**facts, **times, models=[card])  # type: ignore[arg-type]
    with_gpu = Worker(**facts, **times, models=[card], gpus=TWO)  # type: ignore[arg-type]
    assert plain.can_run("gpu", "logistic") and not plain.can_run("gpu", "logistic", device="gpu")
    assert with_gpu.can_run("gpu", "logistic", device="gpu")
    assert (with_gpu.slots_for("gpu"), with_gpu.slots_for(None)) == (2, 3)
    assert with_gpu.to_json()["gpus"] == [each.to_json() for each in TWO]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--gpus", "0,2"], "This machine has no GPU '2'."),
        (["--gpus", "0,0"], "The GPU 0 is named twice."),
        (["--gpus", "auto", "--slots", "1"], "2 GPUs need as many slots, and the worker has 1."),
        (["--gpus", "nvidia"], "This machine has no GPU 'nvidia'."),
    ],
)
def test_a_worker_refuses_gpus_that_its_slots_cannot_own(
    driver: Any, words: list[str], sentence: str
) -> None:
    from zoo_workers import commands

    app = typer.Typer()
    commands.register_commands(app)
    driver([H200, H200])
    refused = CliRunner().invoke(app, ["worker", "start", *words]).exception
    assert str(refused).startswith(sentence)
    driver(None)
    without = CliRunner().invoke(app, ["worker", "start", "--gpus", "auto"]).exception
    assert "no GPU" in str(without)


def an_error(module: str, name: str, text: str) -> Exception:
    """An error as a framework raises it, which is not imported here."""
    base = type("Base", (RuntimeError,), {"__module__": module})
    made: Exception = type(name, (base,), {"__module__": module})(text)
    return made


TENSORFLOW = "tensorflow.python.framework.errors_impl"
ON_CPU = "DefaultCPUAllocator: can't allocate memory: you tried to allocate 4 bytes."


@pytest.mark.parametrize(
    ("error", "on_gpu", "on_processor"),
    [
        (an_error("torch", "OutOfMemoryError", "CUDA out of memory."), "out_of_gpu_memory", None),
        (
            an_error(TENSORFLOW, "ResourceExhaustedError", "OOM on /device:GPU:0 by GPU_0_bfc"),
            "out_of_gpu_memory",
            None,
        ),
        (
            an_error(TENSORFLOW, "ResourceExhaustedError", "failed to allocate memory"),
            "out_of_gpu_memory",
            "out_of_memory",
        ),
        (
            an_error(TENSORFLOW, "ResourceExhaustedError", "OOM on /device:CPU:0 by cpu"),
            "out_of_memory",
            "out_of_memory",
        ),
        (RuntimeError("CUDA error: out of memory"), "out_of_gpu_memory", None),
        (RuntimeError(ON_CPU), "out_of_memory", "out_of_memory"),
        (an_error("other", "OutOfMemoryError", "of its own"), "exception", "exception"),
        (MemoryError(), "out_of_memory", "out_of_memory"),
    ],
)
def test_too_little_memory_of_a_gpu_is_an_error_of_its_own_and_not_the_machines_fault(
    monkeypatch: pytest.MonkeyPatch, error: Exception, on_gpu: str, on_processor: str | None
) -> None:
    for name, code in ((H200, on_gpu), ("", on_processor)):
        monkeypatch.setenv("ZOO_RUNNER_GPU", name)
        reply = runner_main.failure(error, "files")
        assert code is None or (reply["error_code"], reply["fault"]) == (code, None)


def test_the_doctor_lists_the_gpus(driver: Any) -> None:
    from zoo.queue import doctor

    driver([H200, H200])
    (found,) = doctor.PARTS["gpus"](Settings(), "gpus")
    assert found.detail == f"0: {H200}, 141 GB; 1: {H200}, 141 GB"
    driver(None)
    (found,) = doctor.PARTS["gpus"](Settings(), "gpus")
    assert found.ok and found.detail.startswith("none")
