"""Find plugins, ask them for models and datasets, and keep a broken one from doing harm."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.util
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

import pluggy

from zoo import entrypoints, hookspecs, settings
from zoo.cards import Card, of
from zoo.errors import PluginError, unknown
from zoo.model import NAME, Dataset, Model, Params


@dataclass
class Plugin:
    """One plugin as it was found, loaded or not."""

    name: str
    distribution: str = ""
    version: str = ""
    source: str = ""
    """The module, or the file of a one-file plugin."""
    hooks: list[str] = field(default_factory=list)
    models: list[str] = field(default_factory=list)
    datasets: list[str] = field(default_factory=list)
    error: str = ""
    """Why it is broken, in a line; empty if it is well."""

    @property
    def label(self) -> str:
        """Distribution and version, as jobs record it."""
        return f"{self.distribution} {self.version}".strip() or self.name


@dataclass
class Catalogue:
    """Everything the plugins of this machine offer."""

    manager: pluggy.PluginManager
    plugins: list[Plugin]
    models: dict[str, type[Model]]
    datasets: dict[str, Dataset]
    owners: dict[str, Plugin]
    """The plugin of each model."""


@functools.cache
def catalogue() -> Catalogue:
    """Load every plugin once per process; what a plugin prints goes to stderr."""
    manager = pluggy.PluginManager("zoo")
    manager.add_hookspecs(hookspecs)
    found = Catalogue(manager, [], {}, {}, {})
    with contextlib.redirect_stdout(sys.stderr):
        for plugin, load in _candidates():
            found.plugins.append(plugin)
            _enter(found, plugin, load)
    return found


def model(name: str) -> type[Model]:
    """The model of that name.

    Raises UsageError, with the nearest name, if there is none.
    """
    models = catalogue().models
    if name not in models:
        raise unknown("model", name, models, "zoo models")
    return models[name]


def cards() -> list[Card]:
    """What a worker publishes of each model it can load, as JSON."""
    return [card(name) for name in sorted(catalogue().models)]


def card(name: str) -> Card:
    """The card of one model of this machine; raises UsageError like `model`."""
    return of(model(name), catalogue().owners[name].label)


def _candidates() -> Iterator[tuple[Plugin, Callable[[], ModuleType]]]:
    chosen = settings.load()
    wanted = None if chosen.plugins is None else set(chosen.plugins.replace(",", " ").split())
    for entry in entrypoints.of("zoo"):
        if wanted is None or entry.name in wanted:
            yield _installed(entry), entry.load
    folder = chosen.plugins_folder
    for file in sorted(folder.glob("*.py")) if folder.is_dir() else []:
        if wanted is None or file.stem in wanted:
            yield _one_file(file), functools.partial(_load_file, file)


def _installed(entry: entrypoints.Entry) -> Plugin:
    module = entry.value.partition(":")[0]
    return Plugin(entry.name, entry.distribution, entry.version, module)


def _one_file(file: Path) -> Plugin:
    # A changed file is another version: a warm worker that has the old one is then replaced.
    try:
        version = hashlib.sha256(file.read_bytes()).hexdigest()[:12]
    except OSError:
        version = ""
    return Plugin(file.stem, file.stem, version, str(file))


class _Fresh(SourceFileLoader):
    """Compiles a file as it is: what Python keeps compiled may be older by less than a second."""

    def get_code(self, fullname: str) -> CodeType:
        return self.source_to_code(self.get_data(self.path), self.path)


def _load_file(file: Path) -> ModuleType:
    name = f"zoo_plugin_{file.stem.replace('-', '_')}"
    spec = importlib.util.spec_from_file_location(name, file, loader=_Fresh(name, str(file)))
    if spec is None or spec.loader is None:
        raise PluginError(f"{file} is not a Python file.")
    module = importlib.util.module_from_spec(spec)
    # Classes look their own module up there (dataclasses, pydantic).
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _enter(found: Catalogue, plugin: Plugin, load: Callable[[], ModuleType]) -> None:
    # BaseException: a plugin that calls sys.exit at import must not end `zoo`.
    try:
        found.manager.register(load(), plugin.name)
        callers = found.manager.get_hookcallers(found.manager.get_plugin(plugin.name)) or []
        plugin.hooks = sorted(caller.name for caller in callers)
        others = [
            p for p in found.manager.get_plugins() if found.manager.get_name(p) != plugin.name
        ]
        found.manager.subset_hook_caller("register_models", others)(
            register=functools.partial(_add_model, found, plugin)
        )
        found.manager.subset_hook_caller("register_datasets", others)(
            register=functools.partial(_add_dataset, found, plugin)
        )
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        plugin.error = _reason(error)


def _reason(error: BaseException) -> str:
    last = traceback.extract_tb(error.__traceback__)
    where = f" ({last[-1].filename}:{last[-1].lineno})" if last else ""
    return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}{where}"


def _add_model(found: Catalogue, plugin: Plugin, model: type[Model]) -> None:
    if not (isinstance(model, type) and issubclass(model, Model)):
        raise PluginError(f"{model!r} is not a subclass of zoo.Model.")
    _check_name("model", getattr(model, "name", None), found.models)
    if not (isinstance(model.Params, type) and issubclass(model.Params, Params)):
        raise PluginError(f"{model.__name__}.Params is not a subclass of zoo.Params.")
    if model.layout not in ("flat", "image") or model.dtype not in ("float32", "float64"):
        raise PluginError(f"{model.__name__} asks for a layout or dtype that Zoo does not prepare.")
    # A default that the bounds refuse is found here, not at the first job.
    model.Params.resolve({})
    found.models[model.name] = model
    found.owners[model.name] = plugin
    plugin.models.append(model.name)


def _add_dataset(found: Catalogue, plugin: Plugin, dataset: Dataset) -> None:
    if not isinstance(dataset, Dataset):
        raise PluginError(f"{dataset!r} is not a zoo.Dataset.")
    _check_name("dataset", dataset.name, found.datasets)
    found.datasets[dataset.name] = dataset
    plugin.datasets.append(dataset.name)


def _check_name(what: str, name: Any, taken: dict[str, Any]) -> None:
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise PluginError(f"The {what} name {name!r} is not lower case letters, digits and dashes.")
    if name in taken or (what == "dataset" and name == "mnist"):
        raise PluginError(f"The {what} name '{name}' is taken.")
