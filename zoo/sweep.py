"""Sweeps: plan the trials of a model, submit them as one group, and go on with it."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from zoo import jobs, plugins, samplers, submit, trials
from zoo.errors import BrokerError, UsageError, ZooError, unknown
from zoo.jobs import Database, Group, Hint
from zoo.model import Params
from zoo.settings import Settings, cores
from zoo.space import Space
from zoo.spec import JobSpec, canonical
from zoo.submit import Submitted

MOST_JOBS = 100_000


@dataclass(frozen=True)
class Wanted:
    """What every job of a sweep has in common, as `submit.training` takes it, and its trials."""

    model: str
    dataset: str
    sampler: str = "grid"
    trials: int | None = None
    """How many, where the sampler does not know it."""
    training: dict[str, Any] = field(default_factory=dict)
    """seed, seeds or cv, keep_weights, timeout, memory_mb."""

    @property
    def parts(self) -> int:
        """Jobs of one trial."""
        return self.training.get("cv") or self.training.get("seeds") or 1


class Recipe:
    """Turns the params of a trial into the specs of its jobs."""

    def __init__(self, wanted: Wanted) -> None:
        self.params: type[Params] = plugins.model(wanted.model).Params
        self.defaults = self.params.resolve({}).model_dump()
        self.base = submit.training(wanted.model, {}, wanted.dataset, **wanted.training)

    def specs(self, given: Mapping[str, Any]) -> list[JobSpec]:
        """The jobs of a trial; raises UsageError if the model refuses the params."""
        resolved = self.params.resolve(given).model_dump()
        changed = [name for name, value in resolved.items() if value != self.defaults[name]]
        return [
            spec.model_copy(update={"params": resolved, "changed": changed}) for spec in self.base
        ]

    def settle(self, space: Space) -> Space:
        """The space with every value as the model understands it: 1 is 1.0 for a real number.

        Raises UsageError for a param that the model does not have.
        """
        for name in [*space.fixed, *space.varied]:
            if name not in self.defaults:
                raise unknown("param", name, self.defaults)
        varied = {
            name: [self._meant(name, value) for value in values]
            if isinstance(values, list)
            else values
            for name, values in space.varied.items()
        }
        fixed = {name: self._meant(name, value) for name, value in space.fixed.items()}
        return Space(fixed, varied, space.file).for_model(self.defaults)

    def _meant(self, name: str, value: Any) -> Any:
        try:
            return self.params.resolve({name: value}).model_dump()[name]
        except UsageError:  # it may be fine together with others; if not, the trial is refused
            return value


@dataclass(frozen=True)
class Plan:
    """A sweep that is ready to be submitted."""

    wanted: Wanted
    space: Space
    trials: list[dict[str, Any]]
    """The params of each, as far as they are known before the first has ended."""
    specs: list[JobSpec]
    total: int
    """Trials that there will be."""

    @property
    def jobs(self) -> int:
        return self.total * self.wanted.parts

    @property
    def about(self) -> dict[str, Any]:
        """What the group says of itself: enough to go on with it."""
        wanted = self.wanted
        return {
            "sampler": wanted.sampler,
            "objective": "accuracy",
            "model": wanted.model,
            "dataset": wanted.dataset,
            "fixed": self.space.fixed,
            "space": self.space.to_json(),
            "trials": self.total,
            "training": wanted.training,
        }


def plan(wanted: Wanted, space: Space) -> Plan:
    """The trials of a sweep, every param checked.

    Raises UsageError for what the model, the sampler or the file of trials refuses.
    """
    recipe = Recipe(wanted)
    if space.file:
        return _from_file(wanted, space, recipe)
    space = recipe.settle(space)
    if not space.varied:
        raise UsageError(
            "A sweep needs a param with several values.",
            "For example: -p epochs=5,10, or -p learning_rate=1e-4..1e-1:log --sampler random.",
        )
    number = wanted.trials or 20
    if wanted.sampler == "grid":
        if wanted.trials:
            raise UsageError("A grid has every combination, not --trials N.", "--sampler random?")
        found = samplers.grid(space)
    elif wanted.sampler == "random":
        found = samplers.random(space, number, wanted.training["seed"])
    else:
        # The first one tells whether the model takes such params; the driver asks for the others.
        first = samplers.promising(space, [], wanted.training["seed"])
        return Plan(wanted, space, [], recipe.specs(first or {}), number)
    specs = [spec for params in found for spec in recipe.specs(params)]
    return _checked(Plan(wanted, space, found, specs, len(found)))


def _from_file(wanted: Wanted, space: Space, recipe: Recipe) -> Plan:
    if space.varied:
        raise UsageError(
            f"The trials stand in {space.file}: {next(iter(space.varied))} cannot vary besides.",
            "Give it one value, or leave the file out.",
        )
    found: list[dict[str, Any]] = []
    specs: list[JobSpec] = []
    lines: dict[str, int] = {}
    for line, row in trials.read(space.file):  # type: ignore[arg-type]
        twice = row.keys() & space.fixed.keys()
        if twice:
            raise UsageError(f"The param {twice.pop()} is in {space.file} and in -p.")
        try:
            mine = recipe.specs(space.fixed | row)
        except UsageError as error:
            raise UsageError(f"{space.file} line {line}: {error.message}", error.hint) from None
        earlier = lines.setdefault(canonical(mine[0].params), line)
        if earlier != line:
            raise UsageError(f"{space.file} line {line}: the same trial as line {earlier}.")
        found.append(space.fixed | row)
        specs += mine
    # Of these the group keeps the names alone: the values are the trials.
    varied: dict[str, Any] = {name: [] for row in found for name in row if name not in space.fixed}
    wanted = Wanted(wanted.model, wanted.dataset, "file", None, wanted.training)
    return _checked(Plan(wanted, Space(space.fixed, varied), found, specs, len(found)))


def _checked(found: Plan) -> Plan:
    if found.jobs > MOST_JOBS:
        raise UsageError(f"That would be {found.jobs} jobs; {MOST_JOBS} are the most.")
    keys = {canonical(spec.params) for spec in found.specs}
    if len(keys) < found.total:
        raise UsageError(
            f"{found.total - len(keys)} of the {found.total} trials have the same params.",
            "Leave out values that mean the same.",
        )
    return found


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
    each = jobs.usual_seconds(db, plan.wanted.model, plan.wanted.dataset)
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
        self.queued: dict[str, Any] = about["queued"]
        self.is_done = False

    def step(self) -> list[str]:
        """Submit as many trials as there is room for; gives the ids of their jobs."""
        group = jobs.get_group(self.db, self.group_id)
        known = trials.of(group)
        added: list[str] = []
        while self._has_room(group, known):
            specs = self._next(known)
            if specs is None:
                self.total = len(known)
                break
            total = jobs.group_size(self.db, self.group_id)
            ids = jobs.extend(self.db, self.group_id, specs, known=total, **self._how())
            if ids is not None:
                self._hint(ids)
                added += ids
            group = jobs.get_group(self.db, self.group_id)
            known = trials.of(group)
        self.is_done = len(known) >= self.total
        return added

    def _has_room(self, group: Group, known: Sequence[trials.Trial]) -> bool:
        slots = slots_at_hand(self.db, self.settings, self.wanted.model, self.queued["pool"])
        at_once = min(slots, group.max_parallel or slots)
        running = sum(not trial.group.is_terminal for trial in known)
        return len(known) < self.total and running < max(1, at_once // self.wanted.parts)

    def _next(self, known: Sequence[trials.Trial]) -> list[JobSpec] | None:
        names = [*self.space.fixed, *self.space.varied]
        tried = [({name: t.params[name] for name in names}, t.result) for t in known]
        for _ in range(samplers.TRIES):
            params = samplers.promising(self.space, tried, self.wanted.training["seed"])
            if params is None:
                return None
            try:
                specs = self.recipe.specs(params)
            except UsageError:  # the model takes each of them, but not together
                tried.append((params, "failed"))
                continue
            # The same to the model, though not to the sampler, which would say it for ever.
            seen = {canonical(trial.params) for trial in known}
            return None if canonical(specs[0].params) in seen else specs
        return None

    def _how(self) -> dict[str, Any]:
        return self.queued | {"max_attempts": self.settings.max_attempts}

    def _hint(self, ids: Sequence[str]) -> None:
        from zoo import queue

        app = queue.make_app(self.settings, patient=False)
        hints = [Hint(each, self.queued["pool"], self.wanted.model) for each in ids]
        with contextlib.suppress(BrokerError):  # then a worker finds the rows later
            queue.send(app, hints)


def _wanted(about: Mapping[str, Any]) -> Wanted:
    same = ("model", "dataset", "sampler", "trials", "training")
    return Wanted(**{name: about[name] for name in same})


def start(
    db: Database,
    settings: Settings,
    plan: Plan,
    *,
    max_parallel: int | None = None,
    after: Mapping[str, bool] | None = None,
    pool: str = "default",
    priority: int = 0,
    tags: Sequence[str] = (),
) -> Submitted:
    """Submit a plan as one group: all of its trials, or of `tpe` the first."""
    queued = {"pool": pool, "priority": priority, "tags": list(tags)}
    return submit.submit(
        db,
        settings,
        plan.specs,
        group_kind="sweep",
        about=plan.about | {"queued": queued},
        max_parallel=max_parallel,
        after=after,
        **queued,  # type: ignore[arg-type]
    )


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
    if group.about.get("sampler") != "tpe" or len(trials.of(group)) >= group.about["trials"]:
        return None
    try:
        return Driver(db, settings, group)
    except KeyError as error:
        raise ZooError(f"The group {group.id[:8]} does not say its {error}.") from None
