"""The plan of a sweep: its trials and their jobs, every param checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from zoo.canonical_json import canonical
from zoo.errors import UsageError, unknown
from zoo.job_spec import JobSpec
from zoo.jobs import Pruner
from zoo.metrics import ACCURACY, COSTS, Objective, base_name
from zoo.model import Params, resolved, to_json
from zoo.param_values import lookup
from zoo.queue import catalogue, pinning, submit
from zoo.queue.options import TrainingOptions
from zoo.queue.pinning import PinnedDataset
from zoo.sweeps import samplers, trials
from zoo.sweeps.pruners import PruningOptions, check_number, choose_pruner
from zoo.sweeps.search_space import Space

MAX_JOBS = 100_000


@dataclass(frozen=True)
class SweepRequest:
    """The request for a sweep: model and options of every job, and how trials are chosen."""

    model: str
    training: TrainingOptions
    sampler: str = "grid"
    trials: int | None = None
    """Number of trials, where the sampler does not determine it."""
    metric: str | None = None
    """The metric by which trials are ranked; None: the dataset's own, or accuracy."""
    pruning: PruningOptions = PruningOptions()


class TrialBuilder:
    """Builds the job specs of a trial from its params."""

    def __init__(self, wanted: SweepRequest, dataset: PinnedDataset | None = None) -> None:
        """`dataset` is that of the trials before, which the later ones run on, too."""
        self.offer = catalogue.model(wanted.model)
        self.training = wanted.training
        self.params: type[Params] = self.offer.params
        self.defaults = to_json(self.params.resolve({}))
        self.dataset = dataset or pinning.pin(wanted.training.dataset)
        self.base = submit.training(wanted.model, {}, wanted.training, dataset=self.dataset)

    def specs(self, given: Mapping[str, Any]) -> list[JobSpec]:
        """Return the job specs of a trial; raises UsageError if the model refuses the params.

        Also if they need validation rows, and the jobs have none.
        """
        values, changed = resolved(self.params, given)
        submit.check_params(self.offer, values, self.dataset, self.training)
        return [
            spec.model_copy(update={"params": values, "changed": changed}).checked()
            for spec in self.base
        ]

    def normalize(self, space: Space) -> Space:
        """Return the space with every value in the type of its param: 1 is 1.0 for a float.

        Raises UsageError for a param that the model does not have.
        """
        for name in [*space.fixed, *space.varied]:
            if name.partition(".")[0] not in self.defaults:
                raise unknown("param", name, self.defaults)
        varied = {
            name: [self._typed(name, value) for value in values]
            if isinstance(values, list)
            else values
            for name, values in space.varied.items()
        }
        fixed = {name: self._typed(name, value) for name, value in space.fixed.items()}
        return replace(space, fixed=fixed, varied=varied).for_model(self.defaults)

    def _typed(self, name: str, value: Any) -> Any:
        try:
            return lookup(to_json(self.params.resolve({name: value})), name, value)
        except UsageError:  # may be valid with other params; else the trial is refused
            return value


@dataclass(frozen=True)
class Plan:
    """A sweep that is ready to be submitted."""

    wanted: SweepRequest
    space: Space
    trials: list[dict[str, Any]]
    """The params of each trial that is known before the first one has ended."""
    specs: list[JobSpec]
    total: int
    """Number of trials in the end."""
    objective: Objective = ACCURACY
    """The metric by which trials are ranked."""
    pruner: Pruner | None = None
    reused: Sequence[str] = ()
    """Ids of jobs that have succeeded with the specs of some trials before."""

    @property
    def is_chosen_on_test(self) -> bool:
        """Whether trials are compared on the test images, which then judge the best one, too."""
        has_own_rows = self.objective.metric.startswith("val_") or self.wanted.training.cv
        return not has_own_rows

    @property
    def jobs(self) -> int:
        return self.total * self.wanted.training.parts - len(self.reused)

    @property
    def about(self) -> dict[str, Any]:
        """What the group stores, from which the sweep can be resumed."""
        wanted = self.wanted
        return {
            "sampler": wanted.sampler,
            "model": wanted.model,
            "dataset": wanted.training.dataset,
            "fixed": self.space.fixed,
            "space": self.space.to_json(),
            "trials": self.total,
            "training": wanted.training.to_json(),
            **self.objective.to_json(),
            "pruner": self.pruner and asdict(self.pruner),
            **({"reused": list(self.reused)} if self.reused else {}),
        }


