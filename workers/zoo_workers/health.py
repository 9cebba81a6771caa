"""The health of a worker: what its machine is not fit for, and which jobs it leaves to others."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from zoo.settings import Settings
from zoo.storage import health

logger = logging.getLogger("zoo.worker")

MOST_FAULTS = 3
"""Jobs in a row whose attempts a worker has given back to be run elsewhere: then it pauses."""
PAUSE_SECONDS, LONGEST_PAUSE = 30.0, 600.0
"""Of the first pause; each further one is twice as long, up to a limit."""
AVOID_SECONDS = 60.0
"""A job that is to be run elsewhere is left to others for this long."""
MOST_AVOIDED = 200
ANY = ""
"""In the place of a model: all of them."""


@dataclass
class _Row:
    """Faults in a row, of one model or of all."""

    jobs: list[str] = field(default_factory=list)
    pauses: int = 0
    until: float = -math.inf
    why: str = ""


class Health:
    """Whether a worker takes jobs; safe to share between threads."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._fault = ""
        self._is_store = False
        """Whether it was the store of artifacts that could not be used."""
        self._rows: dict[str, _Row] = {}
        self._avoided: dict[str, float] = {}
        self._told = ""
        self.well = threading.Event()
        """Set while the worker takes jobs."""
        self.well.set()
        self.changed: Callable[[], None] = lambda: None
        """Called when the worker stops or begins to take jobs."""

    @property
    def is_sick(self) -> bool:
        """Whether the worker takes no job at all."""
        return bool(self._fault or self._is_paused(ANY))

    @property
    def trouble(self) -> str:
        """Why it takes no jobs, or none of some models; empty if it takes all."""
        if self._fault:
            return self._fault
        paused = [(model, row) for model, row in list(self._rows.items()) if self._is_paused(model)]
        told = [
            f"No job{f' of {model}' if model else ''} for {row.until - time.monotonic():.0f} s: "
            f"the last {MOST_FAULTS} failed here. {row.why}"
            for model, row in sorted(paused)
        ]
        return " ".join(told)

    def look(self, *, store: bool = False) -> str:
        """Check the machine now; returns what is wrong, a sentence, or nothing."""
        with self._lock:
            is_store = store or self._is_store
            found = health.fault(self._settings, store=is_store)
            self._is_store = bool(found) and is_store
            self._fault = found
        self._tell()
        return found

    def blame(self, model: str, job: str, why: str) -> None:
        """Note that an attempt was given back for another worker, a fault of a model or of ANY."""
        now = time.monotonic()
        with self._lock:
            self._avoided[job] = now + AVOID_SECONDS
            row = self._rows.setdefault(model, _Row())
            row.why = why
            row.jobs = [*[each for each in row.jobs if each != job], job][-MOST_FAULTS:]
            if len(row.jobs) == MOST_FAULTS:
                pause = min(PAUSE_SECONDS * 2.0 ** min(row.pauses, 10), LONGEST_PAUSE)
                row.until, row.pauses = now + pause, row.pauses + 1
                row.jobs = row.jobs[1:]  # after the pause, one fault is enough
        self._tell()

    def praise(self, model: str) -> None:
        """Note that a job of this model has succeeded here."""
        for each in (model, ANY):
            if each in self._rows and not self._is_paused(each):
                self._rows.pop(each, None)

    def fit_for(self, models: Mapping[str, str]) -> dict[str, str]:
        """Return those of the models whose jobs the worker takes now."""
        if self.is_sick:
            return {}
        return {name: models[name] for name in models if not self._is_paused(name)}

    def avoided(self) -> list[str]:
        """The jobs that are left to other workers now, by id."""
        if not self._avoided:
            return []
        now = time.monotonic()
        with self._lock:
            self._avoided = {job: at for job, at in self._avoided.items() if at > now}
            return list(self._avoided)[-MOST_AVOIDED:]

    def leaves(self, job: str, model: str) -> bool:
        """Whether a hint of this job is another worker's."""
        return self.is_sick or self._is_paused(model) or job in self.avoided()

    def _is_paused(self, model: str) -> bool:
        row = self._rows.get(model)
        return row is not None and time.monotonic() < row.until

    def _tell(self) -> None:
        """Log each change, once."""
        is_sick, trouble = self.is_sick, self.trouble
        kind = self._fault or " ".join(m for m in self._rows if self._is_paused(m)) or ""
        was_sick = not self.well.is_set()
        if is_sick:
            self.well.clear()
        if trouble and kind != self._told:
            logger.warning("this worker takes no jobs: %s", trouble)
        if was_sick and not is_sick:
            logger.info("this worker takes jobs again")
            self.well.set()
        self._told = kind
        if was_sick != is_sick:
            self.changed()
