"""What a model takes: kinds of dataset, sizes of images, missing numbers."""

from __future__ import annotations

from typing import Protocol

from zoo.data import steps
from zoo.data.contents import Inputs, Meta
from zoo.errors import UsageError
from zoo.job_spec import NO_STEPS


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


def check_same(trained: Inputs, meta: Meta) -> None:
    """Raise UsageError if a trained model cannot judge these inputs."""
    if (trained.kind, trained.input_shape) != (meta.kind, meta.input_shape):
        raise UsageError(
            f"The model was trained on {trained.describe_shape()}, but '{meta.name}' has "
            f"{meta.describe_shape()}.",
            "Evaluate it on inputs of that shape.",
        )
