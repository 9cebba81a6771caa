"""The checkpoints of one attempt on this machine: saved by its runner, and the one it starts from.

The worker stores those that were saved (`checkpoint_store.py`).
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple


class SavedCheckpoint(NamedTuple):
    """A checkpoint that the runner has saved."""

    name: str
    """Its folder in `LocalCheckpoints.folder`: 1, 2, ..."""
    step: int
    total: int | None
    unit: str | None
    at: float
    """`time.monotonic` of when it was saved."""


class LocalCheckpoints:
    """Folders of checkpoints, and what the runner has reported of them."""

    def __init__(self, workspace: Path) -> None:
        """The folders are in that of the attempt; they need not exist."""
        self.folder = workspace / "checkpoints"
        """Checkpoints that the runner has saved and the worker has not stored yet."""
        self.earlier = workspace / "earlier"
        """The checkpoint that the training starts from."""
        self._job = workspace.name.partition("-")[0]
        self._owner = self._job
        self.start: dict[str, Any] = {}
        """Progress of a training that goes on from a checkpoint, before its first report."""
        self.has_resumed = False
        """Whether the training goes on from `earlier`."""
        self.resumed_from: dict[str, Any] | None = None
        """That checkpoint, {"attempt", "step", "exact"}, until the row has it; with the "job" of
        one that this job has continued."""
        self._saved: SavedCheckpoint | None = None

    def start_from(self, checkpoint: Mapping[str, Any]) -> None:
        """Have the progress begin at the step of a checkpoint instead of at zero."""
        known = {name: checkpoint[name] for name in ("step", "total", "unit")}
        self._owner = str(checkpoint["where"]).partition("/")[0]
        self.start = {**known, "metrics": {}, "from_step": checkpoint["step"]}

    def apply_saved(self, message: Mapping[str, Any]) -> None:
        """Note that the runner has saved one."""
        facts = (message[name] for name in ("checkpoint", "step", "total", "unit", "at"))
        self._saved = SavedCheckpoint(*facts)

    def apply_resumed(self, resumed_from: Mapping[str, Any]) -> None:
        """Note that the training goes on from the earlier one."""
        self.has_resumed = True
        other = {} if self._owner == self._job else {"job": self._owner}
        self.resumed_from = {**resumed_from, **other}

    def take_saved(self) -> SavedCheckpoint | None:
        """Return the newest one that was saved since the last call, if there is one."""
        saved, self._saved = self._saved, None
        return saved

    def remove(self, up_to: str) -> None:
        """Remove a checkpoint and those saved before it."""
        with contextlib.suppress(FileNotFoundError):
            for each in self.folder.iterdir():
                if each.name.isdigit() and int(each.name) <= int(up_to):
                    shutil.rmtree(each, ignore_errors=True)
