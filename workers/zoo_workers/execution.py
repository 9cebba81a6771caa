"""The watch over one attempt: from its claim to the commit of how it ended."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator
from typing import Any, ParamSpec

from zoo import jobs
from zoo.errors import ArtifactError, StoreError, ZooError
from zoo.job_spec import JobSpec
from zoo.jobs import AttemptEnd, Claim, Database, Job, JobNotFound, Outcome, ProgressUpdate
from zoo.settings import Settings
from zoo.storage import artifacts, saved_files
from zoo_workers.artifact import Artifact
from zoo_workers.health import ANY, Health
from zoo_workers.heartbeat import LOOK_SECONDS, Pulse
from zoo_workers.runner_pool import Runner, RunnerDied, Runners
from zoo_workers.workspace import Attempt

WEIGH_SECONDS = 1.0
"""Between two looks at the memory of a runner's children and the size of the job's files."""
SHORT_LEASE_SECONDS = 5.0
"""A lease below this leaves no time to begin late with keeping it."""
P = ParamSpec("P")
TAKEN = "was taken from this worker"
GONE = "is no longer in the database: given up here"
GIVEN_UP = "was given up after %.0f s without a beat: another worker may have it soon"


class ClaimLost(Exception):
    """Another worker may have the job by now: nothing more may be written about this attempt."""


class GivenBack(Exception):
    """The job goes back into the queue, with code and reason; `counts` if an attempt is used up."""

    def __init__(self, code: str, reason: str, *, counts: bool) -> None:
        super().__init__(reason)
        self.code = code
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
        asked: float,
        health: Health,
        with_hooks: bool = False,
    ) -> None:
        self.db = db
        self.settings = settings
        self.runners = runners
        self.claim = claim
        self.job = job
        self.must_stop = must_stop
        self.began = self.weighed = time.monotonic()
        self.health = health
        self.with_hooks = with_hooks
        self.committed = False
        self._ended: Outcome | ClaimLost | GivenBack = ClaimLost()
        # With the owner: after the restore of a backup an attempt can have its number once more.
        name = f"{claim.job}-{claim.attempt}-{claim.owner[:8]}"
        folder = settings.home / "work" / name
        self.attempt = Attempt(folder, settings.log_kb, self._database_time)
        self.artifact = Artifact(settings, claim, self.attempt)
        self.pulse = Pulse(db, settings, claim, self.attempt, asked)

    def _database_time(self, at: float) -> float:
        """The time on the database's clock: the claim has told it."""
        return (self.job.started_at or 0.0) + at - self.began

    def run(self) -> None:
        """Have the attempt run, until it must be ended."""
        if self.settings.lease_seconds < SHORT_LEASE_SECONDS:
            self.pulse.ensure()
        try:
            self._ended = self._guarded(self._run)
        except (ClaimLost, GivenBack) as stop:
            self._ended = stop

    @property
    def is_brief(self) -> bool:
        """Whether it was over in a moment, and what it has left stays on this machine."""
        return not (self.pulse.has_begun or self.settings.artifacts_url)

    @property
    def has_result(self) -> bool:
        """Whether what it has left is to be stored."""
        return isinstance(self._ended, Outcome) and self._ended.status == "succeeded"

    def store(self) -> None:
        """Store what it has left, unless that is done."""
        self._take_further(self._store)

    def flush(self) -> None:
        """Have what was stored stay, unless that is done."""
        self._take_further(self._flush)

    def _take_further(self, step: Callable[[Outcome], Outcome]) -> None:
        """Do what follows an outcome; what goes wrong with it is how the attempt ended then."""
        if isinstance(self._ended, Outcome):
            try:
                self._ended = self._guarded(step, self._ended)
            except GivenBack as back:
                self._ended = back

    def word(self) -> AttemptEnd | None:
        """How it ended, to be committed together with others; None if it must `end` by itself."""
        return self._word(self._ended) if isinstance(self._ended, Outcome) else None

    def end(self, *, committed: bool = False) -> str:
        """Store what it has left and write how it ended, unless it is `committed` already.

        Gives that in words.
        """
        try:
            self.store()
            self.flush()
            if not isinstance(self._ended, Outcome):
                raise self._ended
            outcome = self._ended
            self.committed = committed or self._commit(outcome)
            self.artifact.named = self.committed and outcome.artifact is not None
            if self.committed and outcome.status == "succeeded":
                self.health.praise(self.job.model)
            return outcome.status if self.committed else self._loss()
        except ClaimLost:
            return self._loss()
        except GivenBack as back:
            return self._give_back(back)
        finally:
            self.pulse.end()
            self.attempt.remove()
            self.artifact.tidy(self.db)

    def _guarded(self, work: Callable[P, Outcome], *args: P.args, **named: P.kwargs) -> Outcome:
        """What the work comes to; a fault of it is an outcome too."""
        try:
            return work(*args, **named)
        except ZooError as error:
            return Outcome("failed", error_code=type(error).__name__, error=str(error))
        except OSError as error:  # a full or read-only disk
            told = f"{error.strerror or error}: {error.filename or self.attempt.files}."
            return self._judged(Outcome("failed", error_code="disk", error=told), ANY)

    def _run(self) -> Outcome:
        self.attempt.make()
        spec = JobSpec.parse_object(self.job.spec)
        if spec.source:
            self.pulse.ensure()
            self.attempt.source.mkdir()
            where, sha256 = spec.source.artifact, spec.source.sha256
            try:
                artifacts.get(self.settings.artifacts, where, sha256, self.attempt.source)
            except ArtifactError as error:
                self._give_back_if_sick(str(error), "artifact", store=True)
                raise
        return self._have_it_run(spec)

    def _have_it_run(self, spec: JobSpec) -> Outcome:
        files, source = str(self.attempt.files), str(self.attempt.source)
        order = {"do": "run", "files": files, "source": source, "spec": self.job.spec}
        with self.runners.borrow(spec.model) as runner, self.attempt.at(runner.desk):
            try:
                runner.order(order)
                while True:
                    answer = runner.answer(LOOK_SECONDS)
                    if answer:
                        runner.is_spoilt = answer.pop("is_spoilt")
                        return self._answered(answer)
                    ended = self._must_end(spec, runner)
                    if ended is not None:
                        return ended
            except RunnerDied as death:
                return self._after_death(death)
            finally:
                # Whatever way the loop was left, a runner that still works must not go on.
                if not runner.is_idle:
                    runner.kill()

    def _must_end(self, spec: JobSpec, runner: Runner) -> Outcome | None:
        """Why the job must not go on; None if it may. Asked when it has run for LOOK_SECONDS."""
        self.pulse.ensure()
        if self.pulse.is_lost():
            raise ClaimLost
        if self.pulse.cancelled:
            return Outcome("cancelled", error_code="cancelled", error="Cancelled while it ran.")
        if spec.timeout and time.monotonic() > self.began + spec.timeout:
            told = f"It ran for longer than its limit, {spec.timeout:g} s."
            return Outcome("timed_out", error_code="timed_out", error=told)
        limit = spec.memory_mb or self.settings.job_memory_mb
        # That of its children, and the size of its files, are looked at once a second.
        is_thorough = time.monotonic() >= self.weighed + WEIGH_SECONDS
        if is_thorough:
            self.weighed = time.monotonic()
            saved_files.check_size(self.attempt.files, self.settings.artifact_mb)
        if runner.memory_mb(is_thorough) > limit:
            told = f"It took more memory than its limit, {limit} MB."
            return Outcome("failed", error_code="out_of_memory", error=told)
        if self.must_stop():
            raise GivenBack("drained", "its worker was stopped", counts=False)
        return None

    def _answered(self, answer: dict[str, Any]) -> Outcome:
        """How the runner says that it ended, unless that is the fault of this machine."""
        kind = answer.pop("fault", None)
        outcome = Outcome(**answer)
        if outcome.status != "failed":
            return outcome
        blamed = {"machine": ANY, "model": self.job.model}.get(kind or "")
        return self._judged(outcome, blamed)

    def _judged(self, outcome: Outcome, blamed: str | None) -> Outcome:
        """The outcome, unless it is the fault of this machine: then the job is given back.

        It is if the machine's own check fails. Where it is not known (`blamed`: a model that cannot
        be imported here, or ANY for a full disk that has room again) another worker tries, if there
        is one that has not; else the outcome stands.
        """
        why = outcome.error or ""
        self._give_back_if_sick(why, str(outcome.error_code))
        if blamed is not None and self._is_anybody_else_able():
            self.health.blame(blamed, self.job.id, why)
            raise GivenBack(str(outcome.error_code), f"{why} Another worker tries.", counts=False)
        return outcome

    def _give_back_if_sick(self, why: str, code: str, *, store: bool = False) -> None:
        """Raise GivenBack if this machine can run no job."""
        # What this attempt itself has written may be what fills the disk.
        self.attempt.remove()
        if found := self.health.look(store=store):
            told = why if found in why else f"{why} {found}".strip()
            raise GivenBack(code, told, counts=False)

    def _is_anybody_else_able(self) -> bool:
        """Whether there is a worker that can run the job and has not given it back, too."""
        try:
            tried = jobs.given_back_by(self.db, self.job.id)
            found = jobs.workers(self.db, beat=self.settings.beat_seconds)
        except StoreError:
            return False
        own, job = {self.job.worker, *tried}, self.job
        able = [w for w in found if w.can_run(job.pool, job.model, job.dataset)]
        return any(worker.name not in own for worker in able)

    def _after_death(self, death: RunnerDied) -> Outcome:
        code = death.exit_code
        how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        told = f"The runner process {how}{' (out of memory?)' if code == -9 else ''}."
        outcome = Outcome("failed", error_code="killed", error=told)
        # One that has not even begun is this machine's: its Python, or a plugin that ends it.
        self._judged(outcome, None if self.attempt.has_begun else self.job.model)
        self._again_or("killed", told)
        return outcome

    def _again_or(self, code: str, told: str) -> None:
        """Raise GivenBack while there are attempts left."""
        if self.job.attempt < self.job.max_attempts:
            raise GivenBack(code, told, counts=True)

    def _store(self, outcome: Outcome) -> Outcome:
        if not self.has_result:
            return outcome
        # What a job of a moment has made is moved within this machine in another one.
        if self.settings.artifacts_url:
            self.pulse.ensure()
        with self._not_the_models_fault():
            self.artifact.put()
        stored = self.artifact
        return Outcome("succeeded", outcome.metrics, stored.where, stored.sha256)

    def _flush(self, outcome: Outcome) -> Outcome:
        with self._not_the_models_fault():
            self.artifact.flush()
        return outcome

    @contextlib.contextmanager
    def _not_the_models_fault(self) -> Iterator[None]:
        """Have the job tried again while it may be: the store is away, or the disk full."""
        try:
            yield
        except ArtifactError as error:
            self._give_back_if_sick(str(error), "artifact", store=True)
            self._again_or("artifact", str(error))
            raise

    def _commit(self, outcome: Outcome) -> bool:
        self._end_pulse()
        word = self._word(outcome)
        done = self._insist(lambda: jobs.finish(self.db, word.claim, word.outcome, word.update))
        return done or self._was_heard(outcome)

    def _word(self, outcome: Outcome) -> AttemptEnd:
        outcome = dataclasses.replace(outcome, with_hooks=self.with_hooks)
        return AttemptEnd(self.claim, outcome, self._last_news())

    def _was_heard(self, outcome: Outcome) -> bool:
        """Whether the row has this end: a commit may be done though its answer was lost."""
        with contextlib.suppress(StoreError, JobNotFound):
            found = jobs.get(self.db, self.claim.job)
            return (found.attempt, found.status) == (self.claim.attempt, outcome.status)
        return False

    def _loss(self) -> str:
        """Return, for the log, how this worker has lost the job."""
        if self.pulse.is_lost() and not self.pulse.refused:
            return GIVEN_UP % self.pulse.silent_for()
        try:
            jobs.get(self.db, self.claim.job)
        except JobNotFound:
            return GONE
        except StoreError:  # it has gone away since
            pass
        return TAKEN

    def _give_back(self, back: GivenBack) -> str:
        self.pulse.end()
        news = self._last_news()

        def release() -> bool:
            told: dict[str, Any] = {
                "code": back.code,
                "reason": str(back),
                "counts": back.counts,
                "backoff": self.settings.backoff_seconds,
            }
            told |= {"update": news, "with_hooks": self.with_hooks}
            return jobs.release(self.db, self.claim, **told)

        return f"goes back into the queue: {back}" if self._insist(release) else self._loss()

    def _last_news(self) -> ProgressUpdate:
        return dataclasses.replace(self.attempt.news(), environment=self.attempt.environment())

    def _end_pulse(self) -> None:
        self.pulse.end()
        if self.pulse.lost:
            raise ClaimLost

    def _insist(self, write: Callable[[], bool]) -> bool:
        """Write the attempt's end, again if the database is away; the fence makes that safe."""
        while True:
            try:
                return write()
            except StoreError:
                if self.pulse.is_over():
                    return False
                time.sleep(min(1.0, self.settings.beat_seconds))
