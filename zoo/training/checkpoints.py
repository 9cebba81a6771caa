"""Checkpoints: what a training needs to go on after an interruption, with the same bits."""

from __future__ import annotations

import contextlib
import logging
import math
import random
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoo.canonical_json import canonical, read_json
from zoo.errors import ArtifactError, UsageError, reason
from zoo.storage import saved_files

log = logging.getLogger(__name__)

STATE = "checkpoint.json"
"""Step, curves and random states; beside it is the model's own folder."""
OWN = "model"
MAX_SHARE = 0.01
"""Largest share of the training's time that saving checkpoints may take."""
MOST_WAITING = 1
"""Checkpoints that wait for the worker to store them; with more, none is due."""


class Paused(BaseException):
    """Leaves a training that has come to the epoch at which it pauses.

    Not an Exception, so that no model takes it for an error of its own.
    """

    def __init__(self, metrics: Mapping[str, Any]) -> None:
        """`metrics` are those of the epoch, {"step", "total", "unit", ...}; None: not finite."""
        super().__init__(f"paused at epoch {metrics.get('step')}")
        self.metrics = metrics


@dataclass(frozen=True)
class Place:
    """Where the checkpoints of an attempt go and come from."""

    folder: Path
    """Folder for new ones, numbered 1, 2, ...; the worker takes them away. Made for the first."""
    earlier: Path | None = None
    """The newest one of an earlier attempt, verified."""
    attempt: int = 0
    """The attempt that has saved the earlier one."""
    seconds: float = 30.0
    """Least time between two; infinite for none."""
    most_bytes: float = math.inf
    """Size of the largest one that is kept; after a larger one no more are taken."""
    pause_at: float = math.inf
    """The epoch at which the training saves a checkpoint and pauses."""
    on_saved: Callable[[str, int], None] = lambda name, step: None
    """Called with the name of a new one in the folder, and its step."""
    on_resumed: Callable[[Mapping[str, Any]], None] = lambda resumed: None
    """Called with {"attempt", "step", "exact"} once the model goes on from the earlier one."""
    on_history: Callable[[Sequence[Mapping[str, Any]]], None] = lambda steps: None
    """Called before that with the steps that the earlier attempts have reported."""


