"""`zoo train` and `zoo evaluate`: submit jobs and follow them unless detached."""

from __future__ import annotations

from typing import Annotated

import typer

from zoo.cli import completion
from zoo.cli.option_groups import takes
from zoo.cli.options import (
    AsJson,
    DatasetName,
    Detach,
    GroupWords,
    KeepWeights,
    Memory,
    ModelName,
    Params,
    Preprocess,
    QueueWords,
    Quiet,
    Seconds,
    Seed,
    Split,
)
from zoo.cli.submission import fetch, submit_and_follow


def add_to(app: typer.Typer) -> None:
    app.command()(train)
    app.command()(evaluate)


@takes(GroupWords, "queued")
def train(
    queued: GroupWords,
    model: Annotated[str, ModelName],
    param: Params = None,
    dataset: DatasetName = "mnist",
    preprocess: Preprocess = "none",
    seed: Seed = 42,
    cv: Annotated[
        int | None,
        typer.Option(metavar="K", min=2, max=100, help="Cross-validate with K folds."),
    ] = None,
    seeds: Annotated[
        int | None,
        typer.Option(metavar="N", min=2, max=1000, help="Train with N seeds, starting at --seed."),
    ] = None,
    keep_weights: KeepWeights = None,
    timeout: Seconds = None,
    memory: Memory = None,
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
    """Train a model and evaluate it on the test images."""
    from zoo.param_values import read_pairs
    from zoo.queue import catalogue, submit

    if in_process:
        catalogue.in_process(model)
    params = read_pairs(param or [])
    keep = cv is None if keep_weights is None else keep_weights
    specs = submit.training(
        model,
        params,
        dataset,
        seed=seed,
        cv=cv,
        seeds=seeds,
        keep_weights=keep,
        timeout=timeout,
        memory_mb=memory,
        preprocess=preprocess,
    )
    if in_process:
        from zoo.cli.in_process import run_here

        run_here(specs, as_json)
        return
    from zoo.cli.commands.rerun import takes_earlier

    kind = "cv" if cv else "seeds" if seeds else None
    if reuse:
        fetch(specs[0].dataset)
    if not takes_earlier(specs, kind, reuse, as_json, quiet):
        submit_and_follow(specs, queued, detach, as_json, quiet, kind)


@takes(QueueWords, "queued")
def evaluate(
    queued: QueueWords,
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
        ),
    ] = None,
    split: Split = "test",
    timeout: Seconds = None,
    detach: Detach = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Evaluate a trained model on any dataset or split, as a job."""
    from zoo import jobs
    from zoo.cli.render import console
    from zoo.errors import unknown
    from zoo.jobs import Job
    from zoo.queue import submit
    from zoo.training import provenance

    if split not in ("train", "test"):
        raise unknown("split", split, ("train", "test"))
    db = jobs.connect()
    found = jobs.find_reference(db, job)
    if isinstance(found, Job) and found.kind == "evaluate":
        found = jobs.get(db, found.spec["source"]["job"])
    with_timeout = {"timeout": timeout}
    spec = submit.evaluation(found, dataset, split)
    specs = [spec.model_copy(update=with_timeout)]
    if spec.source and (note := provenance.other_loader(db, jobs.get(db, spec.source.job))):
        console.note(note)
    submit_and_follow(specs, queued, detach, as_json, quiet)
