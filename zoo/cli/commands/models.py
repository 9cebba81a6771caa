"""`zoo models`: list the models, show one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

if TYPE_CHECKING:
    from zoo.jobs.cards import Card
    from zoo.queue.catalogue import Offer
    from zoo.results.leaderboard import LeaderboardRow
    from zoo.results.model_summaries import ModelSummary

from zoo.cli import completion
from zoo.cli.options import Metric
from zoo.metrics import ACCURACY
from zoo.param_values import typed

AsJson = Annotated[bool, typer.Option("--json", help="JSON on stdout.")]

RESULT = (
    *("dataset", "contents", "best by", "value", "accuracy"),
    *("parameters", "bytes", "fit s", "µs/image"),
)
"""Columns of a result; `contents` marks results on earlier contents of a dataset.

`best by` and `value` are for results that are ranked by another metric than accuracy."""
OPTIONAL = (
    *("bytes", "µs/image", "plugin", "uses", "fit s", "family", "workers", "parameters", "takes"),
)
"""Columns dropped on a narrow terminal, in this order."""


USE = {
    "validation": "validation rows",
    "row weights": "row weights (--class-weight, a weight column)",
    "checkpoints": "checkpoints (an interrupted training goes on)",
    "stop": "`zoo stop`",
}
"""What a training can use, as `zoo models show` says it."""


class _ListedByDefault(TyperGroup):
    """A group that passes its arguments to `list` unless the first is a command."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args[:1] != ["--help"] and not set(args[:1]) & set(self.commands):
            args = ["list", *args]
        return super().parse_args(ctx, args)


models = typer.Typer(
    cls=_ListedByDefault,
    rich_markup_mode=None,
    help="List the models (`list` is the default), or show one.",
)


def add_to(app: typer.Typer) -> None:
    app.add_typer(models, name="models")


@models.command("list")
def list_models(
    patterns: Annotated[
        list[str] | None,
        typer.Argument(metavar="PATTERN", help="Only models that match one: dense*, *net?."),
    ] = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option(metavar="PATTERN", help="Leave out models that match (repeatable)."),
    ] = None,
    dataset: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Only results on these datasets (repeatable)."),
    ] = None,
    where: Annotated[
        str | None,
        typer.Option(
            metavar="CONDITION", help="Only where this holds: 'parameters < 1e5 and workers > 0'."
        ),
    ] = None,
    sort: Annotated[
        str, typer.Option(metavar="NAME", help="Sort by a column; -NAME: largest first.")
    ] = "model",
    metric: Annotated[str | None, Metric] = None,
    as_json: AsJson = False,
) -> None:
    """List the models of this machine and of the workers, with their best test results."""
    from zoo.cli.render import console
    from zoo.plugins import packages, registry
    from zoo.results import model_summaries

    offers = _offers()
    found = model_summaries.summarize_models(offers, _leaderboard(dataset or [], metric))
    found = model_summaries.filter_summaries(found, patterns or [], exclude or [], where)
    found = model_summaries.sort_summaries(found, sort)
    if as_json:
        console.json_out(model_summaries.models_json(found))
        return
    _table(found)
    if not offers:
        how = f"pip install {packages.LOCAL}.{packages.IN_A_CLONE}"
        console.note(f"No model is installed. For the first ones: {how}")
    elif not found:
        console.note(f"No model matches, of {len(offers)}.")
    for plugin in registry.broken():
        console.note(f"The plugin {plugin.name} is broken: {plugin.error}.")


def _offers() -> dict[str, Offer]:
    """All models; if the database cannot be read, those of this machine and a note."""
    from zoo.cli.render import console
    from zoo.errors import StoreError
    from zoo.queue import catalogue

    try:
        return catalogue.models()
    except StoreError as error:
        console.note(f"Only the models of this machine: {error.message}")
        return catalogue.models([])


def _leaderboard(datasets: list[str], metric: str | None) -> list[LeaderboardRow]:
    from zoo import jobs
    from zoo.errors import StoreError
    from zoo.queue import catalogue
    from zoo.results.leaderboard import leaderboard_rows

    try:
        with catalogue.database() as db:
            wanted = jobs.Filter(datasets=datasets)
            return leaderboard_rows(db, wanted, metric=metric) if db else []
    except StoreError:  # `_offers` has said so
        return []


def _table(found: list[ModelSummary]) -> None:
    from zoo.cli.render import console

    columns = ["model", "family", "takes", "uses", *RESULT, "workers", "plugin", "summary"]
    lines = [_line(each) for each in found]
    # Before the first job there is nothing in most of them.
    last = len(columns) - 1
    used = [i for i, _ in enumerate(columns) if i in (0, last) or any(line[i] for line in lines)]
    console.table(
        [columns[i] for i in used],
        [[line[i] for i in used] for line in lines],
        right=[*RESULT[3:], "workers"],
        optional=[name for name in OPTIONAL if columns.index(name) in used],
    )


