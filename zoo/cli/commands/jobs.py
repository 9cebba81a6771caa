"""`zoo jobs`: filter, sort and page through jobs, as a table, JSON or CSV."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zoo.cli import completion
from zoo.cli.filter_options import FilterWords, filtered

if TYPE_CHECKING:
    from zoo.cli.render.job_columns import Line
    from zoo.jobs import Database, Filter, Job

Limit = Annotated[
    int, typer.Option("--limit", "-n", metavar="N", min=1, max=10**6, help="List at most N jobs.")
]
MOST_COUNTED = 10_000
MOST_SKIPPED = 10**9
"""Times the largest --limit it still fits an integer column of the database."""


def add_to(app: typer.Typer) -> None:
    app.command()(jobs)


@filtered
def jobs(
    words: FilterWords,
    sort: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Sort by a field: accuracy, took, params.x; -NAME: largest first.",
            autocompletion=completion.sorts,
        ),
    ] = "-created_at",
    limit: Limit = 20,
    offset: Annotated[
        int, typer.Option(metavar="N", min=0, max=MOST_SKIPPED, help="Skip the first N jobs.")
    ] = 0,
    page: Annotated[
        int,
        typer.Option(metavar="N", min=1, max=MOST_SKIPPED, help="Page N, of --limit jobs each."),
    ] = 1,
    columns: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES",
            help="Columns to show: id,model,accuracy,params.epochs,...",
            autocompletion=completion.columns,
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON on stdout.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="CSV on stdout.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print only full ids.")] = False,
) -> None:
    """List jobs, newest first."""
    from zoo import jobs as rows
    from zoo.cli.render import console

    db = rows.connect()
    wanted = words.filter(db)
    skipped = offset + (page - 1) * limit
    if quiet:
        for each in rows.list_ids(db, wanted, sort=sort, limit=limit, offset=skipped):
            console.line(each)
        return
    names = _names(columns)
    rows.check_metrics(db, names or [])
    found = rows.listing(db, wanted, sort=sort, limit=limit, offset=skipped)
    lines = _lines(db, found)
    if as_json:
        console.json_out([_record(line, names) for line in lines])
    elif as_csv:
        _print_csv(lines, names)
    else:
        _print_table(lines, names)
        _print_next_page(db, wanted, len(found), skipped, limit)


def _names(columns: str | None) -> list[str] | None:
    from zoo.cli.render.job_columns import check

    if columns is None:
        return None
    return check([name.strip() for name in columns.split(",") if name.strip()])


def _lines(db: Database, found: list[Job]) -> list[Line]:
    from zoo import jobs as rows
    from zoo.cli.render.job_columns import Line

    at = rows.clock(db)
    running = [job for job in found if job.status == "running"]
    known = rows.estimate_running(db, running, at) if running else {}
    is_queued = any(job.status == "queued" for job in found)
    paused = rows.paused_pools(db) if is_queued else set()
    return [Line(job, at, known.get(job.id), job.pool in paused) for job in found]


def _record(line: Line, names: list[str] | None) -> dict[str, Any]:
    from zoo.cli.render.job_columns import TIMES, raw
    from zoo.jobs.iso_times import with_iso_times

    if names is not None:
        return with_iso_times({name: raw(line, name) for name in names}, TIMES)
    outlook = line.outlook.to_json() if line.outlook else None
    return line.job.to_json() | {"outlook": outlook}


def _print_csv(lines: list[Line], names: list[str] | None) -> None:
    from zoo.cli.render import console
    from zoo.cli.render.job_columns import IN_CSV, raw

    chosen = names or IN_CSV
    console.csv_out(chosen, [[raw(line, name) for name in chosen] for line in lines])


def _print_table(lines: list[Line], names: list[str] | None) -> None:
    from zoo.cli.render import console
    from zoo.cli.render.job_columns import OPTIONAL, USUAL, cell, is_number

    chosen, optional = names or list(USUAL), [] if names else OPTIONAL
    if names is None and any(line.outlook for line in lines):
        chosen.insert(chosen.index("age"), "progress")
    if names is None and any(line.job.name for line in lines):
        chosen.insert(1, "name")
    if names is None and len({line.job.submitted_by for line in lines} - {None}) > 1:
        chosen.insert(chosen.index("status"), "user")
    console.table(
        chosen,
        [[cell(line, name) for name in chosen] for line in lines],
        right=[name for name in chosen if is_number(lines, name)],
        optional=[name for name in optional if name in chosen],
        more="a wider terminal, --columns or --json shows",
    )


def _print_next_page(db: Database, wanted: Filter, shown: int, skipped: int, limit: int) -> None:
    """Print how many jobs match and the command for the next page."""
    from zoo import jobs as rows
    from zoo.cli.render import console

    if not shown and (wanted or skipped):
        console.note("No job matches. `zoo jobs` lists the newest jobs.")
    elif not shown:
        console.note("No job yet. For a first one: `zoo train logistic --dataset digits`.")
    if shown < limit:
        return
    every = rows.count(db, wanted, most=MOST_COUNTED + 1)
    if every > skipped + shown:
        how_many = f"{every:,}" if every <= MOST_COUNTED else f"more than {MOST_COUNTED:,}"
        console.note(f"{shown:,} of {how_many} shown. Next page: {_next(skipped + shown, limit)}")


def _next(skip: int, limit: int) -> str:
    """The command for the next page of jobs."""
    import shlex

    kept = sys.argv[1:]
    for name in ("--page", "--offset"):
        if name in kept:
            at = kept.index(name)
            del kept[at : at + 2]
        kept = [word for word in kept if not word.startswith(f"{name}=")]
    where = ["--page", str(skip // limit + 1)] if skip % limit == 0 else ["--offset", str(skip)]
    return shlex.join(["zoo", *kept, *where])
