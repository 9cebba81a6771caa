"""A worker that dies at a named point of its first job: `python crashing_worker.py POINT`."""

from __future__ import annotations

import itertools
import math
import os
import sys
import time
from collections.abc import Callable
from typing import Any

from zoo_workers import finalizer
from zoo_workers.artifact_writer import Storer
from zoo_workers.execution import Watch
from zoo_workers.runner_pool import Runner

from zoo import jobs
from zoo.cli.main import main
from zoo.jobs import transitions
from zoo.storage import artifacts

EXIT_CODE = 137


def waits_for_the_process_that_stores() -> None:
    """Have it do its work from the first jobs on."""
    ready = Storer._ready

    def patient(self: Storer) -> Any:
        while (found := ready(self)) is None:
            time.sleep(0.01)
        return found

    Storer._ready = patient  # type: ignore[method-assign]


def dies_after(owner: Any, name: str, when: Callable[..., bool]) -> None:
    """Let the function do its work; the process is gone before its caller hears of it."""
    original = getattr(owner, name)

    def wrapper(*args: Any, **kwargs: Any) -> Any:
        result = original(*args, **kwargs)
        if when(result, *args):
            os._exit(EXIT_CODE)
        return result

    setattr(owner, name, wrapper)


POINTS: dict[str, tuple[Any, str, Callable[..., bool]]] = {
    "after_claim": (jobs, "claim", lambda claimed, *_: claimed is not None),
    "after_order": (Runner, "order", lambda _, __, order: order["do"] == "run"),
    "after_fit": (Runner, "answer", lambda answer, *_: bool(answer and "status" in answer)),
    "after_manifest": (artifacts, "put", lambda *_: True),
    "after_flush": (artifacts, "flush", lambda *_: True),
    # The last statement of the transaction is done, its COMMIT is not.
    "before_commit": (transitions, "unblock_dependents", lambda *_: True),
    "after_commit": (jobs, "finish", lambda *_: True),
}
"""The points in the order in which a job passes them."""
FLUSHES = itertools.count(1)
TOGETHER: dict[str, tuple[Any, str, Callable[..., bool]]] = {
    "several_stored": (Watch, "flush", lambda *_: next(FLUSHES) > 1),
    "several_stored_beside": (Storer, "store", lambda *_: True),
    "several_ended": (transitions, "unblock_dependents", lambda _, __, ended: len(ended) > 1),
    "several_committed": (jobs, "finish_all", lambda _, __, ended: len(ended) > 1),
}
"""The same, of jobs of a moment that are ended together."""


if __name__ == "__main__":
    if sys.argv[1] in TOGETHER:  # however slow this machine is just now
        Watch.is_brief = True  # type: ignore[assignment, method-assign]
        finalizer.STREAM_SECONDS, finalizer.GATHER_SECONDS = math.inf, 1.0
        if "beside" in sys.argv[1]:
            waits_for_the_process_that_stores()
    dies_after(*(POINTS | TOGETHER)[sys.argv[1]])
    sys.argv = ["zoo", "worker", "start", "--slots", "1"]
    main()
