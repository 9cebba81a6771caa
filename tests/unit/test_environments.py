"""Environments of attempts: JSON of workers of this version and of others."""

from __future__ import annotations

from typing import Any

import pytest
from helpers.finished_jobs import ENVIRONMENT

from zoo.canonical_json import canonical
from zoo.jobs.environments import CodeVersion, Environment


def test_an_environment_is_written_as_it_was_read() -> None:
    found = Environment.from_json(ENVIRONMENT)
    assert canonical(found.to_json()) == canonical(ENVIRONMENT)
    assert Environment.from_json(found.to_json()) == found
    assert found.code == CodeVersion("c" * 64) and found.machine and found.machine.cores == 2


@pytest.mark.parametrize(
    "stored",
    [
        {"data": "d" * 64},
        {"plugin": "p 1", "accelerator": {"name": "none"}},
        {"machine": {"cpu": "one", "rack": 7}, "versions": {"numpy": "2.4.6"}},
        {"code": [], "data": None, "machine": {"cores": "two"}, "versions": {"numpy": 2}},
    ],
)
def test_an_environment_of_another_version_is_read_and_written_unchanged(
    stored: dict[str, Any],
) -> None:
    found = Environment.from_json(stored)
    assert found.to_json() == stored
    assert (found.code, found.fingerprint) == (None, None)
    assert found.machine is None or found.machine.cores is None
