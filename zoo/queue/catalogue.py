"""What can be submitted: the models and datasets of this machine's plugins and of the workers."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from zoo import jobs, settings
from zoo.data import datasets
from zoo.errors import UsageError, unknown
from zoo.jobs import Database, Worker
from zoo.model import Params
from zoo.plugins import metadata, registry
from zoo.plugins.metadata import Card

OF_WORKER = ("datasets", "versions", "listeners")
"""What stands in a card that is about the worker, not about the model."""


@dataclass(frozen=True)
class Offer:
    """A model, from where this machine knows it, and the workers that have it."""

    card: Card
    here: bool
    """Whether a plugin of this machine brings it; else the card is a worker's."""
    workers: list[Worker] = field(default_factory=list)
    """Those that are online and have it, of any pool."""

    @property
    def plugin(self) -> str:
        """Distribution and version of the plugin that the card is of."""
        return str(self.card["plugin"])

    @functools.cached_property
    def params(self) -> type[Params]:
        """The model's params: the plugin's own here, else rebuilt from the card."""
        name = self.card["name"]
        return registry.model(name).Params if self.here else metadata.params(self.card)

    def to_json(self) -> dict[str, Any]:
        """The card, and who can run the model, as scripts see it."""
        card = {name: value for name, value in self.card.items() if name not in OF_WORKER}
        shown = [
            {"name": w.name, "pool": w.pool, "plugin": label_of(w, self.card["name"])}
            for w in self.workers
        ]
        return card | {"here": self.here, "workers": shown}


def models(known: Sequence[Worker] | None = None) -> dict[str, Offer]:
    """Every model of this machine and of these workers, by its name; by default of all workers.

    Raises StoreError if the workers' cards cannot be read.
    """
    found = workers() if known is None else known
    published = {card["name"]: card for card in _cards(found)}
    own = {name: registry.card(name) for name in registry.catalogue().models}
    return {
        name: Offer(card, name in own, _online(found, name))
        for name, card in sorted((published | own).items())
    }


def model(name: str) -> Offer:
    """The model of that name: this machine's own, else as workers publish it.

    Raises UsageError, with the nearest name, if there is none; StoreError like `models`.
    """
    own = registry.catalogue().models
    if name in own:
        # The workers are not asked: what is here needs no database.
        return Offer(registry.card(name), True)
    known = models()
    if name not in known:
        raise unknown("model", name, known, "zoo models")
    return known[name]


def dataset(name: str) -> str:
    """Give a dataset's canonical name: this machine's own, a file's, or one that a worker has.

    Raises UsageError for an unknown name or a path where there is nothing; StoreError like
    `models`.
    """
    if ":" in name or name in datasets.names():
        return datasets.resolve(name)
    published = elsewhere()
    if name not in published:
        raise unknown("dataset", name, [*datasets.names(), *published], "zoo data")
    return name


def is_to_fetch(name: str, *, contents: str | None = None) -> bool:
    """Whether a dataset is this machine's own and not in its cache: may be a download.

    `contents` as for `datasets.raw`.
    """
    is_own = ":" in name or name in datasets.names()
    return is_own and not datasets.is_cached(name, contents=contents)


def elsewhere() -> dict[str, str]:
    """The datasets that only workers have, each with its summary; raises like `models`."""
    own = datasets.names()
    found = {name: text for c in _cards(workers()) for name, text in c.get("datasets", {}).items()}
    return {name: text for name, text in sorted(found.items()) if name not in own}


@contextlib.contextmanager
def database() -> Iterator[Database | None]:
    """Connect to the database, or yield None where there is none yet: reading creates no home.

    Raises StoreError like `jobs.connect`.
    """
    chosen = settings.load()
    if not chosen.has_database:
        yield None
        return
    with contextlib.closing(jobs.connect(chosen.database)) as db:
        yield db


def see_here(name: str) -> None:
    """See that this machine can open a dataset itself.

    Raises UsageError if only workers have it, StoreError like `models`.
    """
    if ":" not in name and name not in datasets.names() and name in elsewhere():
        raise UsageError(
            f"Only workers have the dataset '{name}': jobs can ask for it, this machine cannot.",
            "Install the plugin that brings it here.",
        )


def workers() -> list[Worker]:
    """The workers whose cards count, the newest last.

    A team's go and come back, so what they published stays known; on one machine it goes with its
    worker, like the plugin that was removed.
    """
    chosen = settings.load()
    with database() as db:
        beat, gone = chosen.beat_seconds, not chosen.is_embedded
        found = jobs.workers(db, beat=beat, gone=gone) if db else []
    # One that is there knows better than one that has gone.
    return sorted(found, key=lambda worker: (worker.is_alive, worker.started_at))


def label_of(worker: Worker, model: str) -> str:
    """The label of the plugin by which a worker has the model; empty if it has it not."""
    return next((str(card["plugin"]) for card in worker.models if card["name"] == model), "")


def is_outdated(worker: Worker, model: str, dataset: str) -> bool:
    """Whether a worker of this machine has imported other plugins than would be imported now.

    Those of the model and of the dataset, and those that are called when a job has ended. What a
    worker of an older version does not say is taken to be the same.
    """
    own = registry.catalogue()
    cards = {card["name"]: card for card in worker.models}
    any_card: Card = next(iter(cards.values()), {})
    if owner := own.owners.get(model):
        card = cards.get(model, {})
        if (card.get("plugin"), card.get("code", owner.code)) != (owner.label, owner.code):
            return True
    if dataset in own.datasets and "versions" in any_card:
        known = any_card["versions"].get(dataset)
        if known != registry.dataset_version(dataset):
            return True
    listeners = any_card.get("listeners")
    if listeners is None:
        return False
    return any(listeners.get(name) != label for name, label in registry.listeners().items())


def other_version(workers: Sequence[Worker], model: str, plugin: str) -> str:
    """Say, in a sentence, that a worker has the model by another plugin than this; else nothing."""
    for worker in workers:
        label = label_of(worker, model)
        if plugin and label and label != plugin:
            return (
                f"This job's model is checked against {plugin}, but the worker {worker.name} has "
                f"{label}: params and results may differ."
            )
    return ""


def other_dataset(workers: Sequence[Worker], dataset: str) -> str:
    """Say, in a sentence, that a worker reads a dataset by other code than here; else nothing."""
    if dataset not in registry.catalogue().datasets:
        return ""
    version = registry.dataset_version(dataset)
    for worker in workers:
        cards: list[Card] = worker.models
        known = next((c["versions"].get(dataset) for c in cards if "versions" in c), version)
        if known != version:
            return (
                f"The dataset '{dataset}' has the version {version} here, but {known} on the "
                f"worker {worker.name}: its contents may differ."
            )
    return ""


def in_process(name: str) -> None:
    """See that this process can run the model itself.

    Raises UsageError if only workers have it.
    """
    if name not in registry.catalogue().models:
        offer = model(name)
        raise UsageError(
            f"The model '{name}' is not installed here.",
            f"Install {offer.plugin}, or leave --in-process away: a worker then runs it.",
        )


def _cards(found: Sequence[Worker]) -> Iterator[Card]:
    return (card for worker in found for card in worker.models)


def _online(found: Sequence[Worker], name: str) -> list[Worker]:
    return [w for w in found if w.state == "online" and label_of(w, name)]
