"""Options shared by several commands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zoo.cli import completion

if TYPE_CHECKING:
    from zoo.jobs import Database

Ref = Annotated[
    str,
    typer.Argument(
        metavar="REF",
        help="Job or group: the beginning of its id, or @last.",
        autocompletion=completion.references,
    ),
]
Trained = Annotated[
    str,
    typer.Argument(
        metavar="REF",
        help="Job or group: the beginning of its id, or @last.",
        autocompletion=completion.references_of(have_weights=True),
    ),
]
Detach = Annotated[bool, typer.Option("--detach", "-d", help="Print the id and return at once.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print only the id.")]
AsJson = Annotated[
    bool, typer.Option("--json", help="Print the finished job or group as JSON on stdout.")
]
Pool = Annotated[
    str,
    typer.Option(
        metavar="NAME", help="Pool of workers that runs it.", autocompletion=completion.pools
    ),
]
Tags = Annotated[
    list[str] | None,
    typer.Option(
        "--tag",
        metavar="TAG",
        help="Tag to find it by (repeatable).",
        autocompletion=completion.tags,
    ),
]
Memory = Annotated[
    int | None, typer.Option("--memory", metavar="MB", min=1, help="Memory limit in MB.")
]
Seconds = Annotated[
    float | None,
    typer.Option("--timeout", metavar="SECONDS", min=0.001, help="Stop the job after SECONDS."),
]
Seed = Annotated[int, typer.Option(metavar="N", min=0, max=2**32 - 1, help="Random seed.")]
KeepWeights = Annotated[
    bool | None,
    typer.Option(help="Keep the trained models. Default: yes; no for cross-validation folds."),
]
Params = Annotated[
    list[str] | None,
    typer.Option(
        "--param",
        "-p",
        metavar="NAME=VALUE",
        help="Set a parameter of the model (repeatable).",
        autocompletion=completion.params,
    ),
]
ModelName = typer.Argument(
    metavar="MODEL", help="Model; `zoo models` lists them.", autocompletion=completion.models
)
DatasetName = Annotated[
    str,
    typer.Option(
        metavar="NAME", help="Dataset; `zoo data` lists them.", autocompletion=completion.datasets
    ),
]
Split = Annotated[
    str,
    typer.Option(
        metavar="SPLIT",
        help="train or test.",
        autocompletion=completion.one_of("train", "test"),
    ),
]
Preprocess = Annotated[
    str,
    typer.Option(
        metavar="STEP",
        help="none, or deskew (straighten slanted digits).",
        autocompletion=completion.one_of("none", "deskew"),
    ),
]

MOST_URGENT = 1_000_000
Priority = Annotated[
    int,
    typer.Option(
        "--priority",
        metavar="N",
        min=-MOST_URGENT,
        max=MOST_URGENT,
        help="Higher runs first.",
    ),
]
After = Annotated[
    list[str] | None,
    typer.Option(
        "--after", metavar="REF", help="Run once this job or group has succeeded (repeatable)."
    ),
]
AfterAny = Annotated[
    list[str] | None,
    typer.Option(
        "--after-any", metavar="REF", help="Run once this job or group has ended (repeatable)."
    ),
]
MaxParallel = Annotated[
    int | None,
    typer.Option(
        "--max-parallel", metavar="N", min=1, help="Run at most N jobs of the group at a time."
    ),
]


@dataclass(frozen=True)
class QueueWords:
    """How jobs are to be queued, as it was typed; the annotations are what Typer reads."""

    pool: Pool = "default"
    priority: Priority = 0
    after: After = None
    """Jobs or groups that must succeed first, as they were named."""
    after_any: AfterAny = None
    tag: Tags = None

    def given(self, db: Database) -> dict[str, Any]:
        """What `submit.submit` is told; raises UsageError for a job that is none."""
        from zoo import jobs

        # Whether any end of a job will do.
        waits = {job.id: True for job in jobs.find_jobs(db, self.after_any or [])}
        waits |= {job.id: False for job in jobs.find_jobs(db, self.after or [])}
        told = {"pool": self.pool, "priority": self.priority, "tags": self.tag or []}
        return told | {"after": waits}


@dataclass(frozen=True)
class GroupWords(QueueWords):
    """How the jobs of a group are to be queued."""

    max_parallel: MaxParallel = None

    def given(self, db: Database) -> dict[str, Any]:
        return super().given(db) | {"max_parallel": self.max_parallel}
