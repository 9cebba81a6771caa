"""`zoo models`: what there is."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from zoo.cli import completion

AsJson = Annotated[bool, typer.Option("--json", help="JSON on stdout.")]

models = typer.Typer(
    invoke_without_command=True, rich_markup_mode=None, help="List the models, or show one."
)


def add_to(app: typer.Typer) -> None:
    app.add_typer(models, name="models")


@models.callback()
def list_models(context: typer.Context, as_json: AsJson = False) -> None:
    if context.invoked_subcommand:
        return
    from zoo import plugins as rooms
    from zoo.cli import output

    cards = rooms.cards()
    if as_json:
        output.json_out(cards)
        return
    output.table(
        ["model", "plugin", "what it is"], [[c["name"], c["plugin"], c["summary"]] for c in cards]
    )
    if not cards:
        output.note("No model is installed. For the first ones: pip install zoo-sklearn zoo-keras.")


@models.command("show")
def show_model(
    name: Annotated[str, typer.Argument(help="A model.", autocompletion=completion.models)],
    as_json: AsJson = False,
) -> None:
    """Show a model: its params with type, bounds, default and help."""
    from zoo import plugins as rooms
    from zoo.cli import output

    model = rooms.model(name)
    card = next(card for card in rooms.cards() if card["name"] == name)
    if as_json:
        output.json_out(card)
        return
    text = (model.__doc__ or "").strip()
    output.out.print(f"{name} ({card['plugin']}): {text}", markup=False)
    output.out.print()
    rows = [
        [
            param,
            _type(about),
            output.params({"": about.get("default")})[1:],
            about.get("description", ""),
        ]
        for param, about in card["schema"].get("properties", {}).items()
    ]
    output.table(["param", "type", "default", "what it does"], rows)
    output.note(f"\nFor example: zoo train {name}" + _example(rows))


def _example(rows: list[list[str]]) -> str:
    return f" -p {rows[0][0]}={rows[0][2]}" if rows and rows[0][2] else ""


def _type(about: dict[str, Any]) -> str:
    """A JSON schema's type in a few words."""
    if "anyOf" in about:
        return " or ".join(_type(each) for each in about["anyOf"])
    if "enum" in about:
        return "|".join(str(each) for each in about["enum"])
    if "const" in about:
        return str(about["const"])
    name = str(about.get("type", "any"))
    if name == "array":
        return f"list of {_type(about.get('items', {}))}"
    signs = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}
    bounds = [f"{sign} {about[key]:g}" for key, sign in signs.items() if key in about]
    return " ".join([name, *bounds])
