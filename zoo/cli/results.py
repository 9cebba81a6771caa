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
    validated = f"{cv['mean']:.4f} ± {cv['std']:.4f} (n = {len(cv['values'])})" if cv else ""
    return [
        row["dataset"],
        row["model"],
        output.number(accuracy),
        output.number(100 * (1 - accuracy), 2) if accuracy is not None else "",
        validated,
        output.number(test.get("fit_seconds"), 2),
        output.number(test.get("parameters")),
        (test.get("job") or cv["group"])[:8],
        output.params(row["changed"]),
    ]
