"""A new plugin on the base class of this one: `zoo plugins new NAME --base torch`."""

from __future__ import annotations

import pytest

from zoo.plugins import registry, scaffold
from zoo.testing import suite

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("torch")]


def test_a_new_network_keeps_the_contract(home: object) -> None:
    scaffold.new_file("my-net", base="torch")
    registry.catalogue.cache_clear()
    assert not registry.broken()
    results = suite.check_model(registry.model("my-net"), {"epochs": 2})
    assert {each.status for each in results} <= {"passed", "skipped"}, results
