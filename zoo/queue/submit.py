"""Submit jobs: validate the request, commit the rows, send the hints, ensure a local worker."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from zoo import jobs
from zoo.data import datasets, takes
from zoo.data.columns import check_same
from zoo.errors import BrokerError, StoreError, UsageError, ZooError, reason
from zoo.job_spec import SPEC_VERSION, Fold, JobSpec, Source
from zoo.jobs import Database, Group, Hint, Job, Pruner, QueueOptions, references
from zoo.jobs.queue_options import GPU
from zoo.model import resolved
from zoo.plugins import packages
from zoo.queue import catalogue, pending_reason, pinning
from zoo.queue.options import TrainingOptions
from zoo.settings import Settings

if TYPE_CHECKING:
    from zoo.data.cache import Progress
    from zoo.jobs.cards import Card
    from zoo.queue.broker import Broker
    from zoo.queue.catalogue import Offer
    from zoo.queue.pinning import PinnedDataset

ENOUGH_HINTS = 100
"""Enough hints for one queue: a slot that was woken continues until it finds no job."""
STARTING_SECONDS = 60.0
"""Time in which a local worker imports the plugins and registers itself."""
MOST_HINTS = 1000
"""Largest number of hints per submission and queue, whatever the number of free slots."""

MOST_NAMED = 10
"""Number of jobs named individually in a message."""


class Left(KeyboardInterrupt):
    """Ctrl-C after the rows were committed; the argument is the id of the job or group."""


@dataclass
class Submitted:
    """The result of a submission."""

    ids: list[str]
    group: str | None
    note: str = ""
    """A warning for the user: the broker is unreachable, or no worker has the model."""
    worker: subprocess.Popen[bytes] | None = field(default=None, repr=False)
    """The local worker, if this submission started it."""

    @property
    def ref(self) -> str:
        """The id of the group, or of the only job."""
        return self.group or self.ids[0]


def training(
    model: str,
    params: Mapping[str, Any],
    options: TrainingOptions | None = None,
    progress: Progress | None = None,
    *,
    dataset: PinnedDataset | None = None,
) -> list[JobSpec]:
    """Return the specs of a training with defaults filled in: one, or one per fold or seed.

    Args:
        model: Name of the model.
        params: Params that are not the defaults.
        options: The other options.
        progress: Called with the progress of reading files, see `pinning.pin`.
        dataset: The dataset, if it was pinned before.

    Raises:
        UsageError: For an unknown model, dataset or param, a value out of bounds, or a dataset that
            the model cannot take.
        DatasetError: For files that are no dataset.
    """
    options = options or TrainingOptions()
    offer = catalogue.model(model)
    values, changed = resolved(offer.params, params)
    data = dataset or pinning.pin(options.dataset, progress)
    pinning.check_model(offer.card, data, options)
    check_params(offer, values, data, options)
    asked = {
        "kind": "train",
        "model": model,
        "params": values,
        "changed": changed,
        "dataset": data.name,
        "version": data.version,
        "contents": data.contents,
        "preprocess": options.preprocess,
        "validation": options.validation,
        "class_weight": options.class_weight,
        "positive": options.positive,
        "seed": options.seed,
        "device": _device(offer.card, options),
        "exact": options.exact,
        "timeout": options.timeout,
        "memory_mb": options.memory_mb,
        "keep_weights": options.keeps_weights,
        "plugin": offer.plugin,
    }
    spec = JobSpec.parse_object(asked)
    if k := options.cv:
        return [spec.model_copy(update={"fold": Fold(k=k, index=i)}) for i in range(k)]
    return [spec.model_copy(update={"seed": spec.seed + i}) for i in range(options.parts)]


def check_params(
    offer: Offer, values: Mapping[str, Any], dataset: PinnedDataset, options: TrainingOptions
) -> None:
    """Raise UsageError for a param that needs rows which the training does not have."""
    takes.check_params(offer.card.param_schemas, values, dataset.meta, options)


def _device(card: Card, options: TrainingOptions) -> str | None:
    """Return the device as jobs record it: None for the processor."""
    device = options.device or card.device
    return GPU if device == GPU else None


def evaluation(
    trained: Job | Group, dataset: str | None, split: str, progress: Progress | None = None
) -> JobSpec:
    """Return the spec of an evaluation of a trained model, by default on its own contents.

    `progress` is as for `pinning.pin`. Raises UsageError if the job has no trained model, or the
    inputs of the dataset do not fit it.
    """
    job, spec = references.with_weights(trained)
    artifact, sha256 = job.stored_artifact()
    source = Source(job=job.id, artifact=artifact, sha256=sha256)
    changed = {
        "v": SPEC_VERSION,
        "kind": "evaluate",
        "split": split,
        "fold": None,
        "published": None,
        "source": source,
        # Those of the training; an evaluation has neither.
        "validation": None,
        "class_weight": None,
    }
    if dataset:
        data = pinning.pin_to_judge(dataset, spec, progress)
        trained_on = pinning.described(spec.dataset, spec.contents)
        if trained_on and data.meta:
            check_same(trained_on, data.meta.model_copy(update={"name": data.name}))
        changed |= {"dataset": data.name, "version": data.version, "contents": data.contents}
    return JobSpec.parse_object(spec.model_copy(update=changed).model_dump())


def submit(
    db: Database,
    settings: Settings,
    specs: Sequence[JobSpec],
    options: QueueOptions | None = None,
    *,
    group_kind: str | None = None,
    about: Mapping[str, Any] | None = None,
    pruner: Pruner | None = None,
) -> Submitted:
    """Commit the jobs, then wake a worker; an unreachable broker delays the jobs only.

    With a `group_kind` the jobs form a group, and `about` and `pruner` are stored with it. Their
    owner is the user of this process, unless `options` has another.
    """
    options = options or QueueOptions()
    options = replace(options, submitted_by=options.submitted_by or settings.submitter)
    if settings.is_embedded:
        packages.check_worker()
    specs = _pinned(specs)
    # Imported before the row is committed, so that the hint follows without delay.
    from zoo.queue.broker import Broker

    if settings.is_embedded:
        from zoo.queue import local_services  # noqa: F401
    broker = Broker(settings, patient=False)
    # Before the row is committed: otherwise the running worker would use its old plugin code.
    asked = {(spec.model, spec.dataset) for spec in specs}
    renewed = _renew(db, settings, asked) if settings.is_embedded else None
    ids, group = jobs.add(
        db,
        specs,
        options,
        group_kind=group_kind,
        about=about,
        max_attempts=settings.max_attempts,
        pruner=pruner,
    )
    done = Submitted(ids, group, worker=renewed)
    # The other jobs of the group get their hints when `max_parallel` admits them.
    first = ids[: options.max_parallel]
    hints = [
        Hint(job, options.pool_of(spec.device), spec.model)
        for job, spec in zip(first, specs, strict=False)
    ]
    try:
        _wake(db, broker, settings, hints, done)
    except KeyboardInterrupt:
        raise Left(done.ref) from None
    return done


def _pinned(specs: Sequence[JobSpec]) -> list[JobSpec]:
    """Pin trainings on datasets that were read only after their specs were made."""
    names = {each.dataset for each in specs if each.contents is None and each.kind == "train"}
    known = {name: datasets.fingerprint(name) for name in names}
    return [
        spec.model_copy(update={"contents": known[spec.dataset]})
        if spec.contents is None and spec.dataset in known
        else spec
        for spec in specs
    ]


def retry(
    db: Database,
    settings: Settings,
    job_ids: Sequence[str],
    *,
    resume: bool = False,
    exact: bool = False,
) -> Submitted:
    """Submit unsuccessful jobs again, unchanged; their owner is the user of this process.

    With `resume` they start from the newest checkpoint of the old ones, if there is one; with
    `exact` only where that ends with the same bits.

    Raises UsageError if none of the jobs can be retried, or with `resume` none has a checkpoint.
    """
    from zoo.queue.broker import Broker

    if settings.is_embedded:
        packages.check_worker()
    broker = Broker(settings, patient=False)
    found = jobs.get_many(db, job_ids)
    if resume and found and not any(job.checkpoint for job in found):
        one = f"The job {found[0].id[:8]} has no checkpoint to continue from."
        raise UsageError(
            one if len(found) == 1 else "None of the jobs has a checkpoint to continue from.",
            "A plain retry begins anew.",
        )
    asked = {(job.model, job.dataset) for job in found}
    renewed = _renew(db, settings, asked) if settings.is_embedded and asked else None
    most = settings.max_attempts
    ids = jobs.retry(
        db,
        job_ids,
        max_attempts=most,
        resume=resume,
        exact=exact,
        submitted_by=settings.submitter,
    )
    if not ids:
        raise UsageError(
            f"There is nothing to retry: {_left_alone(db, job_ids)}.",
            "`zoo jobs --status failed` lists jobs that ended without success.",
        )
    done = Submitted(ids, None, worker=renewed)
    added = (jobs.get(db, each) for each in ids)
    _wake(db, broker, settings, [Hint(job.id, job.pool, job.model) for job in added], done)
    return done


def _left_alone(db: Database, job_ids: Sequence[str]) -> str:
    """Return the reason for each job that is not retried."""
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
    db: Database, broker: Broker, settings: Settings, hints: Sequence[Hint], done: Submitted
) -> None:
    """Send hints; with embedded services, start the local worker."""

    try:
        # The worker is started first: it finds the job in the database even if the hint is lost.
        if settings.is_embedded:
            from zoo.queue import local_services

            done.worker = local_services.ensure(settings) or done.worker
        broker.send(_enough(db, settings, hints))
        reap_and_resend(db, broker, settings)
        if not settings.is_embedded and hints:
            done.note = _who_runs(db, settings, hints[0].job)
    except BrokerError as error:
        _expire_first(db, settings, hints)
        then = pending_reason.without_broker(settings)
        done.note = f"queued; broker unreachable ({error.message}) {then}"
    # The rows are committed: an error here would make the user submit them again.
    except StoreError as error:
        done.note = f"queued; then the database went away ({error.message})"
    except (ZooError, OSError) as error:
        done.note = f"queued; but no worker could be started: {reason(error)}."


def _expire_first(db: Database, settings: Settings, hints: Sequence[Hint]) -> None:
    """Let workers that still receive hints learn that none can be sent, as if out of memory.

    The next one that looks for jobs without a hint finds this one, and goes on from the rows.
    """
    with contextlib.suppress(StoreError):
        for hint in hints[:1]:
            jobs.expire_hint(db, hint.job, after=settings.resend_seconds)


def _enough(db: Database, settings: Settings, hints: Sequence[Hint]) -> list[Hint]:
    """Return the first hints of each pool and model: one per slot, and some for future workers.

    A slot that was woken continues by itself; a job without a hint gets one later if it waits.
    """
    if len(hints) <= ENOUGH_HINTS:
        return list(hints)
    slots: Counter[str] = Counter()
    for worker in jobs.workers(db):
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
    """Replace a local worker that was started before a plugin was installed or changed.

    `asked` has the (model, dataset) of the jobs to be submitted.
    """
    from zoo.queue import local_services

    local = local_services.local_worker(settings)
    if local is None:
        return None
    found = [w for w in jobs.workers(db) if w.pid == local.pid]
    if not found:
        # Either it is still starting, or the home was recreated and it uses the removed one.
        is_old = time.time() - local.create_time() > STARTING_SECONDS
        return local_services.replace_worker(settings) if is_old else None
    is_old = any(catalogue.is_outdated(worker, *each) for worker in found for each in asked)
    return local_services.replace_worker(settings) if is_old else None


def _who_runs(db: Database, settings: Settings, job_id: str) -> str:
    """Return a warning about the workers that are to run the job; empty if there is none."""
    job = jobs.get(db, job_id)
    scene = pending_reason.Scene(db, settings, job, jobs.workers(db))
    missing = pending_reason.for_a_worker(scene)
    if missing:
        return missing
    plugin = catalogue.other_version(scene.able, job.model, job.spec["plugin"])
    return plugin or catalogue.other_dataset(scene.able, job.dataset)


def wake(db: Database, settings: Settings, *, anyway: bool = False) -> Submitted:
    """Send hints for jobs that have just become claimable.

    With embedded services the local worker is started if needed, or always with `anyway`.
    """
    from zoo.queue.broker import Broker

    done = Submitted([], None)
    hints = jobs.take_due_hints(db)
    if hints or anyway:
        _wake(db, Broker(settings, patient=False), settings, hints, done)
    return done


def reap_and_resend(db: Database, broker: Broker, settings: Settings) -> None:
    """Requeue jobs whose worker is silent, and send hints again for jobs that wait without one.

    Raises BrokerError if the broker does not accept the hints.
    """
    jobs.reap(db, backoff=settings.backoff_seconds)
    resend(db, broker, settings)


def resend(
    db: Database, broker: Broker, settings: Settings, *, seconds: float | None = None
) -> list[Hint]:
    """Send hints again for jobs that wait without one; every worker and submission may call this.

    `seconds` is the time limit for an answer of the broker. Returns the hints. Raises BrokerError
    if the broker does not accept them.
    """

    hints = jobs.take_stale_hints(db, after=settings.resend_seconds)
    if hints:
        try:
            broker.send(hints, unless=ENOUGH_HINTS, seconds=seconds)
        except BrokerError:
            _expire_first(db, settings, hints)  # for the other workers
            raise
    return hints
