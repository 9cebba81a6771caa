"""Summaries of models: the card of each, and its best stored test results."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from zoo.errors import UsageError
from zoo.query import parser
from zoo.queue.catalogue import Offer
from zoo.results.leaderboard import LeaderboardRow, TestResult

METRICS = (
    *("accuracy", "loss", "parameters", "weights_bytes", "fit_seconds", "predict_us_per_image"),
)
RANKED = ("metric", "value")
"""The metric by which results are ranked, and its value."""
NAMES = (
    *(
        "model",
        "plugin",
        "family",
        "paper",
        "takes",
        "uses",
        "device",
        "layout",
        "dtype",
        "here",
        "workers",
        "missing",
        "dataset",
    ),
    *METRICS,
    *RANKED,
)
"""Names for conditions and sorting; a condition may also name `params.NAME`, the defaults."""


@dataclass(frozen=True)
class ModelSummary:
    """A model and its best test result on one dataset's contents, if it has any."""

    offer: Offer
    row: LeaderboardRow | None = None
    """The leaderboard's row with the result; it has a test result."""

    @property
    def name(self) -> str:
        """The model's name."""
        return self.offer.card.name

    @property
    def result(self) -> TestResult | None:
        """The test result."""
        return self.row.test if self.row else None

    def values(self) -> dict[str, Any]:
        """Return the value of each of NAMES, and `params`."""
        card = self.offer.card
        return {
            "plugin": card.plugin,
            "family": card.family,
            "paper": card.paper,
            "takes": ", ".join(f"{kind}s" for kind in card.takes or ("image",)),
            "uses": card.uses,
            "device": card.device or "cpu",
            "layout": card.layout,
            "dtype": card.dtype,
            "model": self.name,
            "here": self.offer.here,
            "workers": len(self.offer.workers),
            "missing": list(self.offer.missing),
            "params": self._defaults(),
            "dataset": self.row.dataset if self.row else None,
            **{name: getattr(self.result, name, None) for name in METRICS},
            "metric": self.row.objective.metric if self.row else None,
            "value": self.result.value.mean if self.result else None,
        }

    def _defaults(self) -> dict[str, Any]:
        schemas = self.offer.card.param_schemas
        return {name: each.get("default") for name, each in schemas.items()}


def summarize_models(
    offers: Mapping[str, Offer], rows: Iterable[LeaderboardRow]
) -> list[ModelSummary]:
    """Summarize each model once per contents that it was tested on, or once without a result."""
    found: dict[str, list[ModelSummary]] = {name: [] for name in offers}
    for row in rows:
        if row.test and row.model in offers:
            found[row.model].append(ModelSummary(offers[row.model], row))
    return [each for name, own in found.items() for each in own or [ModelSummary(offers[name])]]


def filter_summaries(
    summaries: Sequence[ModelSummary],
    patterns: Sequence[str] = (),
    exclude: Sequence[str] = (),
    condition: str | None = None,
) -> list[ModelSummary]:
    """Keep the models that match a pattern, no pattern of `exclude`, and the condition.

    Raises:
        UsageError: For an invalid condition.
    """
    names = [*NAMES, "params.*"]
    wanted = parser.parse(condition, names) if condition is not None else None
    return [
        each
        for each in summaries
        if _matches(each.name, patterns or ["*"])
        and not _matches(each.name, exclude)
        and (wanted is None or wanted.matches(each.values()))
    ]


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def sort_summaries(summaries: Sequence[ModelSummary], by: str) -> list[ModelSummary]:
    """Sort by one of NAMES, with `-` before it the largest first; missing values come last.

    Raises:
        UsageError: For an unknown name.
    """
    name = by.removeprefix("-")
    if name not in NAMES:
        raise UsageError(f"Models have no '{name}' to sort by.", f"They have {', '.join(NAMES)}.")
    known = [each for each in summaries if each.values()[name] is not None]
    missing = [each for each in summaries if each.values()[name] is None]
    return sorted(known, key=lambda each: each.values()[name], reverse=by.startswith("-")) + missing


def models_json(summaries: Sequence[ModelSummary]) -> list[dict[str, Any]]:
    """Return each model once, with its results among the summaries, as `--json` prints it."""
    shown: dict[str, dict[str, Any]] = {}
    for each in summaries:
        model = shown.setdefault(each.name, each.offer.to_json() | {"results": []})
        if each.row and each.result:
            row = {name: getattr(each.row, name) for name in ("dataset", "contents", "is_newest")}
            row["metric"] = each.row.objective.metric
            model["results"].append(row | each.result.to_json())
    return list(shown.values())
