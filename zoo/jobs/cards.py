"""Model cards: how a worker describes, in its row, each model that it can run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from zoo.canonical_json import object_in, split_known
from zoo.metrics import OF_PLUGIN, MetricInfo


@dataclass(frozen=True)
class Card:
    """The card of one model; a field that its author did not publish is None.

    A worker of another version may lack fields, or have others than these.
    """

    name: str
    plugin: str
    """The label of the plugin: its distribution and version."""
    family: str | None = None
    """The kind of model, such as `linear`."""
    paper: str | None = None
    """The source of the method; empty if there is none."""
    summary: str | None = None
    """The first line of the description."""
    about: str | None = None
    """The whole description."""
    takes: Sequence[str] | None = None
    """The kinds of dataset that it takes, `image` and `table`; None means images."""
    takes_missing: bool | None = None
    """Whether features may be NaN."""
    min_side: int | None = None
    """The least height and width of images, in pixels."""
    fit_arguments: Sequence[str] | None = None
    """What its `fit` asks for: `validation`, `sample_weight`, `checkpoint`; None means nothing."""
    can_stop: bool | None = None
    """Whether `zoo stop` may end its training early; None means no."""
    device: str | None = None
    """Where it trains, `cpu` or `gpu`; None means `cpu`."""
    layout: str | None = None
    """The shape of the model's inputs: `flat` or `image`."""
    dtype: str | None = None
    """The type of the inputs: `float32` or `float64`."""
    missing: Sequence[str] | None = None
    """Packages that its plugin requires and that are not installed where it is; None: none."""
    schema: Mapping[str, Any] | None = None
    """The JSON schema of the params, with every default."""
    code: str | None = None
    """The sha256 of the plugin's source when it was imported; empty if it has no source."""
    datasets: Mapping[str, str] | None = None
    """Of the worker: the summary of each dataset that it has, by name."""
    versions: Mapping[str, str] | None = None
    """Of the worker: the version of each dataset of a plugin, by name."""
    listeners: Mapping[str, str] | None = None
    """Of the worker: label and code of each plugin that is called when a job has ended, by name."""
    metrics: Mapping[str, Any] | None = None
    """Of the worker: each metric of a plugin by name, as {"higher_is_better", "summary"}."""
    others: Mapping[str, Any] = field(default_factory=dict)
    """Fields of another version: unknown ones, and known ones of another type."""

    @property
    def uses(self) -> list[str]:
        """What its training can use: `validation`, `row weights`, `checkpoints`, `stop`."""
        asked = self.fit_arguments or ()
        found = [word for argument, word in USES.items() if argument in asked]
        return [*found, *(["stop"] if self.can_stop else [])]

    @property
    def param_schemas(self) -> Mapping[str, Mapping[str, Any]]:
        """The JSON schema of each param, by name, in the order of the model's author."""
        return object_in(self.schema or {}, "properties")

    @property
    def definitions(self) -> Mapping[str, Mapping[str, Any]]:
        """The JSON schemas to which those of the params refer, by name."""
        return object_in(self.schema or {}, "$defs")

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Card:
        """Read a card as a worker of any version has published it."""
        known, others = split_known(stored, TYPES)
        return cls(**{"name": "", "plugin": "", **known}, others=others)

    def to_json(self, without: tuple[str, ...] = ()) -> dict[str, Any]:
        """Return the published fields as JSON, in this order, except those named in `without`."""
        found = {name: getattr(self, name) for name in TYPES}
        published = {name: value for name, value in found.items() if value is not None}
        published |= self.others
        return {name: value for name, value in published.items() if name not in without}


USES = {"validation": "validation", "sample_weight": "row weights", "checkpoint": "checkpoints"}
"""What arguments of `fit` are called where models are listed."""
OF_WORKER = ("datasets", "versions", "listeners", "metrics")
"""Fields that describe the worker, not the model."""
_OBJECTS = ("schema", *OF_WORKER)
_TYPES: dict[str, type] = {
    **{"takes": list, "takes_missing": bool, "min_side": int},
    **{"fit_arguments": list, "can_stop": bool, "missing": list},
}
TYPES: Mapping[str, type] = {
    each.name: dict if each.name in _OBJECTS else _TYPES.get(each.name, str)
    for each in fields(Card)[:-1]
}
"""The type of each field in JSON."""


def published_metrics(cards: Iterable[Card]) -> dict[str, MetricInfo]:
    """Return the metrics of plugins that workers publish on these cards, by name."""
    found: dict[str, MetricInfo] = {}
    for name, about in ((n, a) for card in cards for n, a in (card.metrics or {}).items()):
        higher = about.get("higher_is_better") if isinstance(about, dict) else None
        if isinstance(higher, bool):
            found[name] = MetricInfo(name, higher, str(about.get("summary", "")), OF_PLUGIN)
    return found
