"""The heartbeat of one attempt: extends its lease and reports its progress."""

from __future__ import annotations

import logging
import threading
import time

from zoo import jobs
from zoo.errors import ZooError
from zoo.jobs import Claim, Database, Requests
from zoo.settings import Settings
from zoo_workers import repeated_lines
from zoo_workers.workspace import Workspace

logger = logging.getLogger("zoo.worker")

POLL_SECONDS = 0.1
"""Interval at which the runner's output is read."""
UPDATE_SECONDS = 0.5
"""Interval of heartbeats that carry progress; without progress it is `beat_seconds`."""
CANCEL_CHECK_SECONDS = 1.0
"""Interval at which the job's row is checked for a request to cancel or to stop."""


class Heartbeat(threading.Thread):
    """Sends heartbeats until `end`; the execution acts on `lost` and `cancelled`."""

    def __init__(
        self,
        db: Database,
        settings: Settings,
        claim: Claim,
        workspace: Workspace,
        claimed_at: float,
    ) -> None:
        """`claimed_at` is the `time.monotonic` before the claim: the start of the lease."""
        super().__init__(daemon=True, name=f"heartbeat-{claim.job[:8]}")
        self.db = db
        self.settings = settings
        self.claim = claim
        self.workspace = workspace
        self.lost = False
        """Whether the attempt must not go on: the lease is nearly over, or the claim refused."""
        self.refused = False
        """Whether the database has replied that the job no longer belongs to this attempt."""
        self.cancelled = False
        """Whether somebody has asked to cancel the job."""
        self.stop_requested = False
        """Whether somebody has asked to end its training with what it has learned so far."""
        self.pruned = False
        """Whether it has fallen behind the other trials of its sweep."""
        self._confirmed = self._checked = claimed_at
        self._ended = threading.Event()
        self._error = ""

    def run(self) -> None:
        try:
            while not (self.lost or self._ended.wait(POLL_SECONDS)):
                try:
                    self._poll()
                except jobs.JobNotFound:
                    self._refuse()
                except Exception as error:
                    # Of any type: a transient error must not cost the job its lease.
                    self._tolerate(error)
        finally:
            self.lost = self.lost or not self._ended.is_set()

    @property
    def has_begun(self) -> bool:
        """Whether the thread was started."""
        return self.ident is not None

    def ensure(self) -> None:
        """Start the thread unless it runs: starting one costs more than a short job."""
        if not self.has_begun:
            self.start()

    def end(self) -> None:
        """Stop the heartbeats; afterwards only the caller reports the attempt's progress.

        A heartbeat under way is waited for, but not beyond the validity of the lease.
        """
        self._ended.set()
        while self.is_alive() and not self.is_lost():
            self.join(POLL_SECONDS)

    def is_lost(self) -> bool:
        """Return whether another worker has the job or will soon have it.

        Also correct while a heartbeat waits for the database.
        """
        limit = self.settings.lease_seconds - 2 * self.settings.beat_seconds
        return self.lost or self.silent_for() > limit

    def silent_for(self) -> float:
        """Return the seconds since the last confirmed heartbeat was sent."""
        return time.monotonic() - self._confirmed

    def is_lease_over(self) -> bool:
        """Return whether the lease may have ended: then retrying a write is of no use."""
        return self.silent_for() > self.settings.lease_seconds

    def _poll(self) -> None:
        now = time.monotonic()
        if now - self._confirmed >= min(UPDATE_SECONDS, self.settings.beat_seconds):
            update = self.workspace.pending_update()
            if update or now - self._confirmed >= self.settings.beat_seconds:
                self._send()
        if now - self._checked >= CANCEL_CHECK_SECONDS:
            self._checked = now
            found = jobs.get(self.db, self.claim.job)
            self._apply(Requests(found.cancel_requested, found.stop_requested))

    def _send(self) -> None:
        update = self.workspace.pending_update()
        lease, sent_at = self.settings.lease_seconds, time.monotonic()
        requests = jobs.beat(self.db, self.claim, lease=lease, update=update)
        repeated_lines.DATABASE.end()
        if requests is None:
            self._refuse()
            return
        self.workspace.confirm(update)
        self._apply(requests)
        if self._error:
            logger.info("job %s: heartbeats succeed again", self.claim.job[:8])
            self._error = ""
        # Not the present time: the database's lease may have started when this was sent.
        self._confirmed = self._checked = sent_at

    def _apply(self, requests: Requests) -> None:
        self.cancelled = self.cancelled or requests.cancel
        self.stop_requested = self.stop_requested or requests.stop
        self.pruned = self.pruned or requests.prune

    def _refuse(self) -> None:
        self.refused = self.lost = True

    def _tolerate(self, error: Exception) -> None:
        """Tolerate errors, such as a database outage, while the lease is valid."""
        is_known = isinstance(error, ZooError)
        text = str(error) if is_known else f"{type(error).__name__}: {error}"
        if text != self._error:
            self._error = text
            args = self.claim.job[:8], self.silent_for(), error if is_known else text
            logger.warning("job %s: no heartbeat for %.0f s: %s", *args, exc_info=not is_known)
        self._ended.wait(min(1.0, self.settings.beat_seconds))
        self.lost = self.is_lost()
