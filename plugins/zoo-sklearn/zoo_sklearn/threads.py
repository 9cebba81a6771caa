"""Threads for scikit-learn's loops: as many as the worker grants, on idle cores."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Iterator
from typing import Any

from zoo import cores


@contextlib.contextmanager
def granted_jobs() -> Iterator[int | None]:
    """Yield the `n_jobs` of an estimator that is fitted meanwhile, in threads of this process.

    In a runner whose worker lends cores it is None: joblib then uses the surrounding context.
    Elsewhere it is the number that the worker grants, or -1 for all cores.
    """
    here = cores.here()
    if here is None:
        yield share()
    else:
        with _each_on_a_core(here):
            yield None


def share() -> int:
    """Return the number of threads that the worker grants, or -1 for all cores."""
    granted = os.environ.get("OMP_NUM_THREADS", "")
    return int(granted) if granted.isdigit() and int(granted) else -1


@contextlib.contextmanager
def _each_on_a_core(here: cores.Cores) -> Iterator[None]:
    """Have a thread for each core of the worker, which waits before each task for a core."""
    from joblib import parallel_config
    from joblib.parallel import ThreadingBackend

    class OnACore(ThreadingBackend):  # type: ignore[misc]
        def submit(self, func: Any, callback: Any = None) -> Any:
            return super().submit(functools.partial(_run, here, func), callback)

    with parallel_config(backend=OnACore(), n_jobs=here.n):
        yield


def _run(here: cores.Cores, func: Any) -> Any:
    with here.one():
        return func()
