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
from zoo_workers.execution import Execution
from zoo_workers.finalizer import ArtifactWriter
from zoo_workers.runner_pool import Runner

from zoo import jobs
from zoo.cli.main import main
from zoo.jobs import transitions
from zoo.storage import artifacts

EXIT_CODE = 137


def wait_for_the_writer() -> None:
    """Let the process that writes artifacts do its work from the first jobs on."""
    ready = ArtifactWriter.ready

    def patient(self: ArtifactWriter) -> Any:
        while (found := ready(self)) is None:
            time.sleep(0.01)
        return found

    ArtifactWriter.ready = patient  # type: ignore[method-assign]


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
    "after_request": (Runner, "send", lambda _, __, request: request["action"] == "run"),
    "after_fit": (Runner, "receive", lambda reply, *_: bool(reply and "status" in reply)),
    "after_manifest": (artifacts, "put", lambda *_: True),
    "after_flush": (artifacts, "flush", lambda *_: True),
    # The last statement of the transaction is done, its COMMIT is not.
    "before_commit": (transitions, "unblock_dependents", lambda *_: True),
    "after_commit": (jobs, "finish", lambda *_: True),
}
"""The points in the order in which a job passes them."""
CHECKPOINTS: dict[str, tuple[Any, str, Callable[..., bool]]] = {
    "after_checkpoint_upload": (artifacts, "put", lambda _, *args: "/checkpoints/" in args[2]),
    "after_checkpoint_update": (jobs, "save_checkpoint", lambda *_: True),
    "after_the_older_one_is_gone": (
        artifacts,
        "remove",
        lambda _, __, where: "/checkpoints/" in where,
    ),
}
"""The same, of a training that saves checkpoints."""
RUNGS: dict[str, tuple[Any, str, Callable[..., bool]]] = {
    "after_rung_checkpoint": (jobs, "save_checkpoint", lambda *_: True),
    # As above; a pause names its group.
    "before_pause_commit": (transitions, "unblock_dependents", lambda _, *args: len(args) > 2),
    "after_pause": (jobs, "pause_trial", lambda *_: True),
}
"""The same, of a trial that pauses at its rung."""
FLUSHES = itertools.count(1)
TOGETHER: dict[str, tuple[Any, str, Callable[..., bool]]] = {
    "several_stored": (Execution, "flush", lambda *_: next(FLUSHES) > 1),
    "several_stored_by_the_writer": (ArtifactWriter, "store", lambda *_: True),
    "several_ended": (transitions, "unblock_dependents", lambda _, __, ended: len(ended) > 1),
    "several_committed": (jobs, "finish_all", lambda _, __, ended: len(ended) > 1),
}
"""The same, for short jobs that are committed together."""


if __name__ == "__main__":
    if sys.argv[1] in TOGETHER:  # also on a slow machine
        Execution.is_short = True  # type: ignore[assignment, method-assign]
        finalizer.BURST_SECONDS, finalizer.GATHER_SECONDS = math.inf, 1.0
        if "writer" in sys.argv[1]:
            wait_for_the_writer()
    dies_after(*(POINTS | CHECKPOINTS | RUNGS | TOGETHER)[sys.argv[1]])
    sys.argv = ["zoo", "worker", "start", "--slots", "1"]
    main()
