"""`zoo leaderboard`: the best result of each model."""

from __future__ import annotations

from typing import Annotated, Any

import typer


def add_to(app: typer.Typer) -> None:
    app.command()(leaderboard)


def leaderboard(
    dataset: Annotated[list[str] | None, typer.Option(help="Only these (repeatable).")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON on stdout.")] = False,
) -> None:
    """Compare the models: best test accuracy, best cross-validation, per dataset."""
    from zoo import jobs, leaderboard
    from zoo.cli import output

    rows = leaderboard.rows(jobs.connect(), datasets=dataset or [])
    if as_json:
        output.json_out(rows)
        return
    columns = ["dataset", "model", "test accuracy", "error %", "cross-validation", "fit s"]
    columns += ["parameters", "job", "params"]
    output.table(
        columns,
        [_line(row) for row in rows],
        right=columns[2:7],
        optional=["parameters", "fit s", "params", "error %"],
    )
    if not rows:
        output.note("No finished job yet. `zoo train logistic --dataset digits` is a first one.")


def _line(row: dict[str, Any]) -> list[str]:
    from zoo.cli import output

    test, cv = row["test"] or {}, row["cv"]
    accuracy = test.get("accuracy")
    validated = _with_spread(cv["mean"], cv) if cv else ""
    tested = _with_spread(test["accuracy"], test) if "values" in test else output.number(accuracy)
    return [
        row["dataset"],
        row["model"],
        tested,
        output.number(100 * (1 - accuracy), 2) if accuracy is not None else "",
        validated,
        output.number(test.get("fit_seconds"), 2),
        output.number(test.get("parameters")),
        (test.get("job") or test.get("group") or cv["group"])[:8],
        output.params(row["changed"]),
    ]


def _with_spread(mean: float, found: dict[str, Any]) -> str:
    return f"{mean:.4f} ± {found['std']:.4f} (n = {len(found['values'])})"
