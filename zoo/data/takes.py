"""What a model takes: kinds of dataset, sizes of images, missing numbers, weights of rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from zoo.data import steps
from zoo.data.contents import Meta
from zoo.errors import UsageError, unknown
from zoo.job_spec import NO_STEPS
from zoo.jobs.cards import Card
from zoo.model import Model, fit_arguments
from zoo.plugins import registry

if TYPE_CHECKING:
    from zoo.model import Array


WEIGHTS = "sample_weight"
"""The argument of `fit` for weights of rows."""
WHICH_WEIGH = """`zoo models --where '"row weights" in uses'` lists those that can."""


@dataclass(frozen=True)
class Takes:
    """What a model takes, as its class or the card of a worker says."""

    name: str
    takes: tuple[str, ...]
    takes_missing: bool
    min_side: int
    fit_arguments: tuple[str, ...]

    @classmethod
    def of(cls, model: type[Model]) -> Takes:
        """Read it from a model class."""
        arguments = fit_arguments(model)
        return cls(model.name, model.takes, model.takes_missing, model.min_side, arguments)

    @classmethod
    def of_card(cls, card: Card) -> Takes:
        """Read it from a card; cards of an older worker say nothing and mean images."""
        return cls(
            name=card.name,
            takes=tuple(card.takes or ("image",)),
            takes_missing=bool(card.takes_missing),
            min_side=card.min_side or 1,
            fit_arguments=tuple(card.fit_arguments or ()),
        )


class Asked(Protocol):
    """What a training asks for: the spec of a job, or the options of a submission."""

    @property
    def preprocess(self) -> str: ...
    @property
    def validation(self) -> float | None: ...
    @property
    def class_weight(self) -> str | None: ...
    @property
    def positive(self) -> str | None: ...
    @property
    def is_cross_validation(self) -> bool: ...


def check(model: Takes, meta: Meta, asked: Asked) -> None:
    """Raise UsageError, with what would help, for a training that is impossible.

    The model cannot take the dataset, or dataset and options contradict each other.
    """
    check_inputs(model, meta, asked.preprocess)
    check_options(model, asked)
    if "train" in meta.weighted and WEIGHTS not in model.fit_arguments:
        raise UsageError(
            f"The model '{model.name}' cannot weigh rows, but those of '{meta.name}' have weights.",
            f"{WHICH_WEIGH} Or add the table again without --weight.",
        )
    if asked.validation and "validation" in meta.counts and not asked.is_cross_validation:
        raise UsageError(
            f"The dataset '{meta.name}' has validation rows of its own.", "Leave out --validation."
        )
    if asked.positive is None:
        return
    if len(meta.class_names) != 2:
        raise UsageError(
            f"--positive is for two classes, but '{meta.name}' has {len(meta.class_names)}.",
            "Leave out --positive.",
        )
    if asked.positive not in meta.class_names:
        raise unknown("class", asked.positive, meta.class_names)


def check_options(model: Takes, asked: Asked) -> None:
    """Raise UsageError for options that the model cannot use, whatever the dataset is."""
    if asked.class_weight and WEIGHTS not in model.fit_arguments:
        raise UsageError(
            f"The model '{model.name}' cannot weigh rows, so that it takes no --class-weight.",
            WHICH_WEIGH,
        )


def check_params(
    schemas: Mapping[str, Mapping[str, Any]],
    values: Mapping[str, Any],
    meta: Meta | None,
    asked: Asked,
) -> None:
    """Raise UsageError for a param that needs validation rows, if the job has none.

    Args:
        schemas: The JSON schema of each param.
        values: The params.
        meta: The dataset; None if it is unknown, and may have validation rows.
        asked: The other options.
    """
    has_own = meta is None or ("validation" in meta.counts and not asked.is_cross_validation)
    if asked.validation or has_own:
        return
    for name, schema in schemas.items():
        if schema.get("needs") == "validation" and (value := values.get(name)) is not None:
            raise UsageError(
                f"{name}={value} needs validation rows, and the job has none.",
                f"Hold some out with --validation 0.1, or leave out {name}.",
            )


def _how_to_take(name: str) -> str:
    """Return the sentence for the author of a model: one in a file of the plugins folder."""
    owner = registry.catalogue().owners.get(name)
    if owner is None or not owner.source.endswith(".py"):
        return ""
    return f' In {Path(owner.source).name}: takes = ("image", "table").'


def check_inputs(model: Takes, meta: Meta, preprocess: str) -> None:
    """Raise UsageError, with the step that would help, for a dataset that a model cannot take."""
    if meta.kind not in model.takes:
        kinds = " and ".join(f"{kind}s" for kind in model.takes)
        raise UsageError(
            f"The model '{model.name}' takes {kinds}, but '{meta.name}' has "
            f"{meta.describe_shape()}.",
            f"`zoo models` says which models take {meta.kind}s.{_how_to_take(model.name)}",
        )
    if meta.kind == "image" and min(meta.shape[:2]) < model.min_side:
        raise UsageError(
            f"The model '{model.name}' takes images of {model.min_side} pixels and more, but "
            f"'{meta.name}' has {meta.describe_shape()}."
        )
    is_filled = any(step.handles_missing for step in steps.chain(preprocess))
    if meta.has_missing and not model.takes_missing and not is_filled:
        names = [c.name for c in meta.columns if c.has_missing and c.kind == "number"]
        others = f" and {len(names) - 1} more" if len(names) > 1 else ""
        suggested = "impute" if preprocess == NO_STEPS else f"impute,{preprocess}"
        raise UsageError(
            f"The model '{model.name}' takes no missing numbers, but the column "
            f"'{names[0]}'{others} of '{meta.name}' has some.",
            f"Fill them in: --preprocess {suggested}.",
        )


def check_no_missing(model: type[Model], x: Array, feature_names: Sequence[str]) -> None:
    """Raise UsageError if prepared rows of a table, (n, features), have NaN that a model refuses.

    At a training `check` has done that from the description of the dataset.
    """
    import numpy as np

    if model.takes_missing or not feature_names:
        return
    missing = np.isnan(x)
    if missing.any():
        row, feature = np.argwhere(missing)[0].tolist()
        raise UsageError(
            f"Row {row + 1} has no number in the column '{feature_names[feature]}', and the model "
            f"'{model.name}' takes no missing numbers.",
            "Fill it in, or train the model with --preprocess impute.",
        )
