"""`zoo train` and `zoo evaluate`: submit, and follow unless detached."""

from __future__ import annotations

from typing import Annotated

import typer

from zoo.cli import completion
from zoo.cli.option_groups import takes
from zoo.cli.options import (
    AsJson,
    Detach,
    GroupWords,
    Memory,
    Preprocess,
    QueueWords,
    Quiet,
    Seconds,
)
from zoo.cli.submission import fetch, submit_and_follow


def add_to(app: typer.Typer) -> None:
    app.command()(train)
    app.command()(evaluate)


@takes(GroupWords, "queued")
def train(
    queued: GroupWords,
    model: Annotated[
        str,
        typer.Argument(help="A model; `zoo models` lists them.", autocompletion=completion.models),
    ],
    param: Annotated[
        list[str] | None,
        typer.Option(
            "--param", "-p", help="NAME=VALUE (repeatable).", autocompletion=completion.params
        ),
    ] = None,
    dataset: Annotated[
        str,
        typer.Option(help="A dataset; `zoo data` lists them.", autocompletion=completion.datasets),
    ] = "mnist",
    preprocess: Preprocess = "none",
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Of everything random.")] = 42,
    cv: Annotated[int | None, typer.Option(min=2, max=100, help="Cross-validate, K folds.")] = None,
    seeds: Annotated[
        int | None, typer.Option(min=2, max=1000, help="Train with N seeds, from --seed on.")
    ] = None,
    keep_weights: Annotated[
        bool | None, typer.Option(help="Keep the trained model; folds do not by default.")
    ] = None,
    timeout: Seconds = None,
    memory: Memory = None,
    detach: Detach = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
    reuse: Annotated[
        bool, typer.Option("--reuse", help="If an equal job has succeeded, take its result.")
    ] = False,
    in_process: Annotated[
        bool, typer.Option("--in-process", help="Here and now, without queue or record.")
    ] = False,
) -> None:
    """Train a model and judge it on the test images."""
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
            help="The training job, or @last, @best:DATASET.",
            autocompletion=completion.references_of(have_weights=True),
        ),
    ],
    dataset: Annotated[
        str | None,
        typer.Option(help="By default the job's own.", autocompletion=completion.datasets),
    ] = None,
    split: Annotated[str, typer.Option(help="train or test.")] = "test",
    timeout: Seconds = None,
    detach: Detach = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Judge a trained model on any dataset or split, as a job."""
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
