"""Results side by side: what differs, metrics, a paired test, and where predictions disagree."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from zoo import jobs
from zoo.errors import UsageError
from zoo.jobs import Group, Job
from zoo.param_values import typed
from zoo.results import comparison
from zoo.results.comparison import ComparedResult
from zoo.results.learning_curves import Run, charts, step_unit
from zoo_web.context import PageContext, get_context, live_values
from zoo_web.events import Snapshot, stream

MOST = 8
"""Results side by side; more have no place on a page."""
LETTERS = "ABCDEFGH"


def compare_page(request: Request) -> Response:
    """Compare the jobs and groups that the address names, each as `ref`."""
    context = get_context(request)
    try:
        values = _compared(context, *_asked(request))
    except UsageError as error:
        return context.error_page(request, error, 400)
    waiting = {"pairs": {"waiting": context.fragment("pairs_waiting")}}
    return context.page(request, "compare.html", **values, **live_values(request, waiting))


def live_compare(request: Request) -> Response:
    """Stream the comparison of the predictions, once the model server has made it."""
    context, (refs, metric) = get_context(request), _asked(request)
    results = _compared(context, refs, metric)
    ids = [result.id for _, result in results["results"]]
    answer = context.models.start({"do": "compare", "refs": ids, "metric": metric})

    def read() -> Snapshot:
        if not answer.done():
            return Snapshot({"pairs": {"waiting": context.fragment("pairs_waiting")}})
        found = answer.result()
        if "error" in found:
            return Snapshot(
                {"pairs": {"error": context.fragment("pairs_error", text=found["error"])}},
                is_last=True,
            )
        pieces = {
            letter: context.fragment("pair", letter=letter, pair=pair, unit=results["unit"])
            for letter, pair in zip(LETTERS[1:], found["pairs"], strict=False)
            if letter not in results["refused"]  # said above the values
        }
        return Snapshot({"pairs": pieces}, is_last=True)

    return stream(read)


def _asked(request: Request) -> tuple[list[str], str | None]:
    """Return the references and the metric of an address."""
    refs = [*dict.fromkeys(filter(None, request.query_params.getlist("ref")))]
    return refs, request.query_params.get("metric") or None


def _compared(context: PageContext, refs: Sequence[str], metric: str | None) -> dict[str, Any]:
    """Return the values of the template; raises UsageError for what has no result."""
    if not 2 <= len(refs) <= MOST:
        raise UsageError(
            f"A comparison is of 2 to {MOST} results, and {len(refs)} "
            f"{'is' if len(refs) == 1 else 'are'} selected.",
            "Select them in the first column of the jobs, of a group or of the leaderboard.",
        )
    found = [jobs.find_reference(context.db, ref, metric) for ref in refs]
    results = [comparison.load_result(context.db, each) for each in found]
    by = jobs.dataset_objective(context.db, results[0].jobs[0].dataset, metric)
    measured = comparison.compared_metrics(results, by.metric)
    unit = results[0].jobs[0].unit
    refusals = comparison.refusals(results, LETTERS, by)
    best = comparison.best_places(results, measured, by)
    return {
        "results": [*zip(LETTERS, results, strict=False)],
        "addresses": [
            f"/groups/{each.id}" if isinstance(each, Group) else f"/jobs/{each.id}"
            for each in found
        ],
        "refused": {*refusals},
        "notes": [*refusals.values(), *dict.fromkeys(each.note for each in results if each.note)],
        "differs": _as_typed(results, comparison.differences(results)),
        "measured": {name.replace("image", unit[:-1]): row for name, row in measured.items()},
        "best": {name.replace("image", unit[:-1]): place for name, place in best.items()},
        "charts": _curves(context, found),
        "by": by,
        "unit": unit,
    }


def _curves(context: PageContext, found: Sequence[Job | Group]) -> list[dict[str, Any]]:
    """Return the learning curves of the jobs among the results, those of one kind in one chart."""
    runs = [
        Run(
            f"{letter} {each.model}",
            jobs.steps(context.db, each.id),
            step_unit(each),
            f"/jobs/{each.id}",
        )
        for letter, each in zip(LETTERS, found, strict=False)
        if isinstance(each, Job)
    ]
    return charts(runs) if len(runs) > 1 else []


def _as_typed(
    results: Sequence[ComparedResult], differs: dict[str, list[Any]]
) -> dict[str, list[str]]:
    """Format differences as they are typed; for different models only shared settings."""

    def text(value: Any) -> str:
        return "–" if value is None else typed(value)

    if "model" not in differs:
        return {name: [text(value) for value in row] for name, row in differs.items()}
    both = {name: row for name, row in differs.items() if None not in row}
    rows = {name: [text(value) for value in row] for name, row in both.items()}
    changed = [each.jobs[0].changed for each in results]
    return rows | {
        "params": [
            ", ".join(f"{name}={typed(value)}" for name, value in each.items()) or "the defaults"
            for each in changed
        ]
    }
