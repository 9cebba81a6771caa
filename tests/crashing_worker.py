"""A worker that dies at a named point of its first job: `python crashing_worker.py POINT`."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

from zoo_workers.runners import Runner

from zoo import artifacts, jobs
from zoo.cli.main import main
from zoo.jobs import moves

EXIT_CODE = 137


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
    # The last statement of the transaction is done, its COMMIT is not.
    "before_commit": (moves, "_end_attempt", lambda *_: True),
    "after_commit": (jobs, "finish", lambda *_: True),
}
"""The points in the order in which a job passes them."""


if __name__ == "__main__":
    dies_after(*POINTS[sys.argv[1]])
    sys.argv = ["zoo", "worker", "start", "--slots", "1"]
    main()
