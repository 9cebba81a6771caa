"""Measures the results of before metrics were measured, from their stored predictions."""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable

from zoo.errors import ArtifactError, StoreError
from zoo.jobs import Database, Job, earlier_results
from zoo.settings import Settings

logger = logging.getLogger("zoo.worker")

START_SECONDS = 60.0
"""Time after the start of the worker; most workers of tests are gone by then."""
WINDOW = 2000
"""Numbers of jobs that one query looks at."""
PAUSE_SECONDS = 0.2
"""Between two results; ten times as long while a slot is busy."""


class EarlierMetrics(threading.Thread):
    """Goes through all earlier results once, the newest first, and ends."""

    def __init__(self, db: Database, settings: Settings, is_busy: Callable[[], bool]) -> None:
        super().__init__(daemon=True, name="earlier metrics")
        self.db = db
        self.settings = settings
        self.is_busy = is_busy
        self._is_over = threading.Event()

    def run(self) -> None:
        if self._is_over.wait(START_SECONDS):
            return
        try:
            measured = self.measure_all()
        except StoreError as error:  # the next worker goes on
            logger.warning("%s", error)
            return
        if measured:
            logger.info("measured %d results of before metrics were measured", measured)

    def end(self) -> None:
        """End after the current result."""
        self._is_over.set()

    def measure_all(self) -> int:
        """Measure every result that lacks metrics; return their number.

        Raises StoreError if the database cannot be used.
        """
        measured, until = 0, earlier_results.newest_number(self.db)
        while until > 0 and not self._is_over.is_set():
            found = earlier_results.list_unmeasured(self.db, until - WINDOW, until)
            # Other workers do the same: few begin with the same result.
            random.shuffle(found)
            for job in found:
                measured += self._measure(job)
                pause = PAUSE_SECONDS * (10 if self.is_busy() else 1)
                if self._is_over.wait(pause):
                    break
            until -= WINDOW
        return measured

    def _measure(self, job: Job) -> bool:
        from zoo.results.predictions import load_predictions
        from zoo.training import classification_metrics as measuring

        try:
            found = load_predictions(self.settings, job)
        except ArtifactError:  # its files are gone
            return False
        names, positive = job.class_names, job.spec.get("positive")
        place = names.index(positive) if positive in names else 1
        labels, predicted, n = found.labels, found.predicted, len(names)
        matrix = measuring.confusion_matrix(labels, predicted, n)
        metrics = measuring.from_counts(matrix) | measuring.from_probabilities(
            labels, predicted, found.probabilities, n, place
        )
        earlier_results.add_metrics(self.db, job.id, metrics)
        return True
