"""Options shared by several commands."""

from __future__ import annotations

from typing import Annotated

import typer

from zoo.cli import completion
from zoo.cli.dataset_paths import spelled
from zoo.cli.option_groups import option
from zoo.errors import UsageError

Ref = Annotated[
    str,
    typer.Argument(
        metavar="REF",
        help="Job or group: the beginning of its id, its name, or @last.",
        autocompletion=completion.references,
    ),
]
Trained = Annotated[
    str,
    typer.Argument(
        metavar="REF",
        help="Job or group: the beginning of its id, its name, or @last.",
        autocompletion=completion.references_of(have_weights=True),
    ),
]
Detach = Annotated[bool, typer.Option("--detach", "-d", help="Print the id and return at once.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print only the id.")]
AsJson = Annotated[
    bool, typer.Option("--json", help="Print the finished job or group as JSON on stdout.")
]
Params = Annotated[
    list[str] | None,
    typer.Option(
        "--param",
        "-p",
        metavar="NAME=VALUE",
        help="Set a param of the model (repeatable).",
        autocompletion=completion.params,
    ),
]
ModelName = typer.Argument(
    metavar="MODEL", help="Model; `zoo models` lists them.", autocompletion=completion.models
)
Metric = typer.Option(
    metavar="NAME",
    help="Metric to rank by. Default: the dataset's own, or accuracy.",
    autocompletion=completion.metrics,
)
BestBy = Annotated[
    str | None,
    typer.Option(
        "--metric",
        metavar="NAME",
        help="Metric of @best:DATASET. Default: the dataset's own, or accuracy.",
        autocompletion=completion.metrics,
    ),
]
Split = Annotated[
    str,
    typer.Option(
        metavar="SPLIT",
        help="train, test or validation.",
        autocompletion=completion.one_of("train", "test", "validation"),
    ),
]

TRAINING = {
    "dataset": option(
        metavar="NAME",
        help="Dataset: a name (`zoo data` lists them), csv:FILE, folder:FOLDER, npz:FILE...",
        autocompletion=completion.datasets,
        callback=spelled,
    ),
    "preprocess": option(
        metavar="STEPS",
        help="none, deskew, standardize, impute or a plugin's; several: impute,standardize.",
        autocompletion=completion.one_of("none", "deskew", "standardize", "impute"),
    ),
    "validation": option(
        metavar="SHARE", help="Hold out this share of the training rows to choose by: 0.1."
    ),
    "class_weight": option(
        metavar="HOW",
        help="balanced: a rare class counts as much as a frequent one.",
        autocompletion=completion.one_of("balanced"),
    ),
    "positive": option(
        metavar="CLASS", help="Class that metrics of two classes look for. Default: the second."
    ),
    "seed": option(metavar="N", help="Random seed."),
    "cv": option(metavar="K", help="Cross-validate with K folds."),
    "seeds": option(metavar="N", help="Train with N seeds, starting at --seed."),
    "keep_weights": option(
        help="Keep the trained models. Default: yes; no for cross-validation folds."
    ),
    "timeout": option("--timeout", metavar="SECONDS", help="Stop the job after SECONDS."),
    "memory_mb": option("--memory", metavar="MB", help="Memory limit in MB."),
    "device": option(
        metavar="DEVICE",
        help="cpu or gpu. Default: where the model says.",
        autocompletion=completion.one_of("cpu", "gpu"),
    ),
    "exact": option(
        "--exact", help="Go on from a checkpoint only where the result has the same bits."
    ),
}
"""How the fields of `TrainingOptions` are typed."""
QUEUE = {
    "name": option("--name", metavar="TEXT", help="Name to refer to it by."),
    "pool": option(
        metavar="NAME",
        help="Pool of workers that runs it. Default: default; gpu for a job that needs one.",
        autocompletion=completion.pools,
    ),
    "priority": option("--priority", metavar="N", help="Higher runs first."),
    "after": option(
        "--after", metavar="REF", help="Run once this job or group has succeeded (repeatable)."
    ),
    "after_any": option(
        "--after-any", metavar="REF", help="Run once this job or group has ended (repeatable)."
    ),
    "tags": option(
        "--tag",
        metavar="TAG",
        help="Tag to find it by (repeatable).",
        autocompletion=completion.tags,
    ),
}
"""How the fields of `QueueOptions` are typed, for a command that submits one job."""
GROUP = QUEUE | {
    "max_parallel": option(
        "--max-parallel", metavar="N", help="Run at most N jobs of the group at a time."
    ),
}
"""How the fields of `QueueOptions` are typed, for a command that submits a group."""
Preprocess = Annotated[str, TRAINING["preprocess"]()]


def has_no_subcommand(context: typer.Context) -> bool:
    """Return whether a group of commands that lists by itself was called without a subcommand.

    Raises UsageError for options before a subcommand, which would not see them.
    """
    name = context.invoked_subcommand
    if name is None:
        return True
    for each in context.command.params:
        source = context.get_parameter_source(each.name or "")
        if source is not None and source.name == "COMMANDLINE":
            raise UsageError(
                f"{each.opts[0]} before `{name}` would be ignored.",
                f"Write options after `{context.command_path} {name}`.",
            )
    return False
