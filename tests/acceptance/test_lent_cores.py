"""Cores of idle slots that a real worker lends."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.command_line import Zoo, share, until
from helpers.processes import runners

from zoo import cores, jobs, settings
from zoo.cores import Cores
from zoo.job_spec import JobSpec
from zoo.queue import submit


def to_borrow(ours: Cores) -> int:
    """How many cores there are to borrow just now."""
    borrowed = list(iter(ours.borrow, None))
    for core in borrowed:
        ours.give_back(core)
    return len(borrowed)


@pytest.mark.skipif(settings.cores() < 2, reason="one core cannot be lent")
def test_a_real_worker_lends_the_cores_of_idle_slots(zoo: Zoo, cache: Path) -> None:
    share(cache, zoo.home)
    zoo.env |= {"ZOO_SLOTS": "2", "OMP_NUM_THREADS": "1", "ZOO_PLUGINS": "trickster,sklearn"}
    zoo.env |= {"ZOO_PLUGINS_DIR": str(Path(__file__).parents[1] / "plugins")}
    zoo.run("up")
    (worker,) = jobs.workers(zoo.database())
    told = [runner.environ().get(cores.VARIABLE) for runner in runners(worker.pid)]
    seen = Cores(Path(next(filter(None, told))))
    assert to_borrow(seen) == 2
    busy = JobSpec(kind="train", model="trickster", params={"seconds": 600}, dataset="digits")
    (job,) = submit.submit(zoo.database(), zoo.settings, [busy]).ids
    until(lambda: to_borrow(seen) == 1)
    jobs.cancel(zoo.database(), job)
    until(lambda: to_borrow(seen) == 2)
