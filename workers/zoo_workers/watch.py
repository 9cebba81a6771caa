"""The watch over one attempt: from its claim to the commit of how it ended."""

from __future__ import annotations

import time
from collections.abc import Callable

from zoo import artifacts, jobs
from zoo.errors import StoreError, ZooError
from zoo.jobs import Claim, Database, Job, News, Outcome
from zoo.settings import Settings
from zoo.spec import JobSpec
from zoo_workers.attempt import Attempt
from zoo_workers.runners import Runner, RunnerDied, Runners

LOOK_SECONDS = 0.1
"""Between two looks at what the runner has written."""
TELL_SECONDS = 0.5
"""Between two beats that carry news; without news there is one every `beat_seconds`."""
ASK_SECONDS = 1.0
"""Between two looks at whether the job is to be cancelled."""


class ClaimLost(Exception):
    """Another worker may have the job by now: nothing more may be written about this attempt."""


class GivenBack(Exception):
    """The job goes back into the queue, with the reason; `counts` if the attempt was used up."""

    def __init__(self, reason: str, *, counts: bool) -> None:
        super().__init__(reason)
        self.counts = counts


class Watch:
    """Has a runner run one attempt, and ends it if it must not go on."""

    def __init__(
        self,
        db: Database,
        settings: Settings,
        runners: Runners,
        claim: Claim,
        job: Job,
        must_stop: Callable[[], bool],
    ) -> None:
        self.db = db
        self.settings = settings
        self.runners = runners
        self.claim = claim
        self.job = job
        self.must_stop = must_stop
        self.beaten = self.asked = self.began = time.monotonic()
        self.folder = settings.home / "work" / f"{claim.job}-{claim.attempt}"

    def run(self) -> str:
        """Run the attempt and write how it ended; gives that in words, for the worker's log."""
        attempt = None
        try:
            attempt = Attempt(self.folder, self.settings.log_kb)
            return self._commit(self._outcome(attempt), attempt)
        except ClaimLost:
            return "was taken from this worker"
        except GivenBack as back:
            return self._give_back(back)
        except OSError as error:  # a full or read-only disk
            told = f"{error.strerror or error}: {error.filename or self.folder}."
            jobs.finish(self.db, self.claim, Outcome("failed", error_code="disk", error=told))
            return f"failed: {told}"
        finally:
            if attempt is not None:
                attempt.remove()

    def _outcome(self, attempt: Attempt) -> Outcome:
        try:
            spec = JobSpec.parse_object(self.job.spec)
            if spec.source:
                attempt.source.mkdir()
                where, sha256 = spec.source.artifact, spec.source.sha256
                artifacts.get(self.settings.artifacts, where, sha256, attempt.source)
            return self._have_it_run(spec, attempt)
        except StoreError:
            raise
        except ZooError as error:
            return Outcome("failed", error_code=type(error).__name__, error=str(error))

    def _have_it_run(self, spec: JobSpec, attempt: Attempt) -> Outcome:
        order = {"do": "run", "folder": str(attempt.folder), "spec": spec.dump()}
        with self.runners.borrow(spec.model) as runner:
            try:
                runner.order(order)
                while True:
                    answer = runner.answer(LOOK_SECONDS)
                    ended = Outcome(**answer) if answer else self._look_after(spec, attempt)
                    if ended is not None:
                        return ended
            except RunnerDied as death:
                return self._after_death(death, attempt)
            finally:
                self._end_unless_idle(runner)

    def _end_unless_idle(self, runner: Runner) -> None:
        # Whatever way the loop above was left, a runner that still works must not go on.
        if not runner.is_idle:
            runner.kill()

    def _look_after(self, spec: JobSpec, attempt: Attempt) -> Outcome | None:
        """One look: beat if it is time; an outcome ends the attempt."""
        now = time.monotonic()
        if spec.timeout and now > self.began + spec.timeout:
            return Outcome("timed_out", error_code="timed_out", error=f"Over {spec.timeout} s.")
        if self.must_stop():
            self._beat(attempt.news())
            raise GivenBack("its worker was stopped", counts=False)
        if self._is_cancelled(now, attempt):
            return Outcome("cancelled", error_code="cancelled", error="Cancelled while it ran.")
        return None

    def _is_cancelled(self, now: float, attempt: Attempt) -> bool:
        if now - self.beaten >= TELL_SECONDS:
            news = attempt.news()
            if news or now - self.beaten >= self.settings.beat_seconds:
                return self._beat(news)
        if now - self.asked >= ASK_SECONDS:
            self.asked = now
            return jobs.get(self.db, self.job.id).cancel_requested
        return False

    def _beat(self, news: News) -> bool:
        lease = self.settings.lease_seconds
        cancelled = jobs.beat(self.db, self.claim, lease=lease, news=news)
        if cancelled is None:
            raise ClaimLost
        self.beaten = self.asked = time.monotonic()
        return cancelled

    def _after_death(self, death: RunnerDied, attempt: Attempt) -> Outcome:
        code = death.exit_code
        how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        told = f"The runner process {how}{' (out of memory?)' if code == -9 else ''}."
        if self.job.attempt < self.job.max_attempts:
            self._beat(attempt.news())
            raise GivenBack(told, counts=True)
        return Outcome("failed", error_code="killed", error=told)

    def _give_back(self, back: GivenBack) -> str:
        wait = self.settings.backoff_seconds * 2 ** (self.job.attempt - 1) if back.counts else 0.0
        jobs.release(self.db, self.claim, reason=str(back), counts=back.counts, delay=wait)
        return f"goes back into the queue: {back}"

    def _commit(self, outcome: Outcome, attempt: Attempt) -> str:
        news = attempt.news()
        if outcome.status == "succeeded":
            outcome = self._store(outcome, attempt)
        done = jobs.finish(self.db, self.claim, outcome, news)
        return outcome.status if done else "was taken from this worker"

    def _store(self, outcome: Outcome, attempt: Attempt) -> Outcome:
        where = f"{self.claim.job}/{self.claim.attempt}"
        facts = {"job": self.claim.job, "attempt": self.claim.attempt}
        attempt.keep_log()
        try:
            sha256 = artifacts.put(attempt.files, self.settings.artifacts, where, facts)
        except ZooError as error:
            return Outcome("failed", error_code="artifact", error=str(error))
        return Outcome("succeeded", outcome.metrics, where, sha256)
