"""Find plugins, register their models and datasets, and isolate broken ones."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import re
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

import pluggy

from zoo import hookspecs, private_folder, settings
from zoo.dataset_names import FILE_FORMS, NAME
from zoo.errors import PluginError, unknown
from zoo.jobs.cards import Card
from zoo.metrics import COSTS, METRICS, OF_PLUGIN, Metric, MetricInfo, base_name
from zoo.model import Dataset, Model, Params, Step, resolved
from zoo.plugins import (
    entry_points,
    error_report,
    file_digests,
    import_guard,
    requirements,
    source_code,
    tracing,
)
from zoo.plugins.metadata import of
from zoo.regular_file import read_regular_file

MAX_BYTES = 16 * 2**20
"""Largest size of a one-file plugin."""
KEPT_BYTES = 256 * 2**10
"""Largest size of a one-file plugin whose text is kept with its jobs."""


@dataclass
class Plugin:
    """One plugin, loaded or not."""

    name: str
    distribution: str = ""
    version: str = ""
    source: str = ""
    """The module, or the file of a one-file plugin."""
    hooks: list[str] = field(default_factory=list)
    models: list[str] = field(default_factory=list)
    datasets: list[str] = field(default_factory=list)
    seconds: float = 0.0
    """Time of the import."""
    code: str = ""
    """The sha256 of its source at the time of the import."""
    imports: list[str] = field(default_factory=list)
    """For a one-file plugin: the packages that it imports, also within functions."""
    error: str = ""
    """The error that broke it and its place in the source; empty if there is none."""

    @property
    def label(self) -> str:
        """Distribution and version, as jobs record it."""
        return f"{self.distribution} {self.version}".strip() or self.name


Candidate = tuple[Plugin, Callable[[], ModuleType]]
"""A plugin and the function that imports it."""


RESERVED = {
    "dataset": ("mnist", *FILE_FORMS),
    "preprocessing step": ("none", "deskew", "standardize", "impute"),
}
"""Names that no plugin may use."""


METRIC_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
"""Names of metrics (with fullmatch)."""
MEASURED = (
    *("classes", "per_class", "confusion_matrix", "n_images", "inputs"),
    *("stopped_early", "ended_early"),
)
"""Names in the metrics of a job that are no metrics to rank by."""


@dataclass
class Catalogue:
    """All models and datasets of the plugins of this machine."""

    manager: pluggy.PluginManager
    plugins: list[Plugin]
    models: dict[str, type[Model]]
    datasets: dict[str, Dataset]
    owners: dict[str, Plugin]
    """The plugin of each model."""
    dataset_owners: dict[str, Plugin]
    """The plugin of each dataset."""
    steps: dict[str, type[Step]]
    """Preprocessing steps."""
    metrics: dict[str, Metric]
    sources: dict[str, str] = field(default_factory=dict)
    """The text of one-file plugins as it was imported, by name of the plugin."""


@functools.cache
def catalogue() -> Catalogue:
    """Load all plugins, once per process; their output goes to stderr."""
    found = empty()
    for plugin, load in candidates():
        enter(found, plugin, load)
    return found


def empty() -> Catalogue:
    """Return a catalogue without plugins."""
    manager = pluggy.PluginManager("zoo")
    manager.add_hookspecs(hookspecs)
    if settings.is_traced():
        tracing.show(manager)
    return Catalogue(manager, [], {}, {}, {}, {}, {}, {})


def model(name: str) -> type[Model]:
    """Return the model of that name.

    Raises UsageError, with the nearest name, if there is none.
    """
    models = catalogue().models
    if name not in models:
        error = unknown("model", name, models, "zoo models")
        # It may belong to a broken plugin.
        for plugin in broken():
            error.hint += f" The plugin {plugin.name} is broken: {plugin.error}."
        raise error
    return models[name]


def source_of(model: str) -> str:
    """Return the module or file of the model's plugin; empty if it has not been loaded."""
    owner = catalogue().owners.get(model) if catalogue.cache_info().currsize else None
    return owner.source if owner else ""


def broken() -> list[Plugin]:
    """Return the plugins that could not be loaded completely."""
    return [plugin for plugin in catalogue().plugins if plugin.error]


def cards() -> list[Card]:
    """Return the cards of all models of this machine, with what is missing for each."""
    lacks = {
        each.name: requirements.missing(each.distribution, each.imports)
        for each in catalogue().plugins
        if each.models
    }
    owners = catalogue().owners
    return [
        replace(card(name), missing=lacks[owners[name].name] or None)
        for name in sorted(catalogue().models)
    ]


def card(name: str) -> Card:
    """Return the card of one model of this machine; raises UsageError like `model`."""
    owner = catalogue().owners
    return replace(of(model(name), owner[name].label), code=owner[name].code)