class Checkpoints:
    """The `zoo.Checkpoint` of a job."""

    def __init__(
        self,
        place: Place,
        key: str,
        environment: Mapping[str, Any],
        steps: list[dict[str, Any]],
        *,
        exact: bool = False,
    ) -> None:
        """Prepare the checkpoints of an attempt.

        Args:
            place: Where they go and come from.
            key: Hash of spec, code and data; a checkpoint with another one is not used.
            environment: What decides the bits of a result beside that: versions and processor.
            steps: The curves so far, which `latest` prepends to those of an earlier attempt.
            exact: Whether to begin anew in another environment.
        """
        self._place = place
        self._key = key
        self._environment = environment
        self._steps = steps
        self._exact = exact
        self._count = 0
        self._saved_at = self._began = time.monotonic()
        self._cost = 0.0
        self._is_too_large = False
        self.seconds_before = 0.0
        """Time that earlier attempts have spent on the training, up to the checkpoint."""

    def latest(self) -> Path | None:
        """Return the model's folder of the newest checkpoint; None to begin anew."""
        folder = self._place.earlier
        if folder is None:
            return None
        try:
            state = _read_state(folder)
        except ArtifactError as error:
            log.warning("%s It begins anew.", error)
            return None
        if state["key"] != self._key:
            log.warning("The checkpoint is of another training, code or data: it begins anew.")
            return None
        other = _differences(state["environment"], self._environment)
        if other and self._exact:
            log.warning("It begins anew (--exact): the checkpoint is from %s.", other)
            return None
        if other:
            log.warning("The result may differ in its last bits: the checkpoint is from %s.", other)
        saved_files.check_loadable(folder / OWN)
        self._steps[:0] = state["history"]
        self.seconds_before = state["seconds"]
        _restore_random(state)
        self._place.on_history(state["history"])
        self._place.on_resumed(
            {"attempt": self._place.attempt, "step": state["step"], "exact": not other}
        )
        if self._is_at_pause():  # its worker has died between the checkpoint and the pause
            raise self._paused()
        return folder / OWN

    def is_due(self) -> bool:
        """Return whether a checkpoint is wanted now."""
        if self._is_at_pause():
            return True
        wait = max(self._place.seconds, self._cost / MAX_SHARE)
        if self._is_too_large or time.monotonic() < self._saved_at + wait:
            return False
        return len(_waiting(self._place.folder)) <= MOST_WAITING

    @contextlib.contextmanager
    def save(self, step: int) -> Iterator[Path]:
        """Provide an empty folder for the model; the checkpoint counts once it is left.

        Raises Paused then, if the training is to pause at this epoch.
        """
        began = time.monotonic()
        self._count += 1
        name = str(self._count)
        unfinished = self._place.folder / f"{name}.new"
        (unfinished / OWN).mkdir(parents=True)
        yield unfinished / OWN
        saved_files.check_loadable(unfinished / OWN)
        state = {
            "v": 1,
            "key": self._key,
            "environment": dict(self._environment),
            "step": step,
            "history": self._steps,
            "seconds": self.seconds_before + time.monotonic() - self._began,
            **_random_state(),
        }
        (unfinished / STATE).write_text(canonical(state) + "\n", encoding="utf-8")
        if (size := _size(unfinished)) > self._place.most_bytes:
            self._is_too_large = True
            shutil.rmtree(unfinished)
            text = "No checkpoints are kept: one takes %.0f MB, and the limit is %.0f MB."
            log.warning(text, size / 2**20, self._place.most_bytes / 2**20)
        else:
            unfinished.rename(self._place.folder / name)
            self._saved_at = time.monotonic()
            self._cost = self._saved_at - began
            self._place.on_saved(name, step)
        if self._is_at_pause():
            raise self._paused()

    def _is_at_pause(self) -> bool:
        last = self._steps[-1] if self._steps else {}
        return last.get("unit") == "epoch" and bool(last["step"] >= self._place.pause_at)

    def _paused(self) -> Paused:
        at = [step for step in self._steps if step["step"] >= self._place.pause_at]
        return Paused(next(step for step in at if step["unit"] == "epoch"))

    def began(self) -> None:
        """Record that `fit` begins now."""
        self._saved_at = self._began = time.monotonic()


def _waiting(folder: Path) -> list[Path]:
    """List the checkpoints that the worker has not taken away yet."""
    try:
        return [each for each in folder.iterdir() if each.name.isdigit()]
    except FileNotFoundError:  # the first one makes it
        return []


def _size(folder: Path) -> int:
    return sum(each.stat().st_size for each in folder.rglob("*") if each.is_file())


def _read_state(folder: Path) -> dict[str, Any]:
    try:
        state = read_json((folder / STATE).read_bytes())
        if state["v"] != 1:
            raise ValueError(f"it has the version {state['v']}")
        for name in ("key", "environment", "step", "history", "seconds", "python", "numpy"):
            state[name]
    except (OSError, UsageError, ValueError, KeyError, TypeError) as error:
        raise ArtifactError(f"{folder / STATE} is no checkpoint: {reason(error)}.") from None
    found: dict[str, Any] = state
    return found


def _differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Describe how the environment of a checkpoint differs; empty if it does not."""
    differing = [name for name in sorted({*then, *now}) if then.get(name) != now.get(name)]
    return ", ".join(f"{name} {then.get(name)} (here {now.get(name)})" for name in differing)


def _random_state() -> dict[str, Any]:
    import numpy as np

    name, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)
    version, internal, next_gauss = random.getstate()
    return {
        "python": [version, list(internal), next_gauss],
        "numpy": [name, np.asarray(keys).tolist(), position, has_gauss, gauss],
    }


def _restore_random(state: Mapping[str, Any]) -> None:
    import numpy as np

    version, internal, next_gauss = state["python"]
    random.setstate((version, tuple(internal), next_gauss))
    name, keys, position, has_gauss, gauss = state["numpy"]
    np.random.set_state((name, np.array(keys, dtype="uint32"), position, has_gauss, gauss))
