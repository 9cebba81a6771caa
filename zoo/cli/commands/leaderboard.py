"""`zoo leaderboard`: the best result of each model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from zoo.cli.filter_options import FilterWords, filtered
from zoo.cli.options import Metric

if TYPE_CHECKING:
    from zoo.results.leaderboard import LeaderboardRow

_SHORT = {"cross-validation": "cv"}
"""Column names on a narrow terminal: means without deviations."""


NARROW = 50
"""On a terminal of fewer columns the dataset is left out before the job."""


def add_to(app: typer.Typer) -> None:
    app.command()(leaderboard)


@filtered
def leaderboard(
    words: FilterWords,
    group_by: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="Also a row for each value of params.x, seed... (repeatable)."
        ),
    ] = None,
    metric: Annotated[str | None, Metric] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON on stdout.")] = False,
) -> None:
    """Rank models by test accuracy and cross-validation. Best result of each, per dataset.

    Results on earlier contents of a dataset are ranked separately. With --metric by another metric;
    results without it are left out.
    """
    from zoo import jobs
    from zoo.cli.render import console
    from zoo.metrics import common_heading
    from zoo.results.leaderboard import leaderboard_rows

    db = jobs.connect()
    names = group_by or []
    rows = leaderboard_rows(db, words.filter(db), by=names, metric=metric)
    if as_json:
        console.json_out([row.to_json() for row in rows])
        return
    published = ["published %"] if any(row.published for row in rows) else []
    measured = list(dict.fromkeys(row.objective.metric for row in rows)) or ["accuracy"]
    ranked = common_heading(measured).removesuffix(" result")
    apart = ["metric"] if len(measured) > 1 else []
    # Beside a metric of other rows it is said that these are of the test images.
    of = "" if ranked.startswith("test") else "test "
    more = [f"{of}accuracy"] if measured != ["accuracy"] else []
    error = f"{of}error %"
    costs = [name for name in ("fit s", "parameters") if name != ranked]
    numbers = [ranked, *more, error, *published, "cross-validation", *costs]
    contents = ["contents"] if any(row.contents_note for row in rows) else []
    columns = ["dataset", *contents, "model", *names, *apart, *numbers, "job", "params"]
    # The column "job" stays: the next command needs the id.
    narrow = ["dataset"] if console.width() < NARROW else []
    optional = [*costs[::-1], "params", error, *more, *published, *narrow, "cross-validation"]
    cells = [[_cells(row, names, ranked)[column] for column in columns] for row in rows]
    # A row that has only been cross-validated would show no result at all.
    has_lone_cv = not all(row.test for row in rows)
    if has_lone_cv and optional[-1] in console.left_out(columns, cells, numbers, optional):
        short = {**_SHORT, ranked: "test" if ranked.startswith("test ") else ranked}
        columns, numbers = ([short.get(name, name) for name in each] for each in (columns, numbers))
        plain = [_cells(row, names, short[ranked], is_short=True) for row in rows]
        cells = [[row[column] for column in columns] for row in plain]
        optional = optional[:-1]
        console.note("The terminal is too narrow for deviations; --json shows them.")
    console.table(columns, cells, right=numbers, optional=optional)
    if not rows and words:
        console.note("No result matches. `zoo leaderboard` without a filter shows all.")
    elif not rows:
        console.note("No finished job yet. For a first one: `zoo train logistic --dataset digits`.")


def _cells(
    row: LeaderboardRow, names: list[str], ranked: str, *, is_short: bool = False
) -> dict[str, str]:
    """Return the texts of a row by column; short ones have no deviations."""
    from zoo.cli.render import console

    test, cv, error = row.test, row.cv, row.test_error
    tested = console.number(test.value.mean if test else None)
    if test and test.is_group and not is_short:
        tested = test.value.counted()
    by = {name: console.params({"": row.by[name]})[1:] for name in names}
    return by | {
        "dataset": row.dataset_label,
        "contents": row.contents_note or "newest",
        "model": row.model,
        "metric": row.objective.metric,
        **dict.fromkeys(
            ("accuracy", "test accuracy"), console.number(test.accuracy if test else None)
        ),
        ranked: tested,
        **dict.fromkeys(
            ("error %", "test error %"), "" if error is None else console.number(100 * error, 2)
        ),
        "published %": console.number((row.published or {}).get("error"), 2),
        "cross-validation": cv.value.counted() if cv else "",
        "cv": console.number(cv.value.mean) if cv else "",
        "fit s": console.number(row.result.fit_seconds, 2),
        "parameters": console.number(row.result.parameters),
        "job": row.result.id[:8],
        "params": console.params(row.chosen),
    }
