"""`zoo sweep`: one job for each combination of params, or for those picked by a sampler."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zoo.cli import completion
from zoo.cli.leaving import planning, submitting
from zoo.cli.option_groups import option, takes
from zoo.cli.options import GROUP, TRAINING, AsJson, Detach, ModelName
from zoo.jobs.queue_options import QueueOptions
from zoo.queue.options import TrainingOptions
from zoo.sweeps.pruners import PruningOptions
from zoo.terminal_text import counted

if TYPE_CHECKING:
    from zoo.jobs import Database, Group
    from zoo.queue.submit import Submitted
    from zoo.settings import Settings
    from zoo.sweeps.driver import SweepEstimate
    from zoo.sweeps.plan import Plan, SweepRequest


def add_to(app: typer.Typer) -> None:
    app.command()(sweep)


TRIAL = TRAINING | {
    "seeds": option(metavar="N", help="Train each trial with N seeds."),
    "cv": option(metavar="K", help="Cross-validate each trial with K folds."),
}
"""How the fields of `TrainingOptions` are typed for a sweep."""


PRUNING = {
    "pruner": option(
        metavar="NAME",
        help="median: end trials below the median of the others. asha: let trials wait at rungs, "
        "and promote the best.",
        autocompletion=completion.one_of("median", "asha"),
    ),
    "min_resource": option(metavar="N", help="asha: epochs to the first rung. [default: 1]"),
    "max_resource": option(metavar="N", help="asha: epochs of a complete training."),
    "reduction_factor": option(
        metavar="N", help="asha: promote the best 1/N of a rung. [default: 3]"
    ),
    "n_startup_trials": option(
        metavar="N", help="median: prune none until N trials have succeeded. [default: 5]"
    ),
    "n_warmup_steps": option(metavar="N", help="median: prune none before epoch N. [default: 0]"),
}
"""How the fields of `PruningOptions` are typed."""


@takes(QueueOptions, GROUP, "queued")
@takes(PruningOptions, PRUNING, "pruning", after="metric")
@takes(TrainingOptions, TRIAL, "training", after="param")
def sweep(
    training: TrainingOptions,
    pruning: PruningOptions,
    queued: QueueOptions,
    model: Annotated[str | None, ModelName] = None,
    param: Annotated[
        list[str] | None,
        typer.Option(
            "--param",
            "-p",
            metavar="NAME=VALUES",
            help="Values to try: NAME=V1,V2, NAME=1..10, NAME=1e-4..1e-1:log, @FILE (repeatable).",
            autocompletion=completion.params,
        ),
    ] = None,
    sampler: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="grid, random or tpe.",
            autocompletion=completion.one_of("grid", "random", "tpe"),
        ),
    ] = "grid",
    trials: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=1, max=100_000, help="Trials of random and tpe. [default: 20]"
        ),
    ] = None,
    trials_from: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Read the trials from a CSV file: a column for each param."
        ),
    ] = None,
    save_trials: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the trials to a CSV file.")
    ] = None,
    metric: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Metric to rank by. Default: the dataset's own, or accuracy; val_NAME if the "
            "jobs have validation rows.",
            autocompletion=completion.metrics,
        ),
    ] = None,
    resume: Annotated[
        str | None,
        typer.Option(metavar="REF", help="Resume this sweep; finished trials are kept."),
    ] = None,
    reuse: Annotated[
        bool, typer.Option("--reuse", help="Reuse the results of equal trials that succeeded.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Count the jobs and estimate the time; submit none.")
    ] = False,
    detach: Detach = False,
    as_json: AsJson = False,
) -> None:
    """Train a model with many params and rank the trials."""
    from zoo.sweeps.plan import SweepRequest

    if resume is not None:
        _refuse_more(model, param, dry_run)
        _resume(resume, detach, as_json)
        return
    texts = [*(param or []), *([f"@{trials_from}"] if trials_from else [])]
    wanted = SweepRequest(_named(model), training, sampler, trials, metric, pruning)
    with planning():
        plan = _plan(wanted, texts, detach, bool(queued.after or queued.after_any))
        if save_trials:
            _save(save_trials, plan)
        if reuse:
            plan = _reused(plan)
            if not plan.specs:
                _show_reused(plan, as_json)
                return
        found = _print_estimate(plan, queued.pool, queued.max_parallel, dry_run, as_json)
    if found:
        _start(plan, queued, detach, as_json)


def _refuse_more(model: str | None, param: list[str] | None, dry_run: bool) -> None:
    from zoo.errors import UsageError

    if model or param or dry_run:
        raise UsageError(
            "--resume takes no model, params or --dry-run: the sweep has its own.",
            "zoo sweep --resume GROUP",
        )


def _named(model: str | None) -> str:
    from zoo.errors import UsageError

    if model is None:
        raise UsageError("No model is given.", "For example: zoo sweep logistic -p epochs=5,10.")
    return model


def _plan(wanted: SweepRequest, texts: list[str], detach: bool, waits: bool) -> Plan:
    from zoo.errors import UsageError, unknown
    from zoo.sweeps import plan, search_space
    from zoo.sweeps.samplers import SAMPLERS

    if wanted.sampler not in SAMPLERS:
        raise unknown("sampler", wanted.sampler, SAMPLERS)
    if wanted.sampler == "tpe" and (detach or waits):
        raise UsageError(
            "The tpe sampler picks each trial after earlier ones have ended, in this process.",
            "Leave out -d and --after, or use --sampler random.",
        )
    return plan.plan_sweep(wanted, search_space.parse_search_space(texts))


def _reused(plan: Plan) -> Plan:
    """Return the plan without the trials that have been trained before, whose jobs it names."""
    from dataclasses import replace

    from zoo import jobs, settings
    from zoo.cli.render import console
    from zoo.cli.submission import fetch
    from zoo.errors import UsageError
    from zoo.results import reproducibility

    if plan.wanted.sampler == "tpe":
        raise UsageError(
            "--reuse does not work with the tpe sampler: it picks its trials one by one."
        )
    chosen, training = settings.load(), plan.wanted.training
    fetch(plan.specs[0].dataset)
    left, found = [], []
    with contextlib.closing(jobs.connect(chosen.database)) as db:
        for first in range(0, len(plan.specs), training.parts):
            specs = plan.specs[first : first + training.parts]
            earlier = reproducibility.find_reusable_jobs(db, chosen, specs)
            found += [job.id for job in earlier]
            left += [] if earlier else specs
    if found:
        reused = len(found) // training.parts
        are = "is" if reused == 1 else "are"
        console.note(f"{reused} of {counted(plan.total, 'trial')} {are} reused.")
    return replace(plan, specs=left, reused=found)


def _show_reused(plan: Plan, as_json: bool) -> None:
    """Show a sweep whose trials have all been trained before; no group is made of them."""
    from zoo import jobs
    from zoo.cli.render import console
    from zoo.cli.render.trials_table import show_sweep
    from zoo.jobs import Group

    with contextlib.closing(jobs.connect()) as db:
        group = Group("", "sweep", jobs.clock(db), jobs.get_many(db, plan.reused), plan.about)
    if as_json:
        console.json_out(sweep_json(group) | {"id": None})
    else:
        show_sweep(group)
        console.note("All of its trials have been trained before; nothing was submitted.")


def _save(file: Path, plan: Plan) -> None:
    from zoo.cli.render import console
    from zoo.errors import UsageError
    from zoo.sweeps import trials

    if not plan.trials:
        raise UsageError(
            "--save-trials does not work with the tpe sampler: it picks its trials one by one."
        )
    trials.write_trials(file, plan.trials)
    them = "it" if len(plan.trials) == 1 else "them"
    saved = counted(len(plan.trials), "trial")
    console.note(f"Saved {saved} to {file}; `--trials-from {file}` reads {them}.")


def _print_estimate(
    plan: Plan, pool: str | None, max_parallel: int | None, dry_run: bool, as_json: bool
) -> SweepEstimate | None:
    """Print the number of jobs and the estimated time; returns None for a dry run."""
    from zoo import jobs, settings
    from zoo.cli.render import console
    from zoo.sweeps import driver

    chosen = settings.load()
    found = driver.estimate_sweep(jobs.connect(chosen.database), chosen, plan, pool, max_parallel)
    if as_json and dry_run:
        counts = {"trials": plan.total, "metric": plan.objective.metric}
        console.json_out(counts | found.to_json())
        return None
    console.note(f"{counted(plan.total, 'trial')}, {counted(found.jobs, 'job')}{_span(found)}.")
    if plan.is_chosen_on_test:
        console.note(
            f"Trials are ranked by {plan.objective.metric} on the test images, so that the best "
            "one looks better than it is; --validation SHARE ranks by rows held out of training."
        )
    if dry_run:
        for params in plan.trials[:5]:
            console.note(f"  {console.params(params)}")
        if len(plan.trials) > 5:
            console.note(f"  and {len(plan.trials) - 5} more")
    return None if dry_run else found


def _span(found: SweepEstimate) -> str:
    from zoo.cli.render import console

    slots = counted(found.slots, "slot")
    epochs, each = "", "each"
    if found.epochs is not None:
        epochs = f", about {found.epochs:,} of {counted(found.most_epochs or 0, 'epoch')}"
        each = "a complete training"
    if found.seconds is None or found.each is None:
        return f"{epochs} on {slots}; no earlier job to estimate the time from"
    about = "at most" if found.is_upper_bound else "about"
    took = f"{about} {console.ago(found.seconds)} on {slots} ({found.each:.1f} s {each})"
    return f"{epochs}, {took}"


def _start(plan: Plan, queued: QueueOptions, detach: bool, as_json: bool) -> None:
    from zoo import jobs, settings
    from zoo.cli.render import console
    from zoo.cli.submission import fetch
    from zoo.sweeps import driver

    chosen = settings.load()
    db = jobs.connect(chosen.database)
    with submitting():
        if chosen.is_embedded:
            fetch(plan.specs[0].dataset)
        done = driver.submit_sweep(db, chosen, plan, queued)
    if done.note:
        console.note(done.note)
    _follow_to_end(db, chosen, done, detach, as_json)


def _resume(ref: str, detach: bool, as_json: bool) -> None:
    from zoo import jobs, settings
    from zoo.errors import UsageError
    from zoo.jobs import Group
    from zoo.sweeps import driver

    chosen = settings.load()
    db = jobs.connect(chosen.database)
    found = jobs.find_reference(db, ref)
    if not isinstance(found, Group):
        raise UsageError(f"The job {found.id[:8]} is not a sweep.", "`zoo jobs` lists the groups.")
    done = driver.resume_sweep(db, chosen, found)
    if detach and driver.make_driver(db, chosen, jobs.get_group(db, found.id)):
        raise UsageError("The tpe sampler picks its trials in this process.", "Leave out -d.")
    _follow_to_end(db, chosen, done, detach, as_json)


def _follow_to_end(
    db: Database, chosen: Settings, done: Submitted, detach: bool, as_json: bool
) -> None:
    from zoo import jobs
    from zoo.cli.render import console

    ref = str(done.group)
    if detach:
        _detached(db, ref, as_json)
        return
    try:
        _follow(db, chosen, done, ref)
    except KeyboardInterrupt:
        console.note(f"\nDetached; the submitted jobs of {ref[:8]} continue.")
        console.commands(
            [
                (f"zoo sweep --resume {ref[:8]}", "follow it again and run the other trials"),
                (f"zoo show {ref[:8]}", "show its trials so far"),
                (f"zoo cancel {ref[:8]}", "cancel it"),
            ]
        )
        raise typer.Exit(130) from None
    from zoo.cli.render.trials_table import show_sweep

    group = jobs.get_group(db, ref)
    if as_json:
        console.json_out(sweep_json(group))
    else:
        show_sweep(group, most=5, rungs=jobs.list_rungs(db, ref))
    if any(job.status not in jobs.NO_FAILURE for job in group.jobs):
        raise typer.Exit(1)


def _detached(db: Database, ref: str, as_json: bool) -> None:
    from zoo import jobs
    from zoo.cli.render import console

    if as_json:
        console.json_out(sweep_json(jobs.get_group(db, ref)))
        return
    console.out.print(ref)
    console.commands(
        [
            (f"zoo wait {ref[:8]}", "wait until it has ended, with its progress"),
            (f"zoo show {ref[:8]}", "show its trials so far, best first"),
            (f"zoo cancel {ref[:8]}", "cancel it"),
        ]
    )


def _follow(db: Database, chosen: Settings, done: Submitted, ref: str) -> None:
    from zoo import jobs
    from zoo.cli.render import console
    from zoo.cli.render.progress import follow_together
    from zoo.sweeps import driver

    sweep_driver = driver.make_driver(db, chosen, jobs.get_group(db, ref))
    if sweep_driver is None:
        follow_together(db, chosen, done.ids, done.worker)
        return
    total = sweep_driver.total * sweep_driver.wanted.training.parts
    follow_together(db, chosen, done.ids, done.worker, submit=sweep_driver.step, total=total)
    if sweep_driver.total * sweep_driver.wanted.training.parts < total:
        console.note(f"The search space is exhausted after {counted(sweep_driver.total, 'trial')}.")


def sweep_json(group: Group) -> dict[str, Any]:
    """A sweep as JSON: the group and its trials, best first."""
    from zoo.sweeps import trials

    names = trials.varied_params(group)
    ranked = trials.sort_trials(trials.list_trials(group))
    return group.to_json() | {"trials": [trial.to_json(names) for trial in ranked]}
