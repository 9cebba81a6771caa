"""What is known of each model: its card, and the best that stored jobs have measured."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from zoo.errors import UsageError
from zoo.query import parser
from zoo.queue.catalogue import Offer

MEASURED = (
    *("accuracy", "loss", "parameters", "weights_bytes", "fit_seconds", "predict_us_per_image"),
)
NAMES = (
    *("model", "plugin", "family", "paper", "layout", "dtype", "here", "workers", "dataset"),
    *MEASURED,
)
"""What a condition may ask and an order go by; a condition also `params.NAME`, the defaults."""


@dataclass(frozen=True)
class Row:
    """A model and its best test result on one dataset's contents, if it has any."""

    offer: Offer
    result: Mapping[str, Any] | None
    """{"dataset", "contents", "is_newest", "job" or "group", "accuracy", ...}."""

    def facts(self) -> dict[str, Any]:
        """Everything that a condition may ask."""
        card, result = self.offer.card, self.result or {}
        kept = {name: card.get(name) for name in ("plugin", "family", "paper", "layout", "dtype")}
        return {
            **kept,
            "model": card["name"],
            "here": self.offer.here,
            "workers": len(self.offer.workers),
            "params": self._defaults(),
            **{name: result.get(name) for name in ("dataset", *MEASURED)},
        }

    def _defaults(self) -> dict[str, Any]:
        about = self.offer.card["schema"].get("properties", {})
        return {name: each.get("default") for name, each in about.items()}


def rows(offers: Mapping[str, Offer], ranks: Iterable[Mapping[str, Any]]) -> list[Row]:
    """A row for each model and contents that it was tested on; one for a model without a test.

    `ranks` are the rows of the leaderboard.
    """
    found: dict[str, list[Row]] = {name: [] for name in offers}
    for rank in ranks:
        if rank["test"] and rank["model"] in offers:
            of = {name: rank[name] for name in ("dataset", "contents", "is_newest")}
            result = of | rank["test"]
            found[rank["model"]].append(Row(offers[rank["model"]], result))
    return [row for name, own in found.items() for row in own or [Row(offers[name], None)]]


def choose(
    found: Sequence[Row],
    patterns: Sequence[str] = (),
    exclude: Sequence[str] = (),
    condition: str | None = None,
) -> list[Row]:
    """The rows whose model matches a pattern and none of `exclude`, and the condition.

    Raises UsageError for a condition that cannot be read.
    """
    names = [*NAMES, "params.*"]
    wanted = parser.parse(condition, names) if condition is not None else None
    return [
        row
        for row in found
        if _matches(row, patterns or ["*"])
        and not _matches(row, exclude)
        and (wanted is None or wanted.matches(row.facts()))
    ]


def _matches(row: Row, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(row.offer.card["name"], pattern) for pattern in patterns)


def ordered(found: Sequence[Row], by: str) -> list[Row]:
    """The rows in the order of a fact, with `-` before its name the largest first; missing last.

    Raises UsageError for a name that is none.
    """
    name = by.removeprefix("-")
    if name not in NAMES:
        raise UsageError(f"Models have no '{name}' to sort by.", f"They have {', '.join(NAMES)}.")
    known = [row for row in found if row.facts()[name] is not None]
    missing = [row for row in found if row.facts()[name] is None]
    return sorted(known, key=lambda row: row.facts()[name], reverse=by.startswith("-")) + missing


def to_json(found: Sequence[Row]) -> list[dict[str, Any]]:
    """Each model once, with those of its results that are among the rows, as scripts see it."""
    shown: dict[str, dict[str, Any]] = {}
    for row in found:
        model = shown.setdefault(row.offer.card["name"], row.offer.to_json() | {"results": []})
        model["results"] += [dict(row.result)] if row.result else []
    return list(shown.values())
