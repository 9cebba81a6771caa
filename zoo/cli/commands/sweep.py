"""`zoo sweep`: one job for each combination of params, or for those that a sampler picks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zoo.cli import completion
from zoo.cli.leaving import submitting
from zoo.cli.option_groups import takes
from zoo.cli.options import AsJson, Detach, GroupWords, Memory, Preprocess, Seconds

if TYPE_CHECKING:
    from zoo.jobs import Database, Group
    from zoo.queue.submit import Submitted
    from zoo.settings import Settings
    from zoo.sweeps.driver import Estimate
    from zoo.sweeps.plan import Plan, Wanted


def add_to(app: typer.Typer) -> None:
    app.command()(sweep)


@takes(GroupWords, "queued")
def sweep(
    queued: GroupWords,
    model: Annotated[
        str | None,
        typer.Argument(help="A model; `zoo models` lists them.", autocompletion=completion.models),
    ] = None,
    param: Annotated[
        list[str] | None,
        typer.Option(
            "--param",
            "-p",
            help="NAME=V1,V2, NAME=1..10, NAME=1e-4..1e-1:log, @FILE.",
            autocompletion=completion.params,
        ),
    ] = None,
    dataset: Annotated[
        str,
        typer.Option(help="A dataset; `zoo data` lists them.", autocompletion=completion.datasets),
    ] = "mnist",
    preprocess: Preprocess = "none",
    sampler: Annotated[
        str,
        typer.Option(
            help="grid, random or tpe.",
            autocompletion=completion.one_of("grid", "random", "tpe"),
        ),
    ] = "grid",
    trials: Annotated[
        int | None, typer.Option(min=1, max=100_000, help="Of random and tpe; 20 by default.")
    ] = None,
    seeds: Annotated[
        int | None, typer.Option(min=2, max=1000, help="Train each trial with N seeds.")
    ] = None,
    cv: Annotated[
        int | None, typer.Option(min=2, max=100, help="Cross-validate each trial, K folds.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Of everything random.")] = 42,
    trials_from: Annotated[
        Path | None, typer.Option(help="A CSV file: a header of params, a line for each trial.")
    ] = None,
    save_trials: Annotated[Path | None, typer.Option(help="Write the trials to such a file.")] = (
        None
    ),
    resume: Annotated[
        str | None, typer.Option(help="Go on with this sweep; what has finished is kept.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Count the jobs and estimate the time, no more.")
    ] = False,
    keep_weights: Annotated[
        bool | None, typer.Option(help="Keep the trained models; folds do not by default.")
    ] = None,
    timeout: Seconds = None,
    memory: Memory = None,
    detach: Detach = False,
    as_json: AsJson = False,
) -> None:
    """Try many params of a model, and rank the trials by accuracy."""
    from zoo.sweeps.plan import Wanted

    if resume is not None:
        _refuse_more(model, param, dry_run)
        _resume(resume, detach, as_json)
        return
    training = {
        "seed": seed,
        "cv": cv,
        "seeds": seeds,
        "keep_weights": cv is None if keep_weights is None else keep_weights,
        "timeout": timeout,
        "memory_mb": memory,
        "preprocess": preprocess,
    }
    texts = [*(param or []), *([f"@{trials_from}"] if trials_from else [])]
    wanted = Wanted(_named(model), dataset, sampler, trials, training)
    plan = _plan(wanted, texts, detach, bool(queued.after or queued.after_any))
    if save_trials:
        _save(save_trials, plan)
    if _tell(plan, queued.pool, queued.max_parallel, dry_run, as_json):
        _start(plan, queued, detach, as_json)


def _refuse_more(model: str | None, param: list[str] | None, dry_run: bool) -> None:
    from zoo.errors import UsageError

    if model or param or dry_run:
        raise UsageError(
            "A sweep that goes on has its model and params already.", "zoo sweep --resume GROUP"
        )


def _named(model: str | None) -> str:
    from zoo.errors import UsageError

    if model is None:
        raise UsageError("Which model?", "For example: zoo sweep logistic -p epochs=5,10.")
    return model


def _plan(wanted: Wanted, texts: list[str], detach: bool, waits: bool) -> Plan:
    from zoo.errors import UsageError, unknown
    from zoo.sweeps import plan, search_space
    from zoo.sweeps.samplers import SAMPLERS

    if wanted.sampler not in SAMPLERS:
        raise unknown("sampler", wanted.sampler, SAMPLERS)
    if wanted.sampler == "tpe" and (detach or waits):
        raise UsageError(
            "The tpe sampler picks each trial once others have ended, from this command.",
            "Leave out -d and --after, or take --sampler random.",
        )
    return plan.make(wanted, search_space.read(texts))


def _save(file: Path, plan: Plan) -> None:
    from zoo.cli.render import console
    from zoo.errors import UsageError
    from zoo.sweeps import trials

    if not plan.trials:
        raise UsageError("The tpe sampler does not know its trials before they have ended.")
    trials.write(file, plan.trials)
    console.note(f"{len(plan.trials)} trials are in {file}; `--trials-from {file}` reads them.")


def _tell(
    plan: Plan, pool: str, max_parallel: int | None, dry_run: bool, as_json: bool
) -> Estimate | None:
    """Say how many jobs it will be and how long they may take; None if that was all."""
    from zoo import jobs, settings
    from zoo.cli.render import console
    from zoo.sweeps import driver

    chosen = settings.load()
    found = driver.estimate(jobs.connect(chosen.database), chosen, plan, pool, max_parallel)
    if as_json and dry_run:
        told = {"trials": plan.total, "jobs": found.jobs, "slots": found.slots}
        console.json_out(told | {"seconds_each": found.each, "seconds": found.seconds})
        return None
    console.note(f"{plan.total} trials, {found.jobs} jobs{_span(found)}.")
    if dry_run:
        for params in plan.trials[:5]:
            console.note(f"  {console.params(params)}")
        if len(plan.trials) > 5:
            console.note(f"  and {len(plan.trials) - 5} more")
    return None if dry_run else found


def _span(found: Estimate) -> str:
    from zoo.cli.render import console

    slots = "1 slot" if found.slots == 1 else f"{found.slots} slots"
    if found.seconds is None or found.each is None:
        return f" on {slots}; no earlier one tells how long they take"
    return f", about {console.ago(found.seconds)} on {slots} ({found.each:.1f} s each)"


def _start(plan: Plan, queued: GroupWords, detach: bool, as_json: bool) -> None:
    from zoo import jobs, settings
    from zoo.cli.render import console
    from zoo.cli.submission import fetch
    from zoo.sweeps import driver

    chosen = settings.load()
    db = jobs.connect(chosen.database)
    with submitting():
        if chosen.is_embedded:
            fetch(plan.specs[0].dataset)
        done = driver.start(db, chosen, plan, **queued.given(db))
    if done.note:
        console.note(done.note)
    _go_on(db, chosen, done, detach, as_json)


def _resume(ref: str, detach: bool, as_json: bool) -> None:
    from zoo import jobs, settings
    from zoo.errors import UsageError
    from zoo.jobs import Group
    from zoo.sweeps import driver

    chosen = settings.load()
    db = jobs.connect(chosen.database)
    found = jobs.find_reference(db, ref)
    if not isinstance(found, Group):
        raise UsageError(f"The job {found.id[:8]} is no sweep.", "`zoo jobs` lists the groups.")
    done = driver.resume(db, chosen, found)
    if detach and driver.driver_of(db, chosen, jobs.get_group(db, found.id)):
        raise UsageError("The tpe sampler picks its trials from this command.", "Leave out -d.")
    _go_on(db, chosen, done, detach, as_json)


def _go_on(db: Database, chosen: Settings, done: Submitted, detach: bool, as_json: bool) -> None:
    from zoo import jobs
    from zoo.cli.render import console

    ref = str(done.group)
    if detach:
        _detached(db, ref, as_json)
        return
    try:
        _follow(db, chosen, done, ref)
    except KeyboardInterrupt:
        console.note(f"\nDetached; what was submitted of {ref[:8]} goes on.")
        console.note(f"  zoo sweep --resume {ref[:8]}   comes back, and goes on with what is left")
        console.note(f"  zoo show {ref[:8]}             its trials so far")
        console.note(f"  zoo cancel {ref[:8]}           ends it")
        raise typer.Exit(130) from None
    from zoo.cli.render.trials_table import show_sweep

    group = jobs.get_group(db, ref)
    if as_json:
        console.json_out(sweep_json(group))
    else:
        show_sweep(group, most=5)
    if any(job.status != "succeeded" for job in group.jobs):
        raise typer.Exit(1)


def _detached(db: Database, ref: str, as_json: bool) -> None:
    from zoo import jobs
    from zoo.cli.render import console

    if as_json:
        console.json_out(sweep_json(jobs.get_group(db, ref)))
        return
    console.out.print(ref)
    console.note(f"  zoo wait {ref[:8]}     until it has ended, with its progress")
    console.note(f"  zoo show {ref[:8]}     its trials so far, the best first")
    console.note(f"  zoo cancel {ref[:8]}   ends it")


def _follow(db: Database, chosen: Settings, done: Submitted, ref: str) -> None:
    from zoo import jobs
    from zoo.cli.render import console, group_progress
    from zoo.sweeps import driver

    sweep_driver = driver.driver_of(db, chosen, jobs.get_group(db, ref))
    if sweep_driver is None:
        group_progress.follow(db, chosen, done.ids, done.worker)
        return
    total = sweep_driver.total * sweep_driver.wanted.parts
    group_progress.follow(db, chosen, done.ids, done.worker, step=sweep_driver.step, total=total)
    if sweep_driver.total * sweep_driver.wanted.parts < total:
        console.note(f"There is nothing else to try: {sweep_driver.total} trials are all.")


def sweep_json(group: Group) -> dict[str, Any]:
    """A sweep as scripts see it: the group, and its trials, the best first."""
    from zoo.sweeps import trials

    names = trials.varying(group)
    ranked = trials.best_first(trials.of(group))
    return group.to_json() | {"trials": [trial.to_json(names) for trial in ranked]}
