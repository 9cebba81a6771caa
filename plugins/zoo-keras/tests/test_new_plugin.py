"""A new plugin on the base class of this one: `zoo plugins new NAME --base keras`."""

from __future__ import annotations

import numpy as np
import pytest
from zoo_keras.dense_softmax import DenseSoftmax

from zoo.plugins import registry, scaffold
from zoo.testing import checks
from zoo.testing.checks import behaviour, contract, persistence
from zoo.testing.checks.fixtures import Bench

pytestmark = [pytest.mark.tensorflow, pytest.mark.slow]
OF_ITS_OWN_LINES = (
    contract.has_name_and_docstring,
    contract.imports_no_framework,
    contract.rejects_invalid_params,
    contract.params_round_trip_json,
    behaviour.fits_and_predicts,
    persistence.loads_saved_weights,
)
"""The checks of what the file itself says; the others are about trainings, which are the same."""


def test_a_new_network_keeps_the_contract_for_it_trains_as_one_that_does(home: object) -> None:
    scaffold.new_file("my-net", base="keras")
    registry.catalogue.cache_clear()
    assert not registry.broken()
    params = {"epochs": 2, "units": 16}
    bench = Bench(registry.model("my-net"), params)
    results = [checks.run(each, bench) for each in OF_ITS_OWN_LINES]
    assert {each.status for each in results} == {"passed"}, results
    # tests/test_networks.py has all the checks of this one.
    known = Bench(DenseSoftmax, {"epochs": 2, "hidden": [16]})
    assert bench.model.takes == known.model.takes
    found, expected = (each.trained.model.network.get_weights() for each in (bench, known))
    assert len(found) == len(expected) == 4
    assert all(np.array_equal(*pair) for pair in zip(found, expected, strict=True))
