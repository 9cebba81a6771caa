"""Options that several commands share, each said once."""

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
        help="A job or group: the beginning of its id, or @last.",
        autocompletion=completion.references,
    ),
]
Trained = Annotated[
    str,
    typer.Argument(
        help="A job or group: the beginning of its id, or @last.",
        autocompletion=completion.references_of(have_weights=True),
    ),
]
Detach = Annotated[bool, typer.Option("--detach", "-d", help="Print the id and return at once.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print the id alone.")]
AsJson = Annotated[bool, typer.Option("--json", help="The finished job or group on stdout.")]
Pool = Annotated[
    str, typer.Option(help="The pool of workers to run it.", autocompletion=completion.pools)
]
Tags = Annotated[
    list[str] | None,
    typer.Option(
        "--tag", help="A word to find it by (repeatable).", autocompletion=completion.tags
    ),
]
Memory = Annotated[int | None, typer.Option("--memory", min=1, help="End it above this, in MB.")]
Seconds = Annotated[float | None, typer.Option("--timeout", min=0.001, help="End it after this.")]

Preprocess = Annotated[str, typer.Option(help="none, or deskew: upright digits.")]

MOST_URGENT = 1_000_000
Priority = Annotated[
    int, typer.Option("--priority", min=-MOST_URGENT, max=MOST_URGENT, help="Higher runs first.")
]
After = Annotated[
    list[str] | None, typer.Option("--after", help="Run once this has succeeded (repeatable).")
]
AfterAny = Annotated[
    list[str] | None, typer.Option("--after-any", help="Run once this has ended (repeatable).")
]
MaxParallel = Annotated[
    int | None, typer.Option("--max-parallel", min=1, help="So many jobs of the group at once.")
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
