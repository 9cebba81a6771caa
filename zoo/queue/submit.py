"""Submit jobs: check what was asked, commit the rows, send the hints, see that somebody works."""

from __future__ import annotations

import subprocess
import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from zoo import jobs
from zoo.errors import BrokerError, StoreError, UsageError, ZooError, reason
from zoo.job_spec import Fold, JobSpec, Source
from zoo.jobs import Database, Group, Hint, Job, QueueOptions, references
from zoo.model import resolved
from zoo.queue import catalogue, pending_reason
from zoo.queue.options import TrainingOptions
from zoo.settings import Settings

if TYPE_CHECKING:
    from zoo.queue.broker import App

ENOUGH_HINTS = 100
"""In one queue: a slot that one of them wakes goes on until it finds no job."""
STARTING_SECONDS = 60.0
"""What a local worker may take to import the plugins and announce itself."""
MOST_HINTS = 1000
"""Of one submission, in one queue, however many slots there are to be woken."""

MOST_NAMED = 10
"""Jobs that are named one by one in a sentence."""


class Left(KeyboardInterrupt):
    """Ctrl-C came when the rows were committed already; its argument names the job or group."""


@dataclass
class Submitted:
    """What became of a submission."""

    ids: list[str]
    group: str | None
    note: str = ""
    """What the person should know: the broker is away, or no worker has the model."""
    worker: subprocess.Popen[bytes] | None = field(default=None, repr=False)
    """The local worker, if this submission started it."""

    @property
    def ref(self) -> str:
        """What names the result: the group, or the one job."""
        return self.group or self.ids[0]


def training(
    model: str, params: Mapping[str, Any], options: TrainingOptions | None = None
) -> list[JobSpec]:
    """Return the specs of a training, defaults filled in: one, or one per fold or seed.

    Raises UsageError for an unknown model, dataset or param, or a value out of bounds.
    """
    options = options or TrainingOptions()
    offer = catalogue.model(model)
    values, changed = resolved(offer.params, params)
    asked = {
        "kind": "train",
        "model": model,
        "params": values,
        "changed": changed,
        "dataset": catalogue.dataset(options.dataset),
        "preprocess": options.preprocess,
        "seed": options.seed,
        "timeout": options.timeout,
        "memory_mb": options.memory_mb,
        "keep_weights": options.keeps_weights,
        "plugin": offer.plugin,
    }
    spec = JobSpec.parse_object(asked)
    if k := options.cv:
        return [spec.model_copy(update={"fold": Fold(k=k, index=i)}) for i in range(k)]
    return [spec.model_copy(update={"seed": spec.seed + i}) for i in range(options.parts)]


def evaluation(trained: Job | Group, dataset: str | None, split: str) -> JobSpec:
    """The spec of an evaluation of a trained model; by default on its own dataset.

    Raises UsageError if the job has left no trained model.
    """
    job, spec = references.with_weights(trained)
    source = Source(job=job.id, artifact=str(job.artifact), sha256=str(job.artifact_sha256))
    changed = {
        "kind": "evaluate",
        "dataset": catalogue.dataset(dataset) if dataset else spec.dataset,
        "split": split,
        "fold": None,
        "published": None,
        "source": source,
    }
    return JobSpec.parse_object(spec.model_copy(update=changed).model_dump())


def submit(
    db: Database,
    settings: Settings,
    specs: Sequence[JobSpec],
    options: QueueOptions | None = None,
    *,
    group_kind: str | None = None,
    about: Mapping[str, Any] | None = None,
) -> Submitted:
    """Commit the jobs, then wake a worker; an unreachable broker costs time, not the jobs.

    With a `group_kind` they form a group, and `about` is stored with it.
    """
    options = options or QueueOptions()
    # Imported before the row is there, so that the hint follows it at once.
    from zoo.queue import broker

    if settings.is_embedded:
        from zoo.queue import local_services  # noqa: F401
    app = broker.make_app(settings, patient=False)
    # Before the row: else the warm worker would run it with the plugin as it was.
    asked = {(spec.model, spec.dataset) for spec in specs}
    renewed = _renew(db, settings, asked) if settings.is_embedded else None
    ids, group = jobs.add(
        db,
        specs,
        options,
        group_kind=group_kind,
        about=about,
        max_attempts=settings.max_attempts,
    )
    done = Submitted(ids, group, worker=renewed)
    # The others of the group get theirs when it is their turn.
    first = ids[: options.max_parallel]
    hints = [Hint(job, options.pool, spec.model) for job, spec in zip(first, specs, strict=False)]
    try:
        _wake(db, app, settings, hints, done)
    except KeyboardInterrupt:
        raise Left(done.ref) from None
    return done


def retry(db: Database, settings: Settings, job_ids: Sequence[str]) -> Submitted:
    """Submit jobs that did not succeed again, unchanged.

    Raises UsageError if there is none among them.
    """
    from zoo.queue import broker

    app = broker.make_app(settings, patient=False)
    asked = {(job.model, job.dataset) for job in jobs.get_many(db, job_ids)}
    renewed = _renew(db, settings, asked) if settings.is_embedded and asked else None
    ids = jobs.retry(db, job_ids, max_attempts=settings.max_attempts)
    if not ids:
        raise UsageError(
            f"There is nothing to retry: {_left_alone(db, job_ids)}.",
            "`zoo jobs --status failed` lists jobs that ended without success.",
        )
    done = Submitted(ids, None, worker=renewed)
    added = (jobs.get(db, each) for each in ids)
    _wake(db, app, settings, [Hint(job.id, job.pool, job.model) for job in added], done)
    return done


