"""Checks that need no training: the name, the params, the imports of the plugin."""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
from typing import Any
from unittest import SkipTest

from zoo import child_process, environment_variables
from zoo.dataset_names import NAME
from zoo.errors import UsageError
from zoo.plugins import entry_points
from zoo.testing.checks.fixtures import Bench, Broken, DatasetBench

FRAMEWORKS = (
    *("numpy", "scipy", "sklearn", "pandas", "PIL", "cv2", "matplotlib", "numba"),
    *("tensorflow", "keras", "torch", "torchvision", "jax", "flax", "transformers"),
    *("xgboost", "lightgbm", "catboost"),
)
"""Packages that a job may need, but neither `zoo models` nor submitting."""
IMPORTING = """
import importlib, pathlib, sys
from zoo.plugins import registry as plugins
name, file, *frameworks = sys.argv[1:]
before = set(sys.modules)
if name.startswith("zoo_plugin_"):
    plugins.load_file(pathlib.Path(file))
else:
    importlib.import_module(name)
print()
print(*[each for each in frameworks if each in sys.modules and each not in before])
"""
OTHER_TYPES: tuple[Any, ...] = ("text", 1.5, True, [1], {"a": 1}, None)


def has_name_and_docstring(bench: Bench) -> None:
    """The name is lower case letters, digits and dashes; the class has a docstring."""
    name = getattr(bench.model, "name", None)
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise Broken(f"The name {name!r} is not lower case letters, digits and dashes.")
    if not (bench.model.__doc__ or "").strip():
        raise Broken("The class has no docstring: its first line is what `zoo models` shows.")


def imports_no_framework(bench: Bench | DatasetBench) -> None:
    """Importing the plugin loads no framework, not even numpy."""
    if not _is_of_a_plugin(bench.module):
        raise SkipTest(f"{bench.module} belongs to no installed plugin")
    done = subprocess.run(
        [sys.executable, "-P", "-c", IMPORTING, bench.module, bench.source, *FRAMEWORKS],
        capture_output=True,
        text=True,
        cwd=child_process.folder(),
        env=environment_variables.for_models(os.environ),
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise Broken(f"The plugin cannot be imported in a fresh Python: {last}.")
    if found := done.stdout.splitlines()[-1].split():
        raise Broken(
            f"The import of {bench.source} loads {', '.join(found)}: import them in the methods."
        )


def _is_of_a_plugin(module: str) -> bool:
    packages = {re.split("[.:]", entry.value)[0] for entry in entry_points.of("zoo")}
    return module.startswith("zoo_plugin_") or module.partition(".")[0] in packages


def rejects_invalid_params(bench: Bench) -> None:
    """Params with an unknown name, a wrong type, NaN or out of bounds raise UsageError."""
    _must_reject(bench, {"no_such_param": 1}, "an unknown name")
    for name, about in _properties(bench).items():
        for value, what in _bad_values(about):
            _must_reject(bench, {name: value}, what)


def _must_reject(bench: Bench, given: dict[str, Any], what: str) -> None:
    try:
        bench.model.Params.resolve(given)
    except UsageError:
        return
    except Exception as error:
        raise Broken(f"{given} raises {type(error).__name__}, not UsageError.") from error
    raise Broken(f"The params {given} are accepted, but that is {what}.")


def _properties(bench: Bench) -> dict[str, Any]:
    found: dict[str, Any] = bench.model.Params.model_json_schema().get("properties", {})
    return found


def _bad_values(about: dict[str, Any]) -> list[tuple[Any, str]]:
    """Values that violate the JSON schema of a param, each with the reason."""
    kinds = about.get("anyOf", [about])
    types = {kind.get("type") for kind in kinds}
    bad: list[tuple[Any, str]] = []
    if "number" in types:
        bad += [(math.nan, "not a number"), (math.inf, "infinite")]
    for kind in kinds:
        bad += _past_the_bounds(kind)
    if len(types) == 1 and types <= set(_JSON):
        wrong = [v for v in OTHER_TYPES if not _JSON[next(iter(types))](v)]
        bad += [(value, "of another type") for value in wrong]
    # In Python True == 1 == 1.0: a value equal to an allowed one is not invalid.
    listed = [value for kind in kinds for value in [*kind.get("enum", []), *_const(kind)]]
    return [(value, what) for value, what in bad if value not in listed]


def _const(kind: dict[str, Any]) -> list[Any]:
    return [kind["const"]] if "const" in kind else []


def _past_the_bounds(kind: dict[str, Any]) -> list[tuple[Any, str]]:
    number = int if kind.get("type") == "integer" else float
    steps = {"minimum": -1, "maximum": 1, "exclusiveMinimum": 0, "exclusiveMaximum": 0}
    bad: list[tuple[Any, str]] = [
        (number(kind[bound] + step), "out of bounds")
        for bound, step in steps.items()
        if bound in kind
    ]
    if values := [*kind.get("enum", []), *_const(kind)]:
        bad.append(("-".join(map(str, [*values, "no"])), "not one of its values"))
    return bad


_JSON = {
    "string": lambda v: isinstance(v, str),
    "integer": lambda v: isinstance(v, int) and not isinstance(v, bool),
    "number": lambda v: isinstance(v, int | float) and not isinstance(v, bool),
    "boolean": lambda v: isinstance(v, bool),
    "array": lambda v: isinstance(v, list),
    "object": lambda v: isinstance(v, dict),
}


def params_round_trip_json(bench: Bench) -> None:
    """Schema and params survive a round trip through JSON; each param has a help text."""
    params = bench.model.Params
    schema = params.model_json_schema()
    if json.loads(json.dumps(schema, allow_nan=False)) != schema:
        raise Broken("The JSON schema of the params changes in a round trip through JSON.")
    for name, about in _properties(bench).items():
        if not about.get("description"):
            raise Broken(f"The param {name} has no help text: zoo.param(..., help=...).")
    stored = json.loads(json.dumps(bench.params.model_dump(mode="json"), allow_nan=False))
    if params.resolve(stored) != bench.params:
        raise Broken(f"The params change in a round trip through JSON: {params.resolve(stored)}.")