def _line(summary: ModelSummary) -> list[str]:
    from zoo.cli.render.console import number

    facts = summary.values()
    is_other = facts["metric"] not in (None, ACCURACY.metric)
    return [
        facts["model"],
        facts["family"] or "",
        facts["takes"],
        ", ".join(facts["uses"]),
        summary.row.dataset_label if summary.row else "",
        summary.row.contents_note if summary.row else "",
        facts["metric"] if is_other else "",
        number(facts["value"]) if is_other else "",
        number(facts["accuracy"]),
        number(facts["parameters"]),
        number(facts["weights_bytes"]),
        number(facts["fit_seconds"], 2),
        number(facts["predict_us_per_image"], 1),
        str(facts["workers"]),
        summary.offer.plugin,
        _missing(summary.offer) + (summary.offer.card.summary or ""),
    ]


def _missing(offer: Offer) -> str:
    """Say what is not installed where the model could run; empty if nothing is missing."""
    verb = "is" if len(offer.missing) == 1 else "are"
    return f"{' and '.join(offer.missing)} {verb} not installed. " if offer.missing else ""


@models.command("show")
def show_model(
    name: Annotated[
        str,
        typer.Argument(metavar="MODEL", help="Name of a model.", autocompletion=completion.models),
    ],
    metric: Annotated[str | None, Metric] = None,
    as_json: AsJson = False,
) -> None:
    """Show a model: its plugin, workers, params and best results."""
    from zoo.cli.render import console
    from zoo.errors import unknown
    from zoo.results import model_summaries

    offers = _offers()
    if name not in offers:
        raise unknown("model", name, offers, "zoo models")
    found = model_summaries.summarize_models({name: offers[name]}, _leaderboard([], metric))
    if as_json:
        console.json_out(model_summaries.models_json(found)[0])
        return
    card = offers[name].card
    console.out.print(f"{name}: {console.safe(card.about or '')}", markup=False)
    console.out.print()
    for what, text in _about(offers[name]):
        console.field(f"{what:>8}  ", text)
    rows = [
        [
            param,
            _type(about, card.definitions),
            typed(about.get("default")),
            about.get("description", ""),
        ]
        for param, about in card.param_schemas.items()
    ]
    console.out.print()
    console.definitions(["param", "type", "default", "what it does"], rows)
    _best([each for each in found if each.result])
    console.note(f"\nFor example: zoo train {name}" + _example(rows))


def _about(offer: Offer) -> Iterator[tuple[str, str]]:
    card = offer.card
    for what, text in (("family", card.family), ("paper", card.paper)):
        if text:
            yield what, text
    yield "takes", _taken(card)
    if card.uses:
        yield "uses", ", ".join(USE.get(each, each) for each in card.uses)
    if card.device not in (None, "cpu"):
        yield "device", str(card.device)
    yield "plugin", offer.plugin if offer.here else f"{offer.plugin}, not installed here"
    if offer.missing:
        yield "missing", _missing(offer).strip()
    if not offer.workers:
        yield "workers", "none online"
    for worker in offer.to_json()["workers"]:
        label = "" if worker["plugin"] == offer.plugin else f", with {worker['plugin']}"
        yield "worker", f"{worker['name']} of the pool {worker['pool']}{label}"


def _taken(card: Card) -> str:
    """What a model takes, such as `images of 12 x 12 pixels and more`, or `tables`."""
    least = card.min_side or 1
    texts = {
        "image": f"images of {least} x {least} pixels and more" if least > 1 else "images",
        "table": "tables with missing numbers" if card.takes_missing else "tables",
    }
    return ", ".join(texts.get(kind, kind) for kind in card.takes or ("image",))


def _best(found: list[ModelSummary]) -> None:
    from zoo.cli.render import console

    if not found:
        return
    rows = []
    for each in found:
        cells = dict(zip(RESULT, _line(each)[4:], strict=False))
        rows.append(cells | {"job": each.result.id[:8] if each.result else ""})
    some = ("contents", "best by", "value")
    columns = [n for n in (*RESULT, "job") if n not in some or any(r[n] for r in rows)]
    console.out.print()
    lines = [[row[name] for name in columns] for row in rows]
    optional = [name for name in RESULT[:4:-1] if name in columns]
    console.table(columns, lines, right=RESULT[3:], optional=optional)


def _example(rows: list[list[str]]) -> str:
    return f" -p {rows[0][0]}={rows[0][2]}" if rows and rows[0][2] else ""


def _type(about: Mapping[str, Any], defs: Mapping[str, Any]) -> str:
    """A short text for a type of a JSON schema; `defs` are the types that it refers to."""
    if "$ref" in about:
        # Drop the type from the definitions, as it may refer to itself.
        name = about["$ref"].rpartition("/")[2]
        return _type(defs.get(name, {}), {k: v for k, v in defs.items() if k != name})
    if "anyOf" in about:
        return " or ".join(_type(each, defs) for each in about["anyOf"])
    if "enum" in about:
        return "|".join(str(each) for each in about["enum"])
    if "const" in about:
        return str(about["const"])
    if "prefixItems" in about:
        return f"list of {', '.join(_type(each, defs) for each in about['prefixItems'])}"
    name = str(about.get("format") or about.get("type", "any"))
    if name == "array":
        return f"list of {_type(about.get('items', {}), defs)}"
    if name == "object":
        inner = about.get("properties", {})
        return f"values {', '.join(inner)}" if inner else "names and values"
    signs = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}
    bounds = [f"{sign} {about[key]:g}" for key, sign in signs.items() if key in about]
    return " ".join([name, *bounds])
