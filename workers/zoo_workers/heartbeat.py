"""The pulse of one attempt: keeps its lease and passes on its news, whatever else is going on."""

from __future__ import annotations

import logging
import threading
import time

from zoo import jobs
from zoo.errors import ZooError
from zoo.jobs import Claim, Database
from zoo.settings import Settings
from zoo_workers import repeated_lines
from zoo_workers.workspace import Attempt

logger = logging.getLogger("zoo.worker")

LOOK_SECONDS = 0.1
"""Between two looks at what the runner has written."""
TELL_SECONDS = 0.5
"""Between two beats that carry news; without news there is one every `beat_seconds`."""
ASK_SECONDS = 1.0
"""Between two looks at whether the job is to be cancelled."""


class Pulse(threading.Thread):
    """Beats until `end`; `lost` and `cancelled` are for the watch to act on."""

    def __init__(
        self, db: Database, settings: Settings, claim: Claim, attempt: Attempt, asked: float
    ) -> None:
        """`asked` is when the claim was, by `time.monotonic`: from then on the lease counts."""
        super().__init__(daemon=True, name=f"pulse-{claim.job[:8]}")
        self.db = db
        self.settings = settings
        self.claim = claim
        self.attempt = attempt
        self.lost = False
        self.refused = False
        """Whether the database has answered that the job is not this attempt's any more."""
        self.cancelled = False
        self.beaten = self.asked = asked
        self._ended = threading.Event()
        self._failure = ""

    def run(self) -> None:
        try:
            while not (self.lost or self._ended.wait(LOOK_SECONDS)):
                try:
                    self._look()
                except jobs.JobNotFound:
                    self._refuse()
                except Exception as error:
                    # Of any kind: without beats the job would be lost to an error of a moment.
                    self._tolerate(error)
        finally:
            self.lost = self.lost or not self._ended.is_set()

    @property
    def has_begun(self) -> bool:
        """Whether it beats, or has done so."""
        return self.ident is not None

    def ensure(self) -> None:
        """Begin to beat, unless that is done: a thread costs more than the job of a moment."""
        if not self.has_begun:
            self.start()

    def end(self) -> None:
        """Stop beating; afterwards the attempt's news are the caller's.

        A beat that waits for an answer is waited for, but not longer than the claim is worth it.
        """
        self._ended.set()
        while self.is_alive() and not self.is_lost():
            self.join(LOOK_SECONDS)

    def is_lost(self) -> bool:
        """Whether somebody else has the job or will soon, also while a beat waits for an answer."""
        limit = self.settings.lease_seconds - 2 * self.settings.beat_seconds
        return self.lost or self.silent_for() > limit

    def silent_for(self) -> float:
        """Return the seconds since the last beat that the database has confirmed was sent."""
        return time.monotonic() - self.beaten

    def is_over(self) -> bool:
        """Whether the lease may have passed: then nothing may be written without asking."""
        return time.monotonic() > self.beaten + self.settings.lease_seconds

    def _look(self) -> None:
        now = time.monotonic()
        if now - self.beaten >= min(TELL_SECONDS, self.settings.beat_seconds):
            news = self.attempt.news()
            if news or now - self.beaten >= self.settings.beat_seconds:
                self._beat()
        if now - self.asked >= ASK_SECONDS:
            self.asked = now
            self.cancelled = self.cancelled or jobs.get(self.db, self.claim.job).cancel_requested

    def _beat(self) -> None:
        news = self.attempt.news()
        lease, at = self.settings.lease_seconds, time.monotonic()
        answer = jobs.beat(self.db, self.claim, lease=lease, update=news)
        repeated_lines.DATABASE.end()
        if answer is None:
            self._refuse()
            return
        self.attempt.told(news)
        self.cancelled = self.cancelled or answer
        if self._failure:
            logger.info("job %s: beats again", self.claim.job[:8])
            self._failure = ""
        # Not now: the database may have counted since the question was sent.
        self.beaten = self.asked = at

    def _refuse(self) -> None:
        self.refused = self.lost = True

    def _tolerate(self, error: Exception) -> None:
        """Tolerate errors, as of a database that is away, while the lease is valid."""
        is_known = isinstance(error, ZooError)
        text = str(error) if is_known else f"{type(error).__name__}: {error}"
        if text != self._failure:
            self._failure = text
            args = self.claim.job[:8], self.silent_for(), error if is_known else text
            logger.warning("job %s: no beat for %.0f s: %s", *args, exc_info=not is_known)
        self._ended.wait(min(1.0, self.settings.beat_seconds))
        self.lost = self.is_lost()
