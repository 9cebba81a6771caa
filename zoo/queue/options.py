"""The options of a training, shared by every entry point."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from zoo.errors import UsageError, unknown
from zoo.jobs.queue_options import bounded, check_bounds
from zoo.param_values import MAX_SEED

CHOICES = {"class_weight": ("balanced",), "device": ("cpu", "gpu")}
"""The values of options that are one of a few texts."""


@dataclass(frozen=True)
class TrainingOptions:
    """Options of a training, the same for command line, notebook, page and sweeps.

    Raises UsageError for a value out of bounds, an unknown preprocessing, or both `cv` and
    `seeds`.
    """

    dataset: str = "mnist"
    preprocess: str = "none"
    validation: float | None = bounded(None, 0.001, 0.999)
    """Share of the training rows held out to choose by; None: the dataset's own split, if any."""
    class_weight: str | None = None
    """`balanced`: rows weigh inversely to the frequency of their class."""
    positive: str | None = None
    """The class that metrics of two classes look for; None: the second one."""
    seed: int = bounded(42, 0, MAX_SEED)
    cv: int | None = bounded(None, 2, 100)
    """Number of folds of a cross-validation."""
    seeds: int | None = bounded(None, 2, 1000)
    """Number of trainings with successive seeds, starting at `seed`."""
    keep_weights: bool | None = None
    """None: keep them, except in a cross-validation."""
    timeout: float | None = bounded(None, 0.001)
    """Time limit of one attempt, in seconds."""
    device: str | None = None
    """`cpu` or `gpu`; None: where the model says."""
    exact: bool = False
    """Go on from a checkpoint only where the result is sure to have the same bits."""
    memory_mb: int | None = bounded(None, 1)

    def __post_init__(self) -> None:
        check_bounds(self)
        for name, choices in CHOICES.items():
            if (value := getattr(self, name)) is not None and value not in choices:
                raise unknown(name, value, choices)
        if self.cv and self.seeds:
            raise UsageError("A group has folds or seeds, not both.", "Take --cv or --seeds.")
        if self.seed + (self.seeds or 1) > MAX_SEED + 1:
            raise UsageError(f"The seeds would go past {MAX_SEED}.", "Begin with a smaller --seed.")
        if self.preprocess != "none":
            from zoo.data import preprocessing

            preprocessing.check(self.preprocess)

    @property
    def is_cross_validation(self) -> bool:
        """Whether each job is one fold."""
        return self.cv is not None

    @property
    def group_kind(self) -> str | None:
        """The kind of the group that the jobs form; None for a single job."""
        return "cv" if self.cv else "seeds" if self.seeds else None

    @property
    def keeps_weights(self) -> bool:
        return not self.cv if self.keep_weights is None else self.keep_weights

    @property
    def parts(self) -> int:
        """The number of jobs."""
        return self.cv or self.seeds or 1

    def to_json(self) -> dict[str, Any]:
        """Return the options, except the dataset, as a sweep's group stores them."""
        found = asdict(self) | {"keep_weights": self.keeps_weights}
        del found["dataset"]
        return found

    @classmethod
    def from_json(cls, dataset: str, stored: Mapping[str, Any]) -> Self:
        """Read back what `to_json` returned."""
        return cls(dataset, **stored)
