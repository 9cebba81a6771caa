"""The pulse of one attempt: keeps its lease and passes on its news, whatever else is going on."""

from __future__ import annotations

import logging
import threading
import time

from zoo import jobs
from zoo.errors import StoreError
from zoo.jobs import Claim, Database
from zoo.settings import Settings
from zoo_workers.attempt import Attempt

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
        self.cancelled = False
        self.beaten = self.asked = asked
        self._ended = threading.Event()
        self._borne = ""

    def run(self) -> None:
        while not (self.lost or self._ended.wait(LOOK_SECONDS)):
            try:
                self._look()
            except StoreError as error:
                self._bear(error)

    @property
    def has_begun(self) -> bool:
        """Whether it beats, or has done so."""
        return self.ident is not None

    def ensure(self) -> None:
        """Begin to beat, unless that is done: a thread costs more than the job of a moment."""
        if not self.has_begun:
            self.start()

    def end(self) -> None:
        """Stop beating; afterwards the attempt's news are the caller's."""
        self._ended.set()
        if self.has_begun:
            self.join()

    def is_lost(self) -> bool:
        """Whether somebody else has the job or will soon, also while a beat waits for an answer."""
        silent = time.monotonic() - self.beaten
        return self.lost or silent > self.settings.lease_seconds - 2 * self.settings.beat_seconds

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
        answer = jobs.beat(self.db, self.claim, lease=lease, news=news)
        if answer is None:
            self.lost = True
            return
        self.attempt.told(news)
        self.cancelled = self.cancelled or answer
        if self._borne:
            logger.info("job %s: beats again", self.claim.job[:8])
            self._borne = ""
        # Not now: the database may have counted since the question was sent.
        self.beaten = self.asked = at

    def _bear(self, error: StoreError) -> None:
        """Bear with a database that is away, as long as nobody else can have the job."""
        if error.message != self._borne:
            self._borne = error.message
            silent = time.monotonic() - self.beaten
            told = "job %s: no beat for %.0f s: %s"
            logger.warning(told, self.claim.job[:8], silent, error.message)
        self._ended.wait(min(1.0, self.settings.beat_seconds))
        self.lost = self.is_lost()
        if self.lost:
            told = "job %s: given up here, for another worker may have it soon"
            logger.warning(told, self.claim.job[:8])
