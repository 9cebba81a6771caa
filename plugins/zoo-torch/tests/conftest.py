"""Shared by the tests of the networks."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="module", autouse=True)
def installation(module_home: Path) -> None:
    """Give the tests of each file a ZOO_HOME of their own, and one thread: others compute beside.

    Threads that wait for each other take ten times as long on cores that are not theirs.
    """
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)
