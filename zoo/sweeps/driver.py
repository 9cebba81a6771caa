"""Sweeps: say how long one may take, submit it as a group, and go on with it."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from zoo import jobs
from zoo.errors import BrokerError, UsageError, ZooError
from zoo.job_spec import JobSpec, canonical
from zoo.jobs import Database, Group, Hint, QueueOptions
from zoo.queue import submit
from zoo.queue.options import TrainingOptions
from zoo.queue.submit import Submitted
from zoo.settings import Settings, cores
from zoo.sweeps import samplers, trials
from zoo.sweeps.plan import Plan, Recipe, Wanted
from zoo.sweeps.search_space import Space


@dataclass(frozen=True)
class Estimate:
    """How long jobs may take."""

    jobs: int
    slots: int
    """That may work at them at once."""
    each: float | None
    """The median of earlier trainings of that model on that dataset, in seconds."""

    @property
    def seconds(self) -> float | None:
        return None if self.each is None else math.ceil(self.jobs / self.slots) * self.each


def estimate(
    db: Database, settings: Settings, plan: Plan, pool: str, max_parallel: int | None
) -> Estimate:
    """What the history of equal jobs and the slots at hand say of a plan."""
    slots = slots_at_hand(db, settings, plan.wanted.model, pool)
    each = jobs.usual_seconds(db, plan.wanted.model, plan.wanted.training.dataset)
    return Estimate(plan.jobs, min(slots, max_parallel or slots), each)


def slots_at_hand(db: Database, settings: Settings, model: str, pool: str) -> int:
    """Slots online that take such jobs; without any, those that a local worker would have."""
    workers = jobs.workers(db, beat=settings.beat_seconds)
    online = sum(worker.slots for worker in workers if worker.can_run(pool, model))
    return online or settings.slots or cores()


class Driver:
    """Asks for the next trials of a `tpe` sweep whenever one has ended.

    It keeps nothing: what the rows of the group say is all it knows. So it may stop at any time,
    and another one goes on; should two run at once, only one of them adds a trial.
    """

    def __init__(self, db: Database, settings: Settings, group: Group) -> None:
        about = group.about
        self.db, self.settings, self.group_id = db, settings, group.id
        self.wanted = _wanted(about)
        self.space = Space.from_json(about["fixed"], about["space"])
        self.recipe = Recipe(self.wanted)
        self.total: int = about["trials"]
        self.queue = QueueOptions(**about["queued"])
        self.is_done = False

    def step(self) -> list[str]:
        """Submit as many trials as there is room for; gives the ids of their jobs."""
        total, group = self._look()
        known = trials.list_trials(group)
        added: list[str] = []
        while self._has_room(group, known):
            specs = self._next(known)
            if specs is None:
                self.total = len(known)
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
            total, group = self._look()
            known = trials.list_trials(group)
        self.is_done = len(known) >= self.total
        return added

    def _look(self) -> tuple[int, Group]:
        # Counted before it is read: what another driver adds from here on, `extend` notices.
        return jobs.group_size(self.db, self.group_id), jobs.get_group(self.db, self.group_id)

    def _has_room(self, group: Group, known: Sequence[trials.Trial]) -> bool:
        slots = slots_at_hand(self.db, self.settings, self.wanted.model, self.queue.pool)
        at_once = min(slots, group.max_parallel or slots)
        running = sum(not trial.group.is_terminal for trial in known)
        return len(known) < self.total and running < max(1, at_once // self.wanted.training.parts)

    def _next(self, known: Sequence[trials.Trial]) -> list[JobSpec] | None:
        names = [*self.space.fixed, *self.space.varied]
        newest = jobs.newest_contents(self.db).get(self.wanted.training.dataset)
        tried = [({name: t.value(name) for name in names}, _result(t, newest)) for t in known]
        for _ in range(samplers.MAX_ATTEMPTS):
            params = samplers.suggest_tpe(self.space, tried, self.wanted.training.seed)
            if params is None:
                return None
            try:
                specs = self.recipe.specs(params)
            except UsageError:  # the model takes each of them, but not together
                tried.append((params, "failed"))
                continue
            # The same to the model, though not to the sampler, which would say it forever.
            seen = {canonical(trial.params) for trial in known}
            return None if canonical(specs[0].params) in seen else specs
        return None

    def _hint(self, ids: Sequence[str]) -> None:
        from zoo.queue import broker

        app = broker.make_app(self.settings, patient=False)
        hints = [Hint(each, self.queue.pool, self.wanted.model) for each in ids]
        with contextlib.suppress(BrokerError):  # then a worker finds the rows later
            broker.send(app, hints)


def _result(trial: trials.Trial, newest: str | None) -> float | str:
    """What a trial says to the sampler: that it failed, if it was judged on older contents.

    So its accuracy counts for nothing, and its params are not asked for again.
    """
    if isinstance(trial.result, float) and trial.contents != newest:
        return "failed"
    return trial.result


def _wanted(about: Mapping[str, Any]) -> Wanted:
    training = TrainingOptions.from_json(about["dataset"], about["training"])
    return Wanted(about["model"], training, about["sampler"], about["trials"])


def start(
    db: Database,
    settings: Settings,
    plan: Plan,
    options: QueueOptions,
) -> Submitted:
    """Submit a plan as one group: all of its trials, or of `tpe` the first."""
    # Later trials of the group are queued in the same way.
    queued = {"pool": options.pool, "priority": options.priority, "tags": list(options.tags)}
    about = plan.about | {"queued": queued}
    return submit.submit(db, settings, plan.specs, options, group_kind="sweep", about=about)


def resume(db: Database, settings: Settings, group: Group) -> Submitted:
    """Go on with a sweep: what was cancelled or lost is submitted again, what has ended is not.

    Raises UsageError if the group is no sweep.
    """
    if group.kind != "sweep":
        raise UsageError(f"The group {group.id[:8]} is no sweep.", "`zoo wait` follows it.")
    broken = [job.id for job in group.jobs if job.status in ("cancelled", "lost")]
    note = ""
    if broken:
        note = submit.retry(db, settings, broken).note
    done = submit.wake(db, settings, anyway=True)
    now = jobs.get_group(db, group.id)
    done.ids, done.group = [job.id for job in now.jobs], group.id
    done.note = done.note or note
    return done


def driver_of(db: Database, settings: Settings, group: Group) -> Driver | None:
    """Who asks for the next trials of a sweep; None if all have been submitted."""
    if (
        group.about.get("sampler") != "tpe"
        or len(trials.list_trials(group)) >= group.about["trials"]
    ):
        return None
    try:
        return Driver(db, settings, group)
    except KeyError as error:
        raise ZooError(f"The group {group.id[:8]} does not say its {error}.") from None