def dataset_version(name: str) -> str:
    """Return the version of a plugin's dataset, also of one that is named SCHEME:PATH.

    By default it is the hash of the plugin's code and of the files that the dataset names.
    """
    found = catalogue()
    name = name.partition(":")[0]
    dataset, code = found.datasets[name], found.dataset_owners[name].code[:12]
    if dataset.version or not dataset.files:
        return dataset.version or code
    return _version("\n".join([code, *map(file_digests.digest, dataset.files)]).encode())


def metrics() -> dict[str, MetricInfo]:
    """Return the metrics of the plugins of this machine, by name."""
    return {
        name: MetricInfo(name, each.higher_is_better, each.summary, OF_PLUGIN)
        for name, each in catalogue().metrics.items()
    }


def listeners() -> dict[str, str]:
    """Return the plugins with a `job_finished` hook, each with its label and code hash."""
    found = [p for p in catalogue().plugins if "job_finished" in p.hooks and not p.error]
    return {plugin.name: f"{plugin.label} {plugin.code[:12]}" for plugin in found}


def candidates() -> list[Candidate]:
    """Return every plugin to load, with the function that imports it."""
    chosen = settings.load()
    folder = chosen.plugins_folder
    # Write access to these folders is code execution as this user: the home has cached names.
    for each in (chosen.home, folder):
        private_folder.check(each)
    files = sorted(folder.glob("*.py")) if folder.is_dir() else []
    every: list[Candidate] = [(_installed(e), e.load) for e in entry_points.of("zoo")]
    every += [(_one_file(file), functools.partial(load_file, file)) for file in files]
    if chosen.plugins is None:
        return every
    wanted = chosen.plugins.replace(",", " ").split()
    absent = [name for name in wanted if name not in {plugin.name for plugin, _ in every}]
    every = [(plugin, load) for plugin, load in every if plugin.name in wanted]
    return every + [(Plugin(name), _refuse_absent) for name in absent]


def command_candidates() -> list[Candidate]:
    """Return the plugins that add commands; `zoo.cli.lazy_group` loads them."""
    return [(_installed(entry), entry.load) for entry in entry_points.of("zoo.commands")]


def _refuse_absent() -> ModuleType:
    raise PluginError("It is named by ZOO_PLUGINS, but there is no such plugin.")


def _installed(entry: entry_points.Entry) -> Plugin:
    module = entry.value.partition(":")[0]
    return Plugin(entry.name, entry.distribution, entry.version, module)


def _one_file(file: Path) -> Plugin:
    # A changed file is a new version: a warm runner with the old one is then replaced.
    try:
        version = _version(read_regular_file(file, MAX_BYTES))
    except OSError:
        version = ""
    return Plugin(file.stem, file.stem, version, str(file))


def _version(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:12]


class _Fresh(SourceFileLoader):
    """Compiles the current source: a cached .pyc may miss an edit within the same second."""

    content = b""
    """The compiled source."""

    def get_code(self, fullname: str) -> CodeType:
        self.content = read_regular_file(self.path, MAX_BYTES)
        return self.source_to_code(self.content, self.path)


def load_file(file: Path) -> ModuleType:
    private_folder.check(file)
    name = f"zoo_plugin_{file.stem.replace('-', '_')}"
    spec = importlib.util.spec_from_file_location(name, file, loader=_Fresh(name, str(file)))
    if spec is None or spec.loader is None:
        raise PluginError(f"{file} is not a Python file.")
    module = importlib.util.module_from_spec(spec)
    # dataclasses and pydantic look up the module of a class there.
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]  # as `import` does for a partially initialized module
        raise
    return module


def enter(found: Catalogue, plugin: Plugin, load: Callable[[], ModuleType]) -> None:
    """Load a plugin and register its models and datasets; errors are recorded, not raised."""
    found.plugins.append(plugin)
    start = time.perf_counter()
    # BaseException: a plugin that calls sys.exit at import must not end `zoo`.
    try:
        with import_guard.importing(plugin.name):
            module = load()
            _remember(found, plugin, module)
            plugin.seconds = time.perf_counter() - start
            found.manager.register(module, plugin.name)
            _ask(found, plugin)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        plugin.seconds = plugin.seconds or time.perf_counter() - start
        plugin.error = error_report.reason(error, plugin.source)


def _remember(found: Catalogue, plugin: Plugin, module: ModuleType) -> None:
    """Record the imported code: its files may change while this process runs."""
    loader = getattr(module, "__loader__", None)
    if isinstance(loader, _Fresh):
        plugin.version = _version(loader.content)
        plugin.code = source_code.sha256_with_bases(plugin.source, loader.content)
        plugin.imports = source_code.imports(loader.content)
        if len(loader.content) <= KEPT_BYTES:
            found.sources[plugin.name] = importlib.util.decode_source(loader.content)
    else:
        plugin.code = source_code.sha256_with_bases(plugin.source)


