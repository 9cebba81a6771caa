"""ASHA as published, in plain Python: what Zoo's rows must decide, and what it saves.

Li et al. 2018, "A System for Massively Parallel Hyperparameter Tuning", arXiv 1810.05934,
Algorithm 2. The result of a trial does not depend on when it runs, so one record of complete
trainings says what any schedule of them would find, and at what cost.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass
class Asha:
    """The algorithm's state: the metrics of each rung, larger is better."""

    rungs: Sequence[int]
    """Resource of each rung, the complete training last."""
    reduction_factor: int
    trials: int
    """Number of configurations that the bottom rung can draw, 0, 1, ... in order."""
    started: int = 0
    values: list[dict[int, float]] = field(default_factory=list)
    """Of each rung, the metrics by trial."""
    promoted: list[set[int]] = field(default_factory=list)
    """Of each rung, the trials that went on from it."""

    def __post_init__(self) -> None:
        self.values = [{} for _ in self.rungs]
        self.promoted = [set() for _ in self.rungs]

    def report(self, trial: int, rung: int, value: float) -> None:
        """Update a trial in a rung with its metric."""
        self.values[rung][trial] = value

    def get_job(self) -> tuple[int, int] | None:
        """Return the next trial and the rung that it runs to; None if there is none now."""
        for rung in reversed(range(len(self.rungs) - 1)):
            best = self.promotable(rung)
            if best is not None:
                self.promoted[rung].add(best)
                return best, rung + 1
        if self.started == self.trials:
            return None
        self.started += 1
        return self.started - 1, 0

    def promotable(self, rung: int) -> int | None:
        """Return the best trial in the top 1/reduction_factor of a rung that was not promoted."""
        found = self.values[rung]
        most = len(found) // self.reduction_factor
        # A diverged trial (NaN) comes last; of equal ones the older is first.
        ranked = sorted(found, key=lambda t: (-_or_worst(found[t]), t))[:most]
        able = [t for t in ranked if t not in self.promoted[rung] and not math.isnan(found[t])]
        return able[0] if able else None


def _or_worst(value: float) -> float:
    return -math.inf if math.isnan(value) else value


@dataclass(frozen=True)
class Training:
    """The record of one complete training."""

    values: Sequence[float]
    """Metric after each epoch; larger is better."""
    seconds: float
    """Processor time of one epoch."""


@dataclass(frozen=True)
class Found:
    """The result of a simulated sweep."""

    best: float
    """Best metric at the end of a complete training."""
    counts: list[int]
    """Trials that came to each rung."""
    seconds: float
    """Processor time of all trials."""


def simulate(
    trainings: Sequence[Training], rungs: Sequence[int], reduction_factor: int, workers: int
) -> Found:
    """Return what ASHA finds with this number of workers; `rungs` ends with the full length."""
    asha = Asha(rungs, reduction_factor, len(trainings))
    running: list[tuple[float, int, int]] = []
    at = spent = 0.0
    while True:
        while len(running) < workers and (job := asha.get_job()):
            trial, rung = job
            epochs = rungs[rung] - (rungs[rung - 1] if rung else 0)
            seconds = epochs * trainings[trial].seconds
            spent += seconds
            heapq.heappush(running, (at + seconds, trial, rung))
        if not running:
            break
        at, trial, rung = heapq.heappop(running)
        asha.report(trial, rung, trainings[trial].values[rungs[rung] - 1])
    finished = [value for value in asha.values[-1].values() if not math.isnan(value)]
    best = max(finished, default=math.nan)
    return Found(best, [len(each) for each in asha.values], spent)
