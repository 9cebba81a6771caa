"""`zoo compare`: results side by side."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zoo.cli import completion
from zoo.cli.options import Metric

if TYPE_CHECKING:
    from collections.abc import Sequence

    from zoo.results.comparison import ComparedResult, PairComparison

Refs = Annotated[
    list[str],
    typer.Argument(
        metavar="REF",
        help="Two or more jobs or groups: the beginning of an id, @last, @best:mnist.",
        autocompletion=completion.references,
    ),
]


def add_to(app: typer.Typer) -> None:
    app.command()(compare)


def compare(
    refs: Refs,
    show: Annotated[
        bool, typer.Option("--show", help="Draw images on which the predictions differ.")
    ] = False,
    metric: Annotated[str | None, Metric] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON on stdout.")] = False,
) -> None:
    """Compare results: settings, metrics, predictions. With a paired significance test."""
    from zoo import jobs, settings
    from zoo.cli.render import console
    from zoo.results import comparison

    chosen = settings.load()
    db = jobs.connect(chosen.database)
    found = [jobs.find_reference(db, ref, metric) for ref in refs]
    compared = comparison.compare_results(db, chosen, found, metric)
    if as_json:
        console.json_out(compared.to_json())
        return
    results, differs = compared.results, compared.differs
    refused = comparison.refusals(results, _letters(), compared.objective)
    for note in [*refused.values(), *dict.fromkeys(each.note for each in results if each.note)]:
        console.note(note)
    heads = [f"{letter} {each.id[:8]}" for letter, each in zip(_letters(), results, strict=False)]
    _table("difference", _as_typed(results, differs), heads)
    if not differs:
        console.out.print("No difference of model, params, data or environment is known.")
    console.out.print()
    unit = results[0].jobs[0].unit
    named = {name.replace("image", unit[:-1]): row for name, row in compared.metrics.items()}
    _table("metric", named, heads)
    for letter, other, pair in zip(_letters()[1:], results[1:], compared.pairs, strict=False):
        if letter in refused:  # said above, before the values
            continue
        console.out.print()
        _print_pair(letter, pair)
        if show:
            _draw(results[0], other, pair)


def _letters() -> str:
    return "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def _as_typed(
    results: Sequence[ComparedResult], differs: dict[str, list[Any]]
) -> dict[str, list[str]]:
    """Format differences as command-line values; for different models only shared settings."""
    from zoo.cli.render import console

    def typed(value: Any) -> str:
        return "-" if value is None else console.params({"": value})[1:]

    if "model" not in differs:
        return {name: [typed(value) for value in row] for name, row in differs.items()}
    both = {name: row for name, row in differs.items() if None not in row}
    rows = {name: [typed(value) for value in row] for name, row in both.items()}
    changed = [console.params(each.jobs[0].changed) or "the defaults" for each in results]
    return rows | {"params": changed}


def _table(name: str, rows: dict[str, list[Any]], heads: Sequence[str]) -> None:
    from zoo.cli.render import console

    console.table([name, *heads], [[key, *map(_cell, row)] for key, row in rows.items()])


def _cell(value: Any) -> str:
    from zoo.cli.render import console
    from zoo.jobs.group_metrics import Statistics
    from zoo.jobs.records import LARGE

    if isinstance(value, Statistics):
        mean = value.mean
        if value.std:
            return f"{console.number(mean)} ± {console.number(value.std)}"
        # Equal in all jobs, such as the number of parameters, or a single job.
        return console.number(int(mean) if mean.is_integer() and abs(mean) < LARGE else mean)
    if isinstance(value, dict):
        return json.dumps(value)
    return "-" if value is None else console.number(value)


def _print_pair(letter: str, pair: PairComparison) -> None:
    from zoo.cli.render import console

    test, found = pair.test, pair.disagreement
    if test:
        p = "no p: every pair differs by the same" if test.p is None else f"p = {test.p:.3g}"
        more = f"{test.metric} A - {letter} = {test.difference:+.4f}"
        console.out.print(f"{more}, {test.name} (n = {test.n}): {p}", markup=False)
        console.out.print(f"  {test.about}", markup=False)
    if found:
        counts = f"both right {found.both_right}, only A {found.only_a}, only {letter} "
        counts += f"{found.only_b}, both wrong {found.both_wrong}"
        console.out.print(
            f"of {found.images} {found.unit}: {counts}; different answers {found.different}"
        )
        rows = [[each.row, each.label, *each.predicted] for each in found.first]
        if rows:
            console.table([found.unit[:-1], "label", "A says", f"{letter} says"], rows)
    for note in pair.notes:
        console.note(note)


def _draw(a: ComparedResult, b: ComparedResult, pair: PairComparison) -> None:
    """Draw the first images with different predictions: label, prediction of A and of B."""
    from zoo.cli.render import console
    from zoo.data import datasets
    from zoo.images import render
    from zoo.queue import pinning

    if not pair.disagreement or not pair.disagreement.first:
        return
    job, shown = a.jobs[0], pair.disagreement.first
    split = "train" if job.spec["fold"] else job.spec["split"]
    with console.progress() as tell:
        pinning.bring(job.contents, job.dataset, tell)
        raw = datasets.raw(job.dataset, tell, contents=job.contents)
    if job.contents and raw.fingerprint != job.contents:
        console.note(f"Images cannot be drawn: {job.dataset} has other contents on this machine.")
        return
    if raw.meta.kind != "image":
        console.note("A table has no images to draw.")
        return
    images = raw.splits[split].inputs
    drawn = images[[each.row for each in shown]]
    texts = [f"{each.label}: {' | '.join(each.predicted)}" for each in shown]
    captions = [console.one_line(each) for each in texts]
    console.drawn(render.strip(drawn, console.width(), console.in_colour(), captions))