def _ask(found: Catalogue, plugin: Plugin) -> None:
    manager = found.manager
    callers = manager.get_hookcallers(manager.get_plugin(plugin.name)) or []
    plugin.hooks = sorted(caller.name for caller in callers)
    known = [name for name in dir(hookspecs) if hasattr(getattr(hookspecs, name), "zoo_spec")]
    for hook in plugin.hooks:
        if hook not in known:
            raise unknown("hook", hook, known)
    module = manager.get_plugin(plugin.name)
    # A plugin may have no hook on purpose, as zoo-notify without its setting.
    if not callers and any(callable(getattr(module, name, None)) for name in known):
        raise PluginError("It implements no hook: is @zoo.hookimpl missing above its functions?")
    for caller in callers:
        _check_arguments(caller, plugin.name)
    others = [p for p in manager.get_plugins() if manager.get_name(p) != plugin.name]
    adders: dict[str, Callable[[Catalogue, Plugin, Any], None]] = {
        "register_models": _add_model,
        "register_datasets": _add_dataset,
        "register_preprocessing": _add_step,
        "register_metrics": _add_metric,
    }
    for hook, add in adders.items():
        manager.subset_hook_caller(hook, others)(register=functools.partial(add, found, plugin))


def _check_arguments(caller: pluggy.HookCaller, name: str) -> None:
    """Raise PluginError for a hook without the argument that it must call (`register`, `app`)."""
    known = caller.spec.argnames if caller.spec else ()
    for impl in caller.get_hookimpls():
        missing = {"register", "app"}.intersection(known).difference(impl.argnames)
        if impl.plugin_name == name and missing:
            raise PluginError(
                f"{caller.name} has no argument `{missing.pop()}`, which it must call."
            )


def _add_model(found: Catalogue, plugin: Plugin, model: type[Model]) -> None:
    if not (isinstance(model, type) and issubclass(model, Model)):
        raise PluginError(f"{model!r} is not a subclass of zoo.Model.")
    _check_name("model", getattr(model, "name", None), found.models)
    if not (isinstance(model.Params, type) and issubclass(model.Params, Params)):
        raise PluginError(f"{model.__name__}.Params is not a subclass of zoo.Params.")
    if model.layout not in ("flat", "image") or model.dtype not in ("float32", "float64"):
        raise PluginError(f"{model.__name__} asks for a layout or dtype that Zoo does not prepare.")
    if model.device not in ("cpu", "gpu"):
        raise PluginError(f"{model.__name__}.device is {model.device!r}: it is cpu or gpu.")
    _check_takes(model)
    # Detect invalid defaults (out of bounds, not JSON) here, not in the first job.
    resolved(model.Params, {})
    found.models[model.name] = model
    found.owners[model.name] = plugin
    plugin.models.append(model.name)


def _add_dataset(found: Catalogue, plugin: Plugin, dataset: Dataset) -> None:
    if not isinstance(dataset, Dataset):
        raise PluginError(f"{dataset!r} is not a zoo.Dataset.")
    _check_name("dataset", dataset.name, found.datasets)
    found.datasets[dataset.name] = dataset
    found.dataset_owners[dataset.name] = plugin
    plugin.datasets.append(dataset.name)


def _add_step(found: Catalogue, plugin: Plugin, step: type[Step]) -> None:
    if not (isinstance(step, type) and issubclass(step, Step)):
        raise PluginError(f"{step!r} is not a subclass of zoo.Step.")
    _check_name("preprocessing step", getattr(step, "name", None), found.steps)
    _check_takes(step)
    found.steps[step.name] = step


def _add_metric(found: Catalogue, plugin: Plugin, metric: Metric) -> None:
    if not isinstance(metric, Metric):
        raise PluginError(f"{metric!r} is not a zoo.Metric.")
    name = metric.name
    if not isinstance(name, str) or not METRIC_NAME.fullmatch(name) or base_name(name) != name:
        raise PluginError(
            f"The metric name {name!r} is not lower case letters, digits and underscores, "
            "or begins with val_ or train_."
        )
    if name in {*found.metrics, *METRICS, *COSTS, *MEASURED}:
        raise PluginError(f"The metric name '{name}' is taken.")
    if not callable(metric.function) or not isinstance(metric.higher_is_better, bool):
        raise PluginError(
            f"The metric '{name}' needs a function, and True or False for higher_is_better."
        )
    found.metrics[name] = metric


def _check_takes(given: type[Model | Step]) -> None:
    kinds = given.takes
    if isinstance(kinds, str) or not kinds or not set(kinds) <= {"image", "table"}:
        raise PluginError(
            f"{given.__name__}.takes is {kinds!r}, not a tuple of 'image' and 'table'."
        )


def _check_name(what: str, name: Any, taken: dict[str, Any]) -> None:
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise PluginError(f"The {what} name {name!r} is not lower case letters, digits and dashes.")
    if name in taken or name in RESERVED.get(what, ()):
        raise PluginError(f"The {what} name '{name}' is taken.")
