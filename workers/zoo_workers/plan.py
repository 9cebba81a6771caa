"""The options of a worker."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from dataclasses import dataclass

from zoo.jobs.worker_records import Gpu


@dataclass(frozen=True)
class Plan:
    """The options of a worker."""

    pool: str = "default"
    slots: int = 1
    models: Sequence[str] = ("*",)
    """Patterns; the worker runs jobs of the models that match one and that it can load."""
    gpus: Sequence[Gpu] = ()
    """GPUs, each of which one slot owns; the other slots have none."""
    name: str = ""
    """Empty: HOST-PID."""

    def runs(self, model: str) -> bool:
        """Return whether the worker may run jobs of this model."""
        return any(fnmatch.fnmatch(model, each) for each in self.models)

    @property
    def slots_text(self) -> str:
        """The slots for the log: `4 slots (2 with a GPU)`."""
        slots = "1 slot" if self.slots == 1 else f"{self.slots} slots"
        return slots + (f" ({len(self.gpus)} with a GPU)" if self.gpus else "")
