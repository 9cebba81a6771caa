"""`zoo data`: list, prepare and look at the data."""

from __future__ import annotations

import typer

data = typer.Typer(invoke_without_command=True, rich_markup_mode=None, help="The data.")


def add_to(app: typer.Typer) -> None:
    app.add_typer(data, name="data")
