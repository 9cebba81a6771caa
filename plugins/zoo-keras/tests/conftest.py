"""Shared by the tests of the networks."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module", autouse=True)
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A ZOO_HOME of its own for the prepared data."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ZOO_HOME", str(tmp_path_factory.mktemp("home")))
        yield
