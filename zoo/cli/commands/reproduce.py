"""`zoo reproduce`: estimate the cost of a published table and submit its rows as jobs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zoo.cli.option_groups import takes
from zoo.cli.options import GROUP, AsJson, Detach
from zoo.cli.submission import submit_and_follow
from zoo.jobs.queue_options import QueueOptions
from zoo.terminal_text import counted

if TYPE_CHECKING:
    from zoo.job_spec import JobSpec
    from zoo.results.published_tables import Cost, Row


def add_to(app: typer.Typer) -> None:
    app.command()(reproduce)


@takes(QueueOptions, GROUP, "queued")
def reproduce(
    queued: QueueOptions,
    table: Annotated[
        str,
        typer.Argument(metavar="TABLE", help="Name of a built-in table, or path of a TOML file."),
    ] = "mnist-classics",
    only: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATTERN", help="Only rows with a matching name: 'lenet-*' (repeatable)."
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the rows; submit none.")] = False,
    keep_weights: Annotated[bool, typer.Option(help="Keep the trained models.")] = False,
    detach: Detach = False,
    as_json: AsJson = False,
) -> None:
    """Train the models of a published table. Compares test errors; one job per row."""
    from zoo import jobs
    from zoo.cli.render import console
    from zoo.results import published_tables

    found = published_tables.load_table(table)
    rows = published_tables.select_rows(found, only or [])
    specs = published_tables.table_specs(table, found, rows, keep_weights=keep_weights)
    costs = published_tables.estimate_costs(jobs.connect(), specs, rows)
    if dry_run and as_json:
        console.json_out([_facts(*each) for each in zip(rows, specs, costs, strict=True)])
        return
    if dry_run or not as_json:
        _show(rows, specs, costs, to_stderr=not dry_run)
    if not dry_run:
        submit_and_follow(specs, queued, detach, as_json, kind="sweep")


def _facts(row: Row, spec: JobSpec, cost: Cost) -> dict[str, Any]:
    return row.model_dump() | {
        "params": spec.params,
        "dataset": spec.dataset,
        "cost": cost._asdict(),
    }


def _show(
    rows: Sequence[Row], specs: Sequence[JobSpec], costs: Sequence[Cost], *, to_stderr: bool
) -> None:
    from zoo.cli.render import console

    total = sum(cost.seconds or 0.0 for cost in costs)
    if to_stderr:
        labels = {"guessed": "guessed", "unknown": "of unknown cost"}
        counts = {kind: sum(cost.source == kind for cost in costs) for kind in labels}
        notes = [f"{n} of them {labels[kind]}" for kind, n in counts.items() if n]
        about = ", ".join([f"about {console.ago(total)} of one slot", *notes])
        console.note(f"{counted(len(rows), 'job')}, {about}.")
        return
    cells = [
        [row.name, row.model, row.preprocess, f"{row.published:g}", _cost(cost), _params(spec)]
        for row, spec, cost in zip(rows, specs, costs, strict=True)
    ]
    columns = ["row", "model", "preprocess", "published %", "cost", "params"]
    console.table(columns, cells, right=["published %", "cost"], optional=["params"])
    console.note(f"Total: about {console.ago(total)} of one slot.")


def _params(spec: JobSpec) -> str:
    from zoo.cli.render import console
    from zoo.param_values import changed

    return console.params(changed(spec.params, spec.changed))


def _cost(cost: Cost) -> str:
    from zoo.cli.render import console

    return "unknown" if cost.seconds is None else f"{console.ago(cost.seconds)} ({cost.source})"
