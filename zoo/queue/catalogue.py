"""Models and datasets that can be submitted: from this machine's plugins and from the workers."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from zoo import dataset_names, jobs, settings
from zoo.data import datasets
from zoo.errors import UsageError, unknown
from zoo.jobs import Database, Worker
from zoo.jobs.cards import OF_WORKER, Card, published_metrics
from zoo.metrics import METRICS, MetricInfo, Objective, higher_is_better
from zoo.model import Params
from zoo.plugins import metadata, packages, registry


@dataclass(frozen=True)
class Offer:
    """A model with its source and the workers that have it."""

    card: Card
    here: bool
    """Whether a plugin of this machine provides it; otherwise the card is from a worker."""
    workers: list[Worker] = field(default_factory=list)
    """Online workers of any pool that have the model."""
    missing: Sequence[str] = ()
    """Packages that it requires and that are not installed anywhere where it could run."""

    @property
    def plugin(self) -> str:
        """Distribution and version of the plugin that the card describes."""
        return self.card.plugin

    @functools.cached_property
    def params(self) -> type[Params]:
        """The params class: of the installed plugin, otherwise rebuilt from the card."""
        name = self.card.name
        return registry.model(name).Params if self.here else metadata.params(self.card)

    def to_json(self) -> dict[str, Any]:
        """Return the card and the workers that can run the model, for scripts."""
        shown = [
            {"name": w.name, "pool": w.pool, "plugin": label_of(w, self.card.name)}
            for w in self.workers
        ]
        found = {"here": self.here, "workers": shown, "missing": list(self.missing)}
        return self.card.to_json(without=OF_WORKER) | found


def models(known: Sequence[Worker] | None = None) -> dict[str, Offer]:
    """Return every model of this machine and of these workers (by default all), by name.

    Raises StoreError if the workers' cards cannot be read.
    """
    found = workers() if known is None else known
    published = {card.name: card for card in _cards(found)}
    own = {card.name: card for card in registry.cards()}
    offers = {}
    for name, card in sorted((published | own).items()):
        online = _online(found, name)
        # Embedded, the worker is on this machine, and may have started before an installation.
        is_local = name in own and settings.load().is_embedded
        able = [] if is_local else [c for c in _cards(online) if c.name == name]
        missing = min((each.missing or () for each in able or [card]), key=len)
        offers[name] = Offer(card, name in own, online, missing)
    return offers


def model(name: str) -> Offer:
    """Return the model of this name: this machine's own, otherwise as workers publish it.

    Raises UsageError with the nearest name for an unknown model, StoreError like `models`.
    """
    own = registry.catalogue().models
    if name in own:
        # Without a query for workers: an installed model needs no database.
        return Offer(registry.card(name), True)
    known = models()
    if name not in known:
        raise packages.missing("model", name) or unknown("model", name, known, "zoo models")
    _check_its_plugin(known[name])
    return known[name]


def _check_its_plugin(offer: Offer) -> None:
    """Raise UsageError for a model of the only machine whose plugin has broken meanwhile.

    A worker that runs still has it as it was; its next process could not load it.
    """
    if not settings.load().is_embedded:
        return
    for plugin in registry.broken():
        if plugin.distribution and offer.plugin.rpartition(" ")[0] == plugin.distribution:
            raise UsageError(
                f"The model '{offer.card.name}' cannot be loaded here: {plugin.error}.",
                f"Mend the plugin {plugin.name}; `zoo plugins check {plugin.name}` tries it.",
            )


def dataset(name: str) -> str:
    """Return a dataset's canonical name: of this machine, of files, or of a worker.

    Raises UsageError for an unknown name or a missing file, StoreError like `models`.
    """
    form, colon, _ = name.partition(":")
    if form in dataset_names.FILE_FORMS or name in datasets.names() or form in datasets.schemes():
        return datasets.resolve(name)
    published = elsewhere()
    if f"{form}{colon}" in published:
        return name
    if colon or os.path.lexists(dataset_names.absolute(name)):
        return datasets.resolve(name)
    known = [*datasets.names(), *published, *added_names()]
    raise packages.missing("dataset", name) or unknown("dataset", name, known, "zoo data")


def is_to_fetch(name: str, *, contents: str | None = None) -> bool:
    """Return whether a dataset of this machine is not in its cache, so may be downloaded.

    `contents` is as for `datasets.raw`.
    """
    is_own = ":" in name or name in datasets.names()
    return is_own and not datasets.is_cached(name, contents=contents)


def elsewhere() -> dict[str, str]:
    """Return the summaries of datasets that only workers have, by name; raises like `models`."""
    own = [*datasets.names(), *(f"{scheme}:" for scheme in datasets.schemes())]
    found = {name: text for c in _cards(workers()) for name, text in (c.datasets or {}).items()}
    return {name: text for name, text in sorted(found.items()) if name not in own}


def added_names() -> list[str]:
    """Return the names of the added datasets; raises StoreError like `models`."""
    with database() as db:
        return sorted(jobs.list_dataset_names(db)) if db else []


def metrics() -> dict[str, MetricInfo]:
    """Return every metric of predictions: Zoo's, of workers' plugins and of this machine's."""
    return {**METRICS, **published_metrics(_cards(workers())), **registry.metrics()}


