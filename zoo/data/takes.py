"""What a model takes: kinds of dataset, sizes of images, missing numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from zoo.data import steps
from zoo.data.contents import Meta
from zoo.errors import UsageError
from zoo.job_spec import NO_STEPS

if TYPE_CHECKING:
    from zoo.model import Array


class Takes(Protocol):
    """A model class, or the card that a worker publishes of it."""

    name: str
    takes: tuple[str, ...]
    takes_missing: bool
    min_side: int


def check(model: Takes, meta: Meta, preprocess: str) -> None:
    """Raise UsageError, with the step that would help, for a dataset that a model cannot take."""
    if meta.kind not in model.takes:
        kinds = " and ".join(f"{kind}s" for kind in model.takes)
        raise UsageError(
            f"The model '{model.name}' takes {kinds}, but '{meta.name}' has "
            f"{meta.describe_shape()}.",
            f"`zoo models` says which models take {meta.kind}s.",
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


def check_no_missing(model: Takes, x: Array, feature_names: Sequence[str]) -> None:
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
