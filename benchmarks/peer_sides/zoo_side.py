"""Zoo: a worker of two slots, SQLite, artifacts in the home; two workers for the kill."""

from __future__ import annotations

import contextlib
import json
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks import queue
from benchmarks.peer_sides import kills, work
from benchmarks.terminal import HERE

NAP = f"""
import os, time
from pathlib import Path
import zoo

class Nap(zoo.Model):
    \"\"\"Sleep, and mark beginning and end.\"\"\"
    name = "nap"
    class Params(zoo.Params):
        number: int = zoo.param(0, ge=0, help="which job it is")
    def fit(self, x, y, report):
        self.mark("begin")
        time.sleep({work.NAP})
        self.mark("end")
    def mark(self, what):
        with Path({str(work.FOLDER / "marks")!r}).open("a") as file:
            file.write(f"{{what}} {{self.params.number}} {{os.getpid()}}\\n")
    def predict_proba(self, x):
        import numpy as np
        return np.full((len(x), self.n_classes), 1 / self.n_classes)
    def save(self, folder):
        (folder / "nothing.json").write_text("{{}}")
    def load(self, folder):
        pass

@zoo.hookimpl
def register_models(register):
    register(Nap)
"""
"""A plugin whose jobs do what `work.nap` does."""


def twenty() -> Any:
    with queue.site("sqlite") as here, here.worker():
        _train(here, [work.SEEDS[0]] * 2 * work.PROCESSES)
        return work.timed(lambda: _train(here, list(work.SEEDS)))


def _train(here: queue.Site, seeds: list[int]) -> list[float]:
    from zoo import jobs
    from zoo.job_spec import JobSpec
    from zoo.queue import submit

    what: dict[str, Any] = {"kind": "train", "model": "mlp", "dataset": "digits"}
    params = {"max_iter": work.EPOCHS}
    specs = [JobSpec(**what, params=params, seed=seed) for seed in seeds]
    ids = submit.submit(here.db, here.settings, specs).ids
    here.finish()
    found: list[Any] = [jobs.get(here.db, each) for each in ids]
    return [float(each.metrics["accuracy"]) for each in found]


def sweep() -> Any:
    with queue.site("sqlite") as here, here.worker():
        _train(here, [work.SEEDS[0]] * 2 * work.PROCESSES)
        return work.timed(lambda: _sweep(here))


def _sweep(here: queue.Site) -> list[float]:
    rates = ",".join(map(str, work.RATES))
    words = ["sweep", "mlp", "--dataset", "digits", "--seed", "42", "--json"]
    params = ["-p", f"learning_rate={rates}", "-p", f"max_iter={work.EPOCHS}"]
    done = subprocess.run(
        [HERE / "zoo", *words, *params], env=here.env, capture_output=True, check=True
    )
    jobs = json.loads(done.stdout)["jobs"]
    found = {job["params"].get("learning_rate", 0.001): job["metrics"]["accuracy"] for job in jobs}
    return [found[rate] for rate in work.RATES]


@contextlib.contextmanager
def _napping() -> Iterator[queue.Site]:
    with tempfile.TemporaryDirectory(prefix="zoo-b-", dir="/tmp") as home:
        here = queue.Site(Path(home), work.BROKER, "")
        (here.log.parent / "plugins" / "nap.py").write_text(NAP)
        here.env["ZOO_PLUGINS"] = "noop,sklearn,nap"
        if work.CAREFUL:
            here.env |= {"ZOO_LEASE_SECONDS": "10", "ZOO_BEAT_SECONDS": "1"}
            here.env |= {"ZOO_REAP_SECONDS": "1"}
        yield here
        here.db.close()


def kill() -> Any:
    from zoo import jobs
    from zoo.job_spec import JobSpec
    from zoo.queue import submit

    words = {"succeeded": "done", "queued": "stuck", "running": "stuck"}
    with _napping() as here, contextlib.ExitStack() as workers:
        ids: list[str] = []

        def send() -> None:
            what: dict[str, Any] = {"kind": "train", "model": "nap", "dataset": "digits"}
            specs = [JobSpec(**what, params={"number": n}) for n in range(kills.JOBS)]
            ids.extend(submit.submit(here.db, here.settings, specs).ids)

        def state(number: int) -> str:
            job: Any = jobs.get(here.db, ids[number])
            return words.get(job.status, "failed")

        return kills.kill_one(send, state, lambda: workers.enter_context(here.worker(slots=1)))


TESTS = {
    "noop": lambda: queue.rate("sqlite"),
    "start": lambda: queue.starts(0.5),
    "twenty": twenty,
    "sweep": sweep,
    "kill": kill,
}

if __name__ == "__main__":
    work.main(TESTS)