def objective(name: str) -> Objective:
    """Return a metric with its direction; `val_NAME` is that of the validation rows.

    Raises UsageError, which lists the names, for an unknown one; StoreError like `models`.
    """
    direction = higher_is_better(name)
    if direction is None:
        known = metrics()
        direction = higher_is_better(name, {n: m.higher_is_better for n, m in known.items()})
        if direction is None:
            raise unknown("metric", name, known)
    return Objective(name, direction)


@contextlib.contextmanager
def database() -> Iterator[Database | None]:
    """Connect to the database, or yield None if it does not exist yet: reading creates no home.

    Raises StoreError like `jobs.connect`.
    """
    chosen = settings.load()
    if not chosen.has_database:
        yield None
        return
    with contextlib.closing(jobs.connect(chosen.database)) as db:
        yield db


def see_here(name: str) -> None:
    """Check that this machine can open a dataset itself.

    Raises UsageError if only workers have it, StoreError like `models`.
    """
    if ":" not in name and name not in datasets.names() and name in elsewhere():
        raise UsageError(
            f"Only workers have the dataset '{name}': jobs can use it, this machine cannot.",
            "Install the plugin that provides it.",
        )


def workers() -> list[Worker]:
    """Return the workers whose cards are used, the newest last.

    With a team's database this includes workers that have left, since they may come back. With
    embedded services it does not: a removed plugin disappears with its worker.
    """
    chosen = settings.load()
    with database() as db:
        found = jobs.workers(db, gone=not chosen.is_embedded) if db else []
    # Cards of live workers override those of workers that have left.
    return sorted(found, key=lambda worker: (worker.is_alive, worker.started_at))


def label_of(worker: Worker, model: str) -> str:
    """Return the label of the plugin that provides the model on a worker; empty if none does."""
    return next((card.plugin for card in worker.models if card.name == model), "")


def is_outdated(worker: Worker, model: str, dataset: str) -> bool:
    """Return whether a worker of this machine has imported other plugin versions than installed.

    Compared are the plugins of the model and of the dataset, and those that are called when a job
    has ended. Fields that a worker of an older version does not publish count as equal.
    """
    own = registry.catalogue()
    if owner := own.owners.get(model):
        card = next((card for card in worker.models if card.name == model), None)
        if card is None or card.plugin != owner.label or card.code not in (None, owner.code):
            return True
    any_card = worker.models[0] if worker.models else Card("", "")
    dataset = dataset.partition(":")[0]  # of a path, its scheme
    if dataset in own.datasets and any_card.versions is not None:
        known = any_card.versions.get(dataset)
        if known != registry.dataset_version(dataset):
            return True
    listeners = any_card.listeners
    if listeners is None:
        return False
    return any(listeners.get(name) != label for name, label in registry.listeners().items())


def other_version(workers: Sequence[Worker], model: str, plugin: str) -> str:
    """Return a warning if a worker has the model from another plugin version; otherwise empty."""
    for worker in workers:
        label = label_of(worker, model)
        if plugin and label and label != plugin:
            return (
                f"This job's model is checked against {plugin}, but the worker {worker.name} has "
                f"{label}: params and results may differ."
            )
    return ""


def other_dataset(workers: Sequence[Worker], dataset: str) -> str:
    """Return a warning if a worker has another version of the dataset; otherwise empty."""
    dataset = dataset.partition(":")[0]  # of a path, its scheme
    if dataset not in registry.catalogue().datasets:
        return ""
    version = registry.dataset_version(dataset)
    for worker in workers:
        published = (card.versions for card in worker.models)
        known = next((each.get(dataset) for each in published if each is not None), version)
        if known != version:
            return (
                f"The dataset '{dataset}' has the version {version} here, but {known} on the "
                f"worker {worker.name}: its contents may differ."
            )
    return ""


def in_process(name: str) -> None:
    """Check that this process can run the model itself.

    Raises UsageError if only workers have it.
    """
    if name not in registry.catalogue().models:
        offer = model(name)
        raise UsageError(
            f"The model '{name}' is not installed here.",
            f"Install {offer.plugin}, or omit --in-process: a worker then runs it.",
        )


def _cards(found: Sequence[Worker]) -> Iterator[Card]:
    return (card for worker in found for card in worker.models)


def _online(found: Sequence[Worker], name: str) -> list[Worker]:
    return [w for w in found if w.state == "online" and label_of(w, name)]