def plan_sweep(wanted: SweepRequest, space: Space) -> Plan:
    """Plan the trials of a sweep and validate every param.

    Raises:
        UsageError: If the model, the sampler or the file of trials refuses something, or there is
            no such metric.
    """
    builder = TrialBuilder(wanted)
    objective, pruner = choose_objective(wanted, builder.dataset), None
    if wanted.pruning.pruner:
        if wanted.training.parts > 1:
            raise UsageError(
                "A trial that is pruned is one training.", "Leave out --cv and --seeds."
            )
        pruner, space = choose_pruner(
            wanted.pruning, builder.offer.card, space, builder.defaults, objective
        )
    found = _plan(wanted, space, builder)
    if pruner:
        check_number(pruner, found.total)
    if pruner and wanted.sampler == "tpe":
        pruner = replace(pruner, trials=found.total)
    return replace(found, objective=objective, pruner=pruner)


def choose_objective(wanted: SweepRequest, dataset: PinnedDataset) -> Objective:
    """Return the metric by which the trials of a sweep are ranked.

    That of the request, else the dataset's own, else accuracy. Where the jobs have validation rows
    it is measured on them: `val_accuracy`; under a cross-validation on the held-out folds.

    Raises:
        UsageError: For an unknown metric, or one of validation rows that the jobs do not have.
    """
    meta, training = dataset.meta, wanted.training
    own_rows = meta is not None and "validation" in meta.counts and not training.cv
    has_validation = bool(training.validation) or own_rows
    name = wanted.metric or (meta.metric if meta else "") or ACCURACY.metric
    if has_validation and not training.cv and base_name(name) == name and name not in COSTS:
        name = f"val_{name}"
    if name.startswith("val_") and not has_validation:
        raise UsageError(
            f"The jobs have no validation rows, so that they have no {name}.", "Add --validation."
        )
    return catalogue.objective(name)


def _plan(wanted: SweepRequest, space: Space, builder: TrialBuilder) -> Plan:
    if space.file or space.table is not None:
        return _from_file(wanted, space, builder)
    space = builder.normalize(space)
    if not space.varied:
        raise UsageError(
            "A sweep needs a param with several values.",
            "For example: -p epochs=5,10, or -p learning_rate=1e-4..1e-1:log --sampler random.",
        )
    number = wanted.trials or 20
    if wanted.sampler == "grid":
        if wanted.trials:
            raise UsageError(
                "--trials does not apply to a grid, which has every combination.",
                "Use --sampler random.",
            )
        found = samplers.sample_grid(space)
    elif wanted.sampler == "random":
        found = samplers.sample_random(space, number, wanted.training.seed)
    else:
        # The first trial validates the params; the driver samples the others.
        first = samplers.suggest_tpe(space, [], wanted.training.seed)
        return Plan(wanted, space, [], builder.specs(first or {}), number)
    specs = [spec for params in found for spec in builder.specs(params)]
    return _checked(Plan(wanted, space, found, specs, len(found)))


def _from_file(wanted: SweepRequest, space: Space, builder: TrialBuilder) -> Plan:
    source = str(space.file or "the table")
    if space.varied:
        raise UsageError(
            f"The trials are in {source}: {next(iter(space.varied))} cannot vary as well.",
            f"Give it one value, or leave {'the file' if space.file else source} out.",
        )
    found: list[dict[str, Any]] = []
    specs: list[JobSpec] = []
    lines: dict[str, int] = {}
    table, file = space.table or "", space.file
    listed = trials.read_trials(file) if file else trials.parse_trials(table)
    for line, row in listed:
        place = trials.place(space.file, line)
        twice = row.keys() & space.fixed.keys()
        if twice:
            raise UsageError(f"The param {twice.pop()} is in {source} and in -p.")
        try:
            mine = builder.specs(space.fixed | row)
        except UsageError as error:
            raise UsageError(f"{place}: {error.message}", error.hint) from None
        earlier = lines.setdefault(canonical(mine[0].params), line)
        if earlier != line:
            raise UsageError(f"{place}: the same trial as line {earlier}.")
        found.append(space.fixed | row)
        specs += mine
    # The group stores only the names; the values are those of the trials.
    varied: dict[str, Any] = {name: [] for row in found for name in row if name not in space.fixed}
    wanted = replace(wanted, sampler="file", trials=None)
    return _checked(Plan(wanted, Space(space.fixed, varied), found, specs, len(found)))


def _checked(found: Plan) -> Plan:
    if found.jobs > MAX_JOBS:
        raise UsageError(f"That would be {found.jobs} jobs; the limit is {MAX_JOBS}.")
    keys = {canonical(spec.params) for spec in found.specs}
    if len(keys) < found.total:
        raise UsageError(
            f"{found.total - len(keys)} of the {found.total} trials have the same params.",
            "Leave out values that are equal for the model.",
        )
    return found