def _left_alone(db: Database, job_ids: Sequence[str]) -> str:
    """Explain for each job why it is not retried."""
    again = jobs.retries(db, job_ids[:MOST_NAMED])
    reasons = [
        f"{job.id[:8]} was submitted again as {again[job.id][:8]}"
        if job.id in again
        else f"{job.id[:8]} {'has succeeded' if job.status == 'succeeded' else f'is {job.status}'}"
        for job in jobs.get_many(db, job_ids[:MOST_NAMED])
    ]
    more = len(job_ids) - len(reasons)
    return ", ".join(reasons) + (f" and {more:,} more" if more else "")


def _wake(
    db: Database, app: App, settings: Settings, hints: Sequence[Hint], done: Submitted
) -> None:
    """Send hints, and start the local worker on a machine that brings its own."""
    from zoo.queue import broker

    try:
        # Start the worker first: it finds the job in the rows even if the hint is lost.
        if settings.is_embedded:
            from zoo.queue import local_services

            done.worker = local_services.ensure(settings) or done.worker
        broker.send(app, _enough(db, settings, hints))
        reap_and_resend(db, app, settings)
        if not settings.is_embedded and hints:
            done.note = _who_runs(db, settings, hints[0].job)
    except BrokerError as error:
        then = pending_reason.without_broker(settings)
        done.note = f"queued; broker unreachable ({error.message}) {then}"
    # The rows are committed: an error here would make the user submit them again.
    except StoreError as error:
        done.note = f"queued; then the database went away ({error.message})"
    except (ZooError, OSError) as error:
        done.note = f"queued; but no worker could be started: {reason(error)}."


def _enough(db: Database, settings: Settings, hints: Sequence[Hint]) -> list[Hint]:
    """The first of each pool and model: for each slot there is, and some for workers to come.

    A slot that one of them wakes goes on by itself; a job without one gets it later, if it waits.
    """
    if len(hints) <= ENOUGH_HINTS:
        return list(hints)
    slots: Counter[str] = Counter()
    for worker in jobs.workers(db, beat=settings.beat_seconds):
        slots[worker.pool] += worker.slots
    sent: Counter[tuple[str, str]] = Counter()
    found = []
    for hint in hints:
        sent[hint.pool, hint.model] += 1
        if sent[hint.pool, hint.model] <= min(slots[hint.pool] + ENOUGH_HINTS, MOST_HINTS):
            found.append(hint)
    return found


def _renew(
    db: Database, settings: Settings, asked: Collection[tuple[str, str]]
) -> subprocess.Popen[bytes] | None:
    """Replace a local worker that was started before a plugin came, or was changed.

    `asked` are the models and datasets of the jobs to come.
    """
    from zoo.queue import local_services

    local = local_services.local_worker(settings)
    if local is None:
        return None
    found = [w for w in jobs.workers(db, beat=settings.beat_seconds) if w.pid == local.pid]
    if not found:
        # It is only starting; or the home was made anew, and it still looks at the old one.
        is_old = time.time() - local.create_time() > STARTING_SECONDS
        return local_services.replace_worker(settings) if is_old else None
    is_old = any(catalogue.is_outdated(worker, *each) for worker in found for each in asked)
    return local_services.replace_worker(settings) if is_old else None


def _who_runs(db: Database, settings: Settings, job_id: str) -> str:
    """What the person should know of the workers that are to run it; nothing if all is well."""
    job = jobs.get(db, job_id)
    scene = pending_reason.Scene(db, settings, job, jobs.workers(db, beat=settings.beat_seconds))
    missing = pending_reason.for_a_worker(scene)
    if missing:
        return missing
    plugin = catalogue.other_version(scene.able, job.model, job.spec["plugin"])
    return plugin or catalogue.other_dataset(scene.able, job.dataset)


def wake(db: Database, settings: Settings, *, anyway: bool = False) -> Submitted:
    """See that jobs which have just come to be claimable find a worker.

    On a machine that brings its own worker it is started, if need be, also `anyway`.
    """
    from zoo.queue import broker

    done = Submitted([], None)
    hints = jobs.take_due_hints(db)
    if hints or anyway:
        _wake(db, broker.make_app(settings, patient=False), settings, hints, done)
    return done


def reap_and_resend(db: Database, app: App, settings: Settings) -> None:
    """Take back jobs whose worker fell silent, and hint again at those that wait without a hint.

    Raises BrokerError if the broker does not take the hints.
    """
    jobs.reap(db, backoff=settings.backoff_seconds)
    resend(db, app, settings)


def resend(
    db: Database, app: App, settings: Settings, *, seconds: float | None = None
) -> list[Hint]:
    """Hint again at jobs that wait without a hint; every worker and submission may do this.

    `seconds` is what an answer of the broker may take. Gives the hints. Raises BrokerError if the
    broker does not take them.
    """
    from zoo.queue import broker

    hints = jobs.take_stale_hints(db, after=settings.resend_seconds)
    if hints:
        broker.send(app, hints, unless=ENOUGH_HINTS, seconds=seconds)
    return hints
