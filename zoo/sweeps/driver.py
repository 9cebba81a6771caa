"""Estimate, submit, drive and resume sweeps."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from zoo import jobs
from zoo.canonical_json import canonical
from zoo.errors import BrokerError, UsageError, ZooError
from zoo.job_spec import JobSpec
from zoo.jobs import Database, Group, Hint, QueueOptions, RungEntry
from zoo.queue import submit
from zoo.queue.options import TrainingOptions
from zoo.queue.pinning import PinnedDataset
from zoo.queue.submit import Submitted
from zoo.settings import Settings, cores
from zoo.sweeps import samplers, trials
from zoo.sweeps.plan import Plan, SweepRequest, TrialBuilder
from zoo.sweeps.pruners import expected_epochs
from zoo.sweeps.search_space import Space


@dataclass(frozen=True)
class SweepEstimate:
    """Estimated duration of a sweep."""

    jobs: int
    slots: int
    """Slots that can run its jobs at the same time."""
    each: float | None
    """Median duration of earlier trainings of the model on the dataset, in seconds."""
    epochs: int | None = None
    """With ASHA, about how many epochs the trials will take together."""
    most_epochs: int | None = None
    """The same if no trial was pruned."""
    is_upper_bound: bool = False
    """Whether trials may be pruned, nobody knows how many."""

    @property
    def seconds(self) -> float | None:
        if self.each is None:
            return None
        if not (self.epochs and self.most_epochs):
            return math.ceil(self.jobs / self.slots) * self.each
        # However many slots there are, the best trial is trained to its end.
        parallel = min(self.slots, self.jobs)
        return max(1.0, self.jobs * self.epochs / self.most_epochs / parallel) * self.each

    def to_json(self) -> dict[str, Any]:
        return {
            "jobs": self.jobs,
            "slots": self.slots,
            "epochs": self.epochs,
            "most_epochs": self.most_epochs,
            "seconds_each": self.each,
            "seconds": self.seconds,
        }


def estimate_sweep(
    db: Database, settings: Settings, plan: Plan, pool: str | None, max_parallel: int | None
) -> SweepEstimate:
    """Estimate the duration of a plan from similar jobs and the available slots."""
    device = plan.specs[0].device if plan.specs else None
    asked = QueueOptions(pool=pool).pool_of(device)
    slots = available_slots(db, settings, plan.wanted.model, asked, device)
    each = jobs.usual_seconds(db, plan.wanted.model, plan.wanted.training.dataset)
    slots = min(slots, max_parallel or slots)
    if plan.pruner is None:
        return SweepEstimate(plan.jobs, slots, each)
    if plan.pruner.name != "asha":
        return SweepEstimate(plan.jobs, slots, each, is_upper_bound=True)
    epochs = round(expected_epochs(plan.pruner, plan.jobs))
    return SweepEstimate(plan.jobs, slots, each, epochs, plan.jobs * plan.pruner.max_resource)


def available_slots(
    db: Database, settings: Settings, model: str, pool: str, device: str | None = None
) -> int:
    """Count online slots for such jobs; without any, those of a local worker."""
    workers = jobs.workers(db)
    able = [worker for worker in workers if worker.can_run(pool, model, device=device)]
    online = sum(worker.slots_for(device) for worker in able)
    return online or settings.slots or cores()


class Driver:
    """Submits the next trials of a `tpe` sweep whenever one has ended.

    It keeps no state but the database's. It may stop at any time, and another driver continues;
    if two run at once, only one of them adds a trial.
    """

    def __init__(self, db: Database, settings: Settings, group: Group) -> None:
        about = group.about
        self.db, self.settings, self.group_id = db, settings, group.id
        self.wanted = _wanted(about)
        self.space = Space.from_json(about["fixed"], about["space"])
        self.dataset = _dataset_of(group)
        self.builder = TrialBuilder(self.wanted, self.dataset)
        self.total: int = about["trials"]
        # The trials that a resumed sweep adds belong to the user who resumes it.
        self.queue = QueueOptions(**about["queued"], submitted_by=settings.submitter)
        self.device = group.jobs[0].device if group.jobs else None
        self.is_done = False

    def step(self) -> list[str]:
        """Submit as many trials as there is room for; return the ids of their jobs."""
        total, group = self._read()
        known = trials.list_trials(group)
        added: list[str] = []
        while self._has_room(group, known):
            specs = self._next(known)
            if specs is None:
                self.total = len(known)
                jobs.complete_sweep(self.db, self.group_id, trials=self.total)
                break
            ids = jobs.extend(
                self.db,
                self.group_id,
                specs,
                self.queue,
                known=total,
                max_attempts=self.settings.max_attempts,
            )
            if ids is not None:
                self._hint(ids)
                added += ids
            total, group = self._read()
            known = trials.list_trials(group)
        self.is_done = len(known) >= self.total
        return added

    def _read(self) -> tuple[int, Group]:
        # Counted before it is read, so that `extend` notices trials that another driver adds.
        return jobs.group_size(self.db, self.group_id), jobs.get_group(self.db, self.group_id)

    def _has_room(self, group: Group, known: Sequence[trials.Trial]) -> bool:
        asked = (self.wanted.model, self.queue.pool_of(self.device), self.device)
        slots = available_slots(self.db, self.settings, *asked)
        at_once = min(slots, group.max_parallel or slots)
        running = sum(trial.status in ("queued", "running") for trial in known)
        return len(known) < self.total and running < max(1, at_once // self.wanted.training.parts)

    def _next(self, known: Sequence[trials.Trial]) -> list[JobSpec] | None:
        names = [*self.space.fixed, *self.space.varied]
        newest = self.dataset and self.dataset.contents
        newest = newest or jobs.newest_contents(self.db).get(self.wanted.training.dataset)
        rungs = {each.job_id: each for each in jobs.list_rungs(self.db, self.group_id)}
        tried: list[tuple[samplers.Params, samplers.Result]] = [
            ({name: t.value(name) for name in names}, _result(t, newest, rungs)) for t in known
        ]
        for _ in range(samplers.MAX_ATTEMPTS):
            params = samplers.suggest_tpe(self.space, tried, self.wanted.training.seed)
            if params is None:
                return None
            try:
                specs = self.builder.specs(params)
            except UsageError:  # valid one by one, but not together
                tried.append((params, "failed"))
                continue
            # Equal for the model, though not for the sampler, which would repeat it forever.
            seen = {canonical(trial.params) for trial in known}
            return None if canonical(specs[0].params) in seen else specs
        return None

    def _hint(self, ids: Sequence[str]) -> None:
        from zoo.queue.broker import Broker

        pool = self.queue.pool_of(self.device)
        hints = [Hint(each, pool, self.wanted.model) for each in ids]
        with contextlib.suppress(BrokerError):  # a worker finds the jobs later
            Broker(self.settings, patient=False).send(hints)


def _result(
    trial: trials.Trial, newest: str | None, rungs: Mapping[str, RungEntry]
) -> samplers.Result:
    """Return a trial's result for the sampler; on older contents it counts as failed.

    Its value is then ignored, and its params are not suggested again. The sampler maximizes.
    `rungs` has the last metric of trials that were paused or pruned, by job.
    """
    if isinstance(trial.result, str):
        last = rungs.get(trial.group.jobs[0].id)
        if trial.status not in ("paused", "pruned") or last is None or last.value is None:
            return trial.result
        return samplers.Pruned(last.resource, -trial.group.objective.key(last.value))
    if trial.contents != newest:
        return "failed"
    return -trial.group.objective.key(trial.result)


def _dataset_of(group: Group) -> PinnedDataset | None:
    """Return the dataset that the first trials were pinned to; None for one of before."""
    first = group.jobs[0] if group.jobs else None
    if first is None or first.spec["contents"] is None:
        return None
    return PinnedDataset(first.dataset, first.dataset_version, first.spec["contents"])


def _wanted(about: Mapping[str, Any]) -> SweepRequest:
    training = TrainingOptions.from_json(about["dataset"], about["training"])
    return SweepRequest(about["model"], training, about["sampler"], about["trials"])


def submit_sweep(db: Database, settings: Settings, plan: Plan, options: QueueOptions) -> Submitted:
    """Submit a plan as one group: all of its trials, or the first one for `tpe`."""
    # Later trials of the group are queued in the same way.
    queued = {"pool": options.pool, "priority": options.priority, "tags": list(options.tags)}
    queued |= {"name": options.name} if options.name else {}
    about = plan.about | {"queued": queued}
    return submit.submit(
        db,
        settings,
        plan.specs,
        options,
        group_kind="sweep",
        about=about,
        pruner=plan.pruner,
    )


def resume_sweep(db: Database, settings: Settings, group: Group) -> Submitted:
    """Resume a sweep: submit again what was cancelled or lost; keep what has finished.

    Raises:
        UsageError: If the group is not a sweep.
    """
    if group.kind != "sweep":
        raise UsageError(f"The group {group.id[:8]} is not a sweep.", "`zoo wait` follows it.")
    broken = [job.id for job in group.jobs if job.status in ("cancelled", "lost")]
    note = ""
    if broken:
        note = submit.retry(db, settings, broken).note
    done = submit.wake(db, settings, anyway=True)
    now = jobs.get_group(db, group.id)
    done.ids, done.group = [job.id for job in now.jobs], group.id
    done.note = done.note or note
    return done


def make_driver(db: Database, settings: Settings, group: Group) -> Driver | None:
    """Return the driver of a sweep; None if all of its trials have been submitted."""
    if (
        group.about.get("sampler") != "tpe"
        or len(trials.list_trials(group)) >= group.about["trials"]
    ):
        return None
    try:
        return Driver(db, settings, group)
    except KeyError as error:
        raise ZooError(f"The group {group.id[:8]} has no {error}.") from None
