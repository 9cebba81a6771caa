"""`zoo train` and `zoo evaluate`: submit jobs and follow them unless detached."""

from __future__ import annotations

from typing import Annotated

import typer

from zoo.cli import completion
from zoo.cli.dataset_paths import spelled
from zoo.cli.option_groups import takes
from zoo.cli.options import (
    GROUP,
    QUEUE,
    TRAINING,
    AsJson,
    BestBy,
    Detach,
    ModelName,
    Params,
    Quiet,
    Split,
)
from zoo.cli.submission import fetch, reading, submit_and_follow
from zoo.jobs.queue_options import QueueOptions
from zoo.queue.options import TrainingOptions


def add_to(app: typer.Typer) -> None:
    app.command()(train)
    app.command()(evaluate)


@takes(QueueOptions, GROUP, "queued")
@takes(TrainingOptions, TRAINING, "training", after="param")
def train(
    training: TrainingOptions,
    queued: QueueOptions,
    model: Annotated[str, ModelName],
    param: Params = None,
    detach: Detach = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
    reuse: Annotated[
        bool, typer.Option("--reuse", help="Reuse the result of an equal job that succeeded.")
    ] = False,
    in_process: Annotated[
        bool, typer.Option("--in-process", help="Run in this process; record nothing.")
    ] = False,
) -> None:
    """Train a model and evaluate it on the test split."""
    from zoo.param_values import read_pairs
    from zoo.queue import catalogue, submit

    if in_process:
        catalogue.in_process(model)
    with reading() as progress:
        specs = submit.training(model, read_pairs(param or []), training, progress)
    if in_process:
        from zoo.cli.in_process import run_here

        run_here(specs, as_json)
        return
    from zoo.cli.commands.rerun import takes_earlier

    kind = training.group_kind
    if reuse:
        fetch(specs[0].dataset)
    if not takes_earlier(specs, kind, reuse, as_json, quiet):
        submit_and_follow(specs, queued, detach, as_json, quiet, kind)


@takes(QueueOptions, QUEUE, "queued")
@takes(TrainingOptions, {"timeout": TRAINING["timeout"]}, "limits", after="split")
def evaluate(
    limits: TrainingOptions,
    queued: QueueOptions,
    job: Annotated[
        str,
        typer.Argument(
            metavar="REF",
            help="Training job: the beginning of its id, @last or @best:DATASET.",
            autocompletion=completion.references_of(have_weights=True),
        ),
    ],
    dataset: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Dataset. [default: that of the job]",
            autocompletion=completion.datasets,
            callback=spelled,
        ),
    ] = None,
    split: Split = "test",
    metric: BestBy = None,
    detach: Detach = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Evaluate a trained model on any dataset or split, as a job."""
    from zoo import jobs
    from zoo.cli.render import console
    from zoo.data.contents import SPLITS
    from zoo.errors import unknown
    from zoo.queue import submit
    from zoo.training import provenance

    if split not in SPLITS:
        raise unknown("split", split, SPLITS)
    db = jobs.connect()
    found = jobs.find_training(db, job, metric)
    with reading() as progress:
        spec = submit.evaluation(found, dataset, split, progress)
    specs = [spec.model_copy(update={"timeout": limits.timeout})]
    if not quiet and (text := jobs.found_text(job, found)):
        console.note(text)
    if spec.source and (note := provenance.other_loader(db, jobs.get(db, spec.source.job))):
        console.note(note)
    submit_and_follow(specs, queued, detach, as_json, quiet)
