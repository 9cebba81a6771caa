"""Workers, their GPUs and what waits for them, as frozen records."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from zoo import dataset_names
from zoo.jobs.cards import Card
from zoo.jobs.iso_times import with_iso_times
from zoo.jobs.queue_options import GPU


@dataclass(frozen=True)
class Gpu:
    """A GPU that a slot of a worker owns."""

    index: int
    """Its number in the order of the driver."""
    name: str
    memory_mb: int
    uuid: str = ""

    @classmethod
    def read(cls, stored: object) -> list[Gpu]:
        """Read GPUs as a worker of any version has stored them; what is none is left out."""
        found = []
        for each in stored if isinstance(stored, list) else ():
            with contextlib.suppress(TypeError, KeyError, ValueError):
                values = int(each["index"]), str(each["name"]), int(each["memory_mb"])
                found.append(cls(*values, uuid=str(each.get("uuid", ""))))
        return found

    def to_json(self) -> dict[str, str | int]:
        """Return the fields by name."""
        return dict(vars(self))


ALIVE = ("online", "sick", "draining")
"""The states of a worker that is there."""


def unwell_text(states: Mapping[str, int]) -> str:
    """Return the number of workers that take no job, `1 sick, 2 silent`; empty if there is none."""
    unwell = ((states.get(each, 0), each) for each in ("sick", "draining", "silent"))
    return ", ".join(f"{number} {state}" for number, state in unwell if number)


@dataclass(frozen=True)
class Worker:
    """A worker as it last announced itself."""

    TIMES = ("started_at", "beat_at")
    id: str
    name: str
    host: str
    pid: int
    pool: str
    slots: int
    busy: int
    state: str
    """`online`, `sick` (it takes no job: see `trouble`), `draining` or `stopped`; `silent` once its
    beats have stopped without a word."""
    version: str
    models: list[Card]
    started_at: float
    beat_at: float
    beat_seconds: float | None = None
    """Between two of its beats, as it said itself."""
    trouble: str | None = None
    """Why it takes no job, or none of some models."""
    gpus: Sequence[Gpu] = ()
    """The GPUs of its slots, of which each has at most one."""

    @property
    def is_alive(self) -> bool:
        return self.state in ALIVE

    @property
    def place(self) -> str:
        """Where it runs, `gpu1, pid 7`; empty if its name says so."""
        return "" if self.name == f"{self.host}-{self.pid}" else f"{self.host}, pid {self.pid}"

    def can_run(
        self, pool: str, model: str, dataset: str | None = None, device: str | None = None
    ) -> bool:
        """Whether it takes jobs of that pool and model, and has dataset and device if named."""
        return self.state == "online" and self.serves(pool, model, dataset, device)

    def serves(
        self, pool: str, model: str, dataset: str | None = None, device: str | None = None
    ) -> bool:
        """Whether it is there for such jobs, once it is well."""
        card = next((each for each in self.models if each.name == model), None)
        if card is None or self.pool != pool or not self.slots_for(device):
            return False
        # A worker of an older version does not say which datasets it has; files are nobody's own.
        known = card.datasets
        if dataset is None or known is None or dataset in known:
            return True
        scheme = dataset_names.scheme_of(dataset)
        return scheme in known if scheme else ":" in dataset

    def slots_for(self, device: str | None) -> int:
        """Return the number of slots that run jobs for the device."""
        return len(self.gpus) if device == GPU else self.slots

    def to_json(self) -> dict[str, Any]:
        found = {name: getattr(self, name) for name in self.__dataclass_fields__}
        models, gpus = ([each.to_json() for each in some] for some in (self.models, self.gpus))
        return with_iso_times(found | {"models": models, "gpus": gpus}, self.TIMES)


@dataclass(frozen=True)
class Waiting:
    """The jobs of one pool, model and dataset that are queued and due."""

    pool: str
    model: str
    dataset: str
    jobs: int
    seconds: float
    """How long the first of them has been waiting."""
    is_added: bool = False
    """Whether all are on versions of an added dataset, which any worker can fetch."""
    device: str | None = None
    """`gpu` if they need one."""

    @property
    def needed_dataset(self) -> str | None:
        """The dataset that a worker must have itself; None if any worker can get it."""
        return None if self.is_added else self.dataset


@dataclass(frozen=True)
class Pool:
    """A named set of workers that jobs ask for, or that somebody has paused."""

    TIMES = ("paused_at",)
    name: str
    paused_at: float | None
    """Since when none of its jobs is claimed; None while they are."""
    queued: int
    running: int
    held: int = 0
    """Of the queued jobs, those that stay until they are released."""
