"""Save and restore everything that decides how the training of a network goes on."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo import weights
from zoo.errors import ArtifactError, reason

if TYPE_CHECKING:
    from zoo.model import Array

FACTS = "training.json"
VARIABLES = "variables"
CALLBACKS = "callbacks"
SET_ANEW = ("model", "_model", "params", "monitor_op", "min_delta")
"""Attributes of a callback that Keras sets when a training begins; the sign of `min_delta` changes
with `monitor_op`."""


def save(folder: Path, network: Any, callbacks: Sequence[Any], facts: Mapping[str, Any]) -> None:
    """Write variables, random states and callbacks of a training, and more facts, as JSON."""
    arrays: dict[str, Array] = {}
    states = [_callback_state(index, each, arrays) for index, each in enumerate(callbacks)]
    values = {name: variable.numpy() for name, variable in _variables(network).items()}
    for name, found in ((VARIABLES, values), (CALLBACKS, arrays)):
        (folder / name).mkdir()
        weights.save(folder / name, found)
    expected = {name: [str(array.dtype), array.shape] for name, array in arrays.items()}
    state = {"facts": facts, "callbacks": states, "arrays": expected, "random": _random_names()}
    (folder / FACTS).write_text(json.dumps(state), encoding="utf-8")


def restore(folder: Path, network: Any, callbacks: Sequence[Any]) -> dict[str, Any]:
    """Set the variables and callbacks as they were at `save`, and return its facts.

    Network and optimizer must be built. Raises ArtifactError for the state of another network.
    """
    try:
        state = json.loads((folder / FACTS).read_bytes())
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{folder / FACTS} cannot be read: {reason(error)}.") from None
    for name in state["random"]:
        _make_random[name]()
    variables = _variables(network)
    expected = {name: (str(each.dtype), tuple(each.shape)) for name, each in variables.items()}
    for name, array in weights.load(folder / VARIABLES, expected).items():
        variables[name].assign(array)
    wanted = {name: (dtype, tuple(shape)) for name, (dtype, shape) in state["arrays"].items()}
    arrays = weights.load(folder / CALLBACKS, wanted)
    for each, attributes in zip(callbacks, state["callbacks"], strict=True):
        _restore_callback(each, attributes, arrays)
    facts: dict[str, Any] = state["facts"]
    return facts


def metric_values(network: Any) -> list[Array]:
    """Return the values of the variables that metrics count in."""
    return [variable.numpy() for variable in network.metrics_variables]


def set_metrics(network: Any, values: Sequence[Array]) -> None:
    """Set the variables of metrics to the values of `metric_values`."""
    for variable, value in zip(network.metrics_variables, values, strict=True):
        variable.assign(value)


def _variables(network: Any) -> dict[str, Any]:
    groups = {
        # Those of seed generators too, which `weights` leaves out.
        "network": network.variables,
        "optimizer": network.optimizer.variables,
        "metric": network.metrics_variables,
    }
    found = {
        f"{group}-{index:04d}": variable
        for group, variables in groups.items()
        for index, variable in enumerate(variables)
    }
    return found | _random_variables()


def _random_variables() -> dict[str, Any]:
    """Return the states of the generators that layers without a seed share, if they are used."""
    from keras.src.backend.common import global_state
    from tensorflow.python.ops import stateful_random_ops

    found = {}
    if generator := global_state.get_global_attribute("global_seed_generator"):
        found["keras-seed"] = generator.state
    if generator := stateful_random_ops.global_generator:
        found["tensorflow-seed"] = generator.state
    return found


def _random_names() -> list[str]:
    return list(_random_variables())


def _make_keras_seed() -> None:
    from keras.src.random.seed_generator import global_seed_generator

    global_seed_generator()


def _make_tensorflow_seed() -> None:
    import tensorflow as tf

    tf.random.get_global_generator()


_make_random = {"keras-seed": _make_keras_seed, "tensorflow-seed": _make_tensorflow_seed}


def _callback_state(index: int, callback: Any, arrays: dict[str, Array]) -> dict[str, Any]:
    """Return the attributes that are plain values or arrays; the arrays go into `arrays`."""
    import numpy as np

    found: dict[str, Any] = {}
    for name, value in vars(callback).items():
        if name in SET_ANEW:
            continue
        if isinstance(value, np.ndarray | np.generic):
            arrays[f"{index}-{name}"] = np.asarray(value)
            found[name] = {"array": f"{index}-{name}"}
        elif _is_list_of_arrays(value):
            names = [f"{index}-{name}-{position:04d}" for position in range(len(value))]
            arrays.update(zip(names, value, strict=True))
            found[name] = {"arrays": names}
        elif _is_plain(value):
            found[name] = {"value": value}
    return found


def _is_list_of_arrays(value: Any) -> bool:
    import numpy as np

    return isinstance(value, list) and bool(value) and all(type(v) is np.ndarray for v in value)


def _is_plain(value: Any) -> bool:
    """Whether JSON keeps the value as it is."""
    if isinstance(value, list):
        return all(_is_plain(each) for each in value)
    if isinstance(value, dict):
        return all(isinstance(name, str) and _is_plain(each) for name, each in value.items())
    return value is None or type(value) in (bool, int, float, str)


def _restore_callback(
    callback: Any, attributes: Mapping[str, Any], arrays: Mapping[str, Array]
) -> None:
    for name, kept in attributes.items():
        if "array" in kept:
            # A single number comes back as such.
            value: Any = arrays[kept["array"]][()]
        elif "arrays" in kept:
            value = [arrays[each] for each in kept["arrays"]]
        else:
            value = kept["value"]
        setattr(callback, name, value)
