"""The health of a worker: which models its machine can run now, and which jobs it avoids."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from zoo.settings import Settings
from zoo.storage import health

logger = logging.getLogger("zoo.worker")

MAX_FAULTS = 3
"""Number of consecutive jobs given back to be run elsewhere, after which the worker pauses."""
PAUSE_SECONDS, MAX_PAUSE_SECONDS = 30.0, 600.0
"""Length of the first pause, which doubles each time, and its limit."""
AVOID_SECONDS = 60.0
"""Time for which a job that is to be run elsewhere is not claimed here."""
MAX_AVOIDED = 200
"""Number of jobs avoided at a time."""
ALL_MODELS = ""
"""Stands for all models in place of one."""


@dataclass
class _Streak:
    """Consecutive faults of one model, or of all models."""

    jobs: list[str] = field(default_factory=list)
    pauses: int = 0
    until: float = -math.inf
    error: str = ""


class Health:
    """Decides whether a worker claims jobs; threads may share it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.models: Collection[str] = ()
        """All models of the worker."""
        self.broken_plugins = ""
        """A sentence about plugins of this machine that cannot be imported; empty if all can."""
        self._lock = threading.Lock()
        self._fault = ""
        self._is_store_fault = False
        """Whether the artifact store could not be used."""
        self._streaks: dict[str, _Streak] = {}
        self._avoided: dict[str, float] = {}
        self._logged = ""
        self.healthy = threading.Event()
        """Set while the worker claims jobs."""
        self.healthy.set()
        self.on_change: Callable[[], None] = lambda: None
        """Called when the worker stops or starts to claim jobs."""

    @property
    def is_sick(self) -> bool:
        """Whether the worker claims no job at all."""
        if self._fault or self._is_paused(ALL_MODELS):
            return True
        return bool(self.models) and all(self._is_paused(each) for each in self.models)

    @property
    def trouble(self) -> str:
        """Why it claims no jobs, or none of some models; empty if it claims all."""
        if self._fault:
            return self._fault
        streaks = sorted(self._streaks.items(), key=lambda each: each[0])
        sentences = [
            f"No job{f' of {model}' if model else ''} for {streak.until - time.monotonic():.0f} s: "
            f"the last {MAX_FAULTS} failed here. {streak.error}"
            for model, streak in streaks
            if self._is_paused(model)
        ]
        return " ".join([*sentences, self.broken_plugins]).strip()

    def check(self, *, store: bool = False) -> str:
        """Check the machine, with the artifact `store` or not; return the fault, or ""."""
        with self._lock:
            with_store = store or self._is_store_fault
            fault = health.fault(self._settings, store=with_store)
            self._is_store_fault = bool(fault) and with_store
            self._fault = fault
        self._log_change()
        return fault

    def record_fault(self, model: str, job: str, error: str) -> None:
        """Record that a job was given back to another worker, a fault of a model or ALL_MODELS."""
        now = time.monotonic()
        with self._lock:
            self._avoided[job] = now + AVOID_SECONDS
            streak = self._streaks.setdefault(model, _Streak())
            streak.error = error
            streak.jobs = [*[each for each in streak.jobs if each != job], job][-MAX_FAULTS:]
            if len(streak.jobs) == MAX_FAULTS:
                pause = min(PAUSE_SECONDS * 2.0 ** min(streak.pauses, 10), MAX_PAUSE_SECONDS)
                streak.until, streak.pauses = now + pause, streak.pauses + 1
                streak.jobs = streak.jobs[1:]  # after the pause, one fault is enough
        self._log_change()

    def record_success(self, model: str) -> None:
        """Record that a job of this model has succeeded here: a streak of faults is over."""
        for each in (model, ALL_MODELS):
            if each in self._streaks and not self._is_paused(each):
                self._streaks.pop(each, None)

    def usable_models(self, models: Mapping[str, str]) -> dict[str, str]:
        """Return those of the models whose jobs the worker claims now."""
        if self.is_sick:
            return {}
        return {name: models[name] for name in models if not self._is_paused(name)}

    def avoided_jobs(self) -> list[str]:
        """Return the ids of jobs that are left to other workers now."""
        if not self._avoided:
            return []
        now = time.monotonic()
        with self._lock:
            self._avoided = {job: at for job, at in self._avoided.items() if at > now}
            return list(self._avoided)[-MAX_AVOIDED:]

    def avoids(self, job: str, model: str) -> bool:
        """Return whether a hint of this job is better sent to another worker."""
        return self.is_sick or self._is_paused(model) or job in self.avoided_jobs()

    def _is_paused(self, model: str) -> bool:
        streak = self._streaks.get(model)
        return streak is not None and time.monotonic() < streak.until

    def _log_change(self) -> None:
        """Log each change once."""
        is_sick, trouble = self.is_sick, self.trouble
        key = self._fault or " ".join(m for m in self._streaks if self._is_paused(m)) or ""
        was_sick = not self.healthy.is_set()
        if is_sick:
            self.healthy.clear()
        if key and key != self._logged:
            logger.warning("this worker claims no jobs: %s", trouble)
        if was_sick and not is_sick:
            logger.info("this worker claims jobs again")
            self.healthy.set()
        self._logged = key
        if was_sick != is_sick:
            self.on_change()
