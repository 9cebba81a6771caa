"""The execution of one attempt: run it in a runner, decide how it ended, write that down.

`slots.py` claims the job and calls `run`; `finalizer.py` then calls `store`, `flush` and `finish`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ParamSpec

from zoo import jobs
from zoo.child_process import ChildDied
from zoo.data import added
from zoo.errors import ArtifactError, StoreError, UsageError, ZooError
from zoo.job_spec import JobSpec
from zoo.jobs import AttemptEnd, Claim, Database, Job, JobNotFound, Outcome, ProgressUpdate
from zoo.jobs.worker_records import Gpu
from zoo.settings import Settings
from zoo.storage import artifacts, saved_files
from zoo_workers.checkpoint_store import CheckpointStore
from zoo_workers.health import ALL_MODELS, Health
from zoo_workers.heartbeat import POLL_SECONDS, Heartbeat
from zoo_workers.runner_pool import Runner, RunnerPool
from zoo_workers.workspace import Workspace

SIZE_CHECK_SECONDS = 1.0
"""Interval between two checks of the memory of a runner's children and of the job's files."""
NO_PROCESS = (errno.ENOMEM, errno.EAGAIN, errno.EMFILE, errno.ENFILE)
"""Errors of the system when it cannot start one more process."""
SHORT_LEASE_SECONDS = 5.0
"""With a shorter lease the heartbeat starts before the job does."""
P = ParamSpec("P")
TAKEN = "was taken from this worker"
DELETED = "is no longer in the database: given up here"
GIVEN_UP = "was given up after %.0f s without a heartbeat: another worker may have it soon"


class ClaimLost(Exception):
    """Another worker may have the job by now: nothing more may be written about this attempt."""


class Requeue(Exception):
    """The job goes back into the queue; `counts` says whether an attempt is used up."""

    def __init__(self, code: str, reason: str, *, counts: bool) -> None:
        super().__init__(reason)
        self.code = code
        self.counts = counts


class Paused(Exception):
    """The training has come to its rung, and waits there for its promotion."""

    def __init__(self, metrics: Mapping[str, Any]) -> None:
        """`metrics` are those of the epoch; None for a number that is not finite."""
        super().__init__("paused")
        self.metrics = metrics


class Execution:
    """One attempt of a job, from its claim to the commit of its outcome."""

    def __init__(
        self,
        db: Database,
        settings: Settings,
        runners: RunnerPool,
        health: Health,
        claim: Claim,
        job: Job,
        *,
        claimed_at: float,
        must_stop: Callable[[], bool],
        has_hooks: bool = False,
        gpu: Gpu | None = None,
    ) -> None:
        """Prepare the attempt of a claimed job.

        Args:
            db: Database with the job's row.
            settings: The worker's settings.
            runners: Processes that run jobs.
            health: The worker's health, which outcomes change.
            claim: The claim of this attempt.
            job: The job.
            claimed_at: `time.monotonic` before the claim: the start of the lease.
            must_stop: Returns whether running jobs go back into the queue now.
            has_hooks: Whether plugins are called once the job has ended.
            gpu: The GPU that the job has for itself.
        """
        self.db = db
        self.settings = settings
        self.runners = runners
        self.health = health
        self.claim = claim
        self.job = job
        self.must_stop = must_stop
        self.has_hooks = has_hooks
        self.gpu = gpu
        self.committed = False
        """Whether the job's row has the outcome of this attempt."""
        self._began = self._checked = time.monotonic()
        self._result: Outcome | ClaimLost | Requeue | Paused = ClaimLost()
        self.workspace = Workspace(settings, claim, self._database_time)
        self.heartbeat = Heartbeat(db, settings, claim, self.workspace, claimed_at)
        self.checkpoints = CheckpointStore(
            db, settings, claim, self.workspace, job.checkpoint, self.heartbeat.is_lost
        )

    def _database_time(self, at: float) -> float:
        """Convert a `time.monotonic` to the database's clock, which gave the time of the claim."""
        return (self.job.started_at or 0.0) + at - self._began

    # --- run ---

    def run(self) -> None:
        """Run the attempt until it has ended or must stop; nothing is written down yet."""
        if self.settings.lease_seconds < SHORT_LEASE_SECONDS:
            self.heartbeat.ensure()
        try:
            self._result = self._outcome_of(self._run)
        except (ClaimLost, Requeue, Paused) as stop:
            self._result = stop

    def _outcome_of(self, step: Callable[P, Outcome], *args: P.args, **named: P.kwargs) -> Outcome:
        """Return the outcome of a step; an error of it is an outcome, too."""
        try:
            return step(*args, **named)
        except ZooError as error:
            return Outcome("failed", error_code=type(error).__name__, error=str(error))
        except OSError as error:  # a full or read-only disk, or no memory for a process
            text = f"{error.strerror or error}: {error.filename or self.workspace.files}."
            code = "no_runner" if error.errno in NO_PROCESS else "disk"
            outcome = Outcome("failed", error_code=code, error=text)
            self._unless_machine_fault(outcome, ALL_MODELS)
            if code == "no_runner":  # it may start later
                self._requeue_if_attempts_left(code, text)
            return outcome

    def _run(self) -> Outcome:
        self.workspace.create()
        spec = JobSpec.parse_object(self.job.spec)
        if spec.source:
            self.heartbeat.ensure()
            self.workspace.source.mkdir()
            where, sha256 = spec.source.artifact, spec.source.sha256
            try:
                artifacts.get(self.settings.artifacts, where, sha256, self.workspace.source)
            except ArtifactError as error:
                self._requeue_if_unhealthy(str(error), "artifact", store=True)
                raise
        if spec.version is not None and spec.contents:
            self._fetch_dataset(spec.contents, f"{spec.dataset}@{spec.version}")
        note = self._fetch_checkpoint() if self.job.checkpoint else ""
        if self.job.stop_requested:
            self.workspace.request_stop()
        return self._run_in_runner(spec, note)

    def _fetch_checkpoint(self) -> str:
        """Get the checkpoint that the training starts from; return why there is none."""
        self.heartbeat.ensure()
        try:
            self.checkpoints.fetch()
        except ArtifactError as error:
            self._requeue_if_unhealthy(str(error), "artifact", store=True)
            self.workspace.create()
            return f"The training begins anew: {error}"
        self.workspace.checkpoints.start_from(self.job.checkpoint or {})
        return ""

    def _fetch_dataset(self, contents: str, label: str) -> None:
        """Get the contents of an added dataset into the cache, which the runner reads."""
        if not added.is_here(contents):
            self.heartbeat.ensure()
        try:
            added.ensure(self.db, self.settings.artifacts, contents, label)
        except ArtifactError as error:
            self._requeue_if_unhealthy(str(error), "artifact", store=True)
            raise

    def _run_in_runner(self, spec: JobSpec, note: str) -> Outcome:
        request = {
            "action": "run",
            "files": str(self.workspace.files),
            "source": str(self.workspace.source),
            "spec": self.job.spec,
            "stop": str(self.workspace.stop_file),
            "checkpoints": self._checkpoint_request(note) if spec.kind == "train" else None,
        }
        end: dict[str, Any] | Outcome | ChildDied | None = None
        try:
            with (
                self.runners.borrow(spec.model, self.gpu) as runner,
                self.workspace.reading(runner.output),
            ):
                end = self._await_end(spec, runner, request)
        finally:
            self._complete_checkpoints(end)
        if isinstance(end, ChildDied):
            return self._outcome_of_death(end)
        return end if isinstance(end, Outcome) else self._outcome_from(end)

    def _checkpoint_request(self, note: str) -> dict[str, Any]:
        earlier = self.job.checkpoint
        is_here = earlier is not None and not note
        return {
            "folder": str(self.workspace.checkpoints.folder),
            "earlier": str(self.workspace.checkpoints.earlier) if is_here else None,
            "attempt": earlier["attempt"] if earlier else 0,
            "seconds": self.settings.checkpoint_seconds,
            "mb": self.settings.checkpoint_mb,
            "note": note,
            "pause_at": self.job.pause_at,
        }

    def _await_end(
        self, spec: JobSpec, runner: Runner, request: dict[str, Any]
    ) -> dict[str, Any] | Outcome | ChildDied:
        """Wait for the runner's reply, its death, or a reason to stop it."""
        try:
            runner.send(request)
            while True:
                reply = runner.receive(POLL_SECONDS)
                if reply:
                    runner.must_replace = reply.pop("must_replace")
                    return reply
                stopped = self._check_limits(spec, runner)
                if stopped is not None:
                    return stopped
        except ChildDied as death:
            return death
        finally:
            # However the loop was left, a runner that still works must not go on.
            if not runner.is_idle:
                runner.kill()

    def _complete_checkpoints(self, end: dict[str, Any] | Outcome | ChildDied | None) -> None:
        """Store the newest checkpoint of a training that may go on later.

        The lease is extended meanwhile. A cancelled job ends at once, with those already stored.
        """
        is_over = isinstance(end, dict) and end["status"] == "succeeded"
        is_left = is_over or self.heartbeat.cancelled or self.heartbeat.is_lost()
        if not is_left and self.workspace.checkpoints.folder.exists():
            self.heartbeat.ensure()
            self.checkpoints.complete()

    def _check_limits(self, spec: JobSpec, runner: Runner) -> Outcome | None:
        """Return the outcome of a job that must stop, else None; called every POLL_SECONDS.

        Raises ClaimLost or Requeue if the attempt ends without an outcome.
        """
        self.heartbeat.ensure()
        if self.heartbeat.is_lost():
            raise ClaimLost
        if self.workspace.checkpoints.folder.exists():
            self.checkpoints.poll()
        if self.heartbeat.stop_requested and not self.workspace.stop_file.exists():
            self.workspace.request_stop()
        if self.heartbeat.cancelled:
            return Outcome("cancelled", error_code="cancelled", error="Cancelled while it ran.")
        if self.heartbeat.pruned:
            return Outcome("pruned")
        if spec.timeout and time.monotonic() > self._began + spec.timeout:
            text = f"It ran for longer than its limit, {spec.timeout:g} s."
            return Outcome("timed_out", error_code="timed_out", error=text)
        limit = spec.memory_mb or self.settings.job_memory_mb
        is_full_check = time.monotonic() >= self._checked + SIZE_CHECK_SECONDS
        if is_full_check:
            self._checked = time.monotonic()
            saved_files.check_size(self.workspace.files, self.settings.artifact_mb)
        if runner.memory_mb(with_children=is_full_check) > limit:
            text = f"It took more memory than its limit, {limit} MB."
            return Outcome("failed", error_code="out_of_memory", error=text)
        if self.must_stop():
            raise Requeue("drained", "its worker was stopped", counts=False)
        return None

    def _outcome_from(self, reply: dict[str, Any]) -> Outcome:
        """Return the outcome in a runner's reply; requeue if it is the fault of this machine."""
        fault = reply.pop("fault", None)
        if reply["status"] == "paused":
            raise Paused(reply["metrics"])
        outcome = Outcome(**reply)
        if outcome.status == "succeeded":
            return self._unless_it_had_to_pause(outcome)
        if outcome.status != "failed":
            return outcome
        blamed = {"machine": ALL_MODELS, "model": self.job.model}.get(fault or "")
        return self._unless_machine_fault(outcome, blamed)

    def _unless_it_had_to_pause(self, outcome: Outcome) -> Outcome:
        metrics = outcome.metrics or {}
        has_ended_early = metrics.get("ended_early") or metrics.get("stopped_early")
        if self.job.pause_at is None or has_ended_early:
            return outcome
        text = (
            f"The model saves no checkpoint after epoch {self.job.pause_at}, so that its training "
            "cannot pause there: sweep it without --pruner asha."
        )
        return Outcome("failed", error_code="cannot_pause", error=text)

    def _outcome_of_death(self, death: ChildDied) -> Outcome:
        code = death.exit_code
        how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        text = f"The runner process {how}{' (out of memory?)' if code == -9 else ''}."
        outcome = Outcome("failed", error_code="killed", error=text)
        # A process that dies before it starts the job is the fault of this machine: its Python, or
        # a plugin that ends the process at import.
        blamed = None if self.workspace.has_output else self.job.model
        self._unless_machine_fault(outcome, blamed)
        self._requeue_if_attempts_left("killed", text)
        return outcome

    # --- whose fault it is ---

    def _unless_machine_fault(self, outcome: Outcome, blamed: str | None) -> Outcome:
        """Return a failed outcome; raise Requeue if it is the fault of this machine.

        It is if the machine's own check fails. In doubt (`blamed` is a model that cannot be
        imported here, or ALL_MODELS for a full disk that has space again) another worker tries the
        job, if there is one that has not; else the outcome stands.
        """
        error = outcome.error or ""
        self._requeue_if_unhealthy(error, str(outcome.error_code))
        if blamed is not None and self._can_another_worker_try():
            self.health.record_fault(blamed, self.job.id, error)
            raise Requeue(str(outcome.error_code), f"{error} Another worker tries.", counts=False)
        return outcome

    def _requeue_if_unhealthy(self, error: str, code: str, *, store: bool = False) -> None:
        """Raise Requeue if this machine can run no job."""
        # The files of this attempt may be what fills the disk.
        self.workspace.remove()
        if fault := self.health.check(store=store):
            text = error if fault in error else f"{error} {fault}".strip()
            raise Requeue(code, text, counts=False)

    def _requeue_if_attempts_left(self, code: str, error: str) -> None:
        has_advanced = self.checkpoints.has_advanced
        if has_advanced or self.job.attempt < self.job.max_attempts:
            raise Requeue(code, error, counts=not has_advanced)

    def _can_another_worker_try(self) -> bool:
        """Return whether a worker can run the job that has not given it back before."""
        try:
            tried = jobs.given_back_by(self.db, self.job.id)
            found = jobs.workers(self.db)
        except StoreError:
            return False
        excluded, job = {self.job.worker, *tried}, self.job
        needed = (job.pool, job.model, job.needed_dataset, job.device)
        able = [w for w in found if w.can_run(*needed)]
        return any(worker.name not in excluded for worker in able)

    # --- store ---

    @property
    def is_short(self) -> bool:
        """Whether it ended before the first heartbeat, and its artifact stays on this machine."""
        return not (self.heartbeat.has_begun or self.settings.artifacts_url)

    @property
    def outcome(self) -> Outcome | None:
        """How it has ended; None while it runs, or if another attempt goes on with the job."""
        return self._result if isinstance(self._result, Outcome) else None

    @property
    def has_result(self) -> bool:
        """Whether it succeeded, so that its artifact is to be stored."""
        return isinstance(self._result, Outcome) and self._result.status == "succeeded"

    def store(self) -> None:
        """Store the artifact, unless that is done; an error of it is the attempt's outcome."""
        self._continue(self._store)

    def flush(self) -> None:
        """Flush the artifact, unless that is done; an error of it is the attempt's outcome."""
        self._continue(self._flush)

    def _continue(self, step: Callable[[Outcome], Outcome]) -> None:
        if isinstance(self._result, Outcome):
            try:
                self._result = self._outcome_of(step, self._result)
            except Requeue as stop:
                self._result = stop

    def _store(self, outcome: Outcome) -> Outcome:
        if outcome.status != "succeeded":
            return outcome
        # Within this machine storing is a rename, and the lease needs no heartbeat for that.
        if self.settings.artifacts_url:
            self.heartbeat.ensure()
        with self._retried_on_store_error():
            self.workspace.store()
        stored = self.workspace
        return Outcome("succeeded", outcome.metrics, stored.where, stored.sha256, stored.bytes)

    def _flush(self, outcome: Outcome) -> Outcome:
        with self._retried_on_store_error():
            self.workspace.flush()
        return outcome

    @contextlib.contextmanager
    def _retried_on_store_error(self) -> Iterator[None]:
        """Requeue the job while attempts are left: the store is unavailable, or the disk full."""
        try:
            yield
        except ArtifactError as error:
            self._requeue_if_unhealthy(str(error), "artifact", store=True)
            self._requeue_if_attempts_left("artifact", str(error))
            raise

    # --- commit ---

    def completion(self) -> AttemptEnd | None:
        """Return the outcome for a commit with others; None if `finish` must do without."""
        return self._completion(self._result) if isinstance(self._result, Outcome) else None

    def _completion(self, outcome: Outcome) -> AttemptEnd:
        outcome = dataclasses.replace(outcome, with_hooks=self.has_hooks)
        return AttemptEnd(self.claim, outcome, self._last_update())

    def _last_update(self) -> ProgressUpdate:
        update = self.workspace.pending_update()
        return dataclasses.replace(update, environment=self.workspace.environment())

    def finish(self, *, committed: bool = False) -> str:
        """Store the artifact, commit the outcome, and clean up; return the result for the log.

        Steps that were taken before, and the commit if it is `committed`, are skipped.
        """
        try:
            self.store()
            self.flush()
            if not isinstance(self._result, Outcome):
                raise self._result
            outcome = self._result
            self.committed = committed or self._commit(outcome)
            self.workspace.is_referenced = self.committed and outcome.artifact is not None
            if self.committed and outcome.status == "succeeded":
                self.health.record_success(self.job.model)
            return outcome.status if self.committed else self._why_lost()
        except ClaimLost:
            return self._why_lost()
        except Requeue as stop:
            return self._release(stop)
        except Paused as pause:
            return self._pause(pause)
        finally:
            self.checkpoints.close(has_succeeded=self.workspace.is_referenced)
            self.heartbeat.end()
            self.workspace.remove()
            self.workspace.delete_unreferenced(self.db)

    def _commit(self, outcome: Outcome) -> bool:
        self.heartbeat.end()
        if self.heartbeat.lost:
            raise ClaimLost
        last = self._completion(outcome)
        done = self._retry(lambda: jobs.finish(self.db, last.claim, last.outcome, last.update))
        return done or self._is_recorded(outcome)

    def _is_recorded(self, outcome: Outcome) -> bool:
        """Return whether the row has the outcome: a commit may succeed and its reply be lost."""
        with contextlib.suppress(StoreError, JobNotFound):
            found = jobs.get(self.db, self.claim.job)
            return (found.attempt, found.status) == (self.claim.attempt, outcome.status)
        return False

    def _release(self, stop: Requeue) -> str:
        self.heartbeat.end()
        update = self._last_update()

        def release() -> bool:
            return jobs.release(
                self.db,
                self.claim,
                code=stop.code,
                reason=str(stop),
                counts=stop.counts,
                backoff=self.settings.backoff_seconds,
                update=update,
                with_hooks=self.has_hooks,
            )

        return f"goes back into the queue: {stop}" if self._retry(release) else self._why_lost()

    def _pause(self, pause: Paused) -> str:
        self.heartbeat.end()
        if self.heartbeat.lost:
            return self._why_lost()
        status: str | None = None
        update = self._last_update()

        def write() -> bool:
            nonlocal status
            status = jobs.pause_trial(
                self.db,
                self.claim,
                metrics=pause.metrics,
                update=update,
                with_hooks=self.has_hooks,
            )
            return status is not None

        try:
            done = self._retry(write)
        except UsageError as error:  # it has no metric by which it could be ranked
            outcome = Outcome("failed", error_code="no_metric", error=str(error))
            self.committed = self._commit(outcome)
            return outcome.status if self.committed else self._why_lost()
        # A commit may succeed and its reply be lost: the row then shows no running job.
        return f"has come to epoch {self.job.pause_at}: {status}" if done else self._why_lost()

    def _retry(self, write: Callable[[], bool]) -> bool:
        """Write, again after an error of the database; the fencing token makes that safe."""
        while True:
            try:
                return write()
            except StoreError:
                if self.heartbeat.is_lease_over():
                    return False
                time.sleep(min(1.0, self.settings.beat_seconds))

    def _why_lost(self) -> str:
        if self.heartbeat.is_lost() and not self.heartbeat.refused:
            return GIVEN_UP % self.heartbeat.silent_for()
        try:
            jobs.get(self.db, self.claim.job)
        except JobNotFound:
            return DELETED
        except StoreError:  # an outage since then
            pass
        return TAKEN
