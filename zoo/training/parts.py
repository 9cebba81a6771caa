"""The rows of one training: to train on, to choose by, and to judge on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from zoo.data.incoming import stratified
from zoo.errors import UsageError, reason
from zoo.job_spec import Fold, JobSpec

if TYPE_CHECKING:
    from zoo.data.preprocessing import Prepared
    from zoo.model import Array

VALIDATION_SEED = 0
"""The seed of the validation rows: no job's, so that they are the same for all models and seeds."""


class Part(NamedTuple):
    """Inputs for training or evaluation, and their rows in the split."""

    x: Array
    y: Array
    rows: Array
    fingerprint: str
    """Fingerprint of the contents of the dataset."""
    weights: Array | None = None
    """Weights of the rows, float64 (n,)."""

    def of(self, chosen: Array) -> Part:
        """Return the chosen rows, given by index or mask."""
        weights = None if self.weights is None else self.weights[chosen]
        return self._replace(
            x=self.x[chosen], y=self.y[chosen], rows=self.rows[chosen], weights=weights
        )


class Parts(NamedTuple):
    """All rows of one training."""

    train: Part
    validation: Part | None
    held_out: Part


def whole(data: Prepared) -> Part:
    """Return all rows of a split."""
    import numpy as np

    return Part(data.x, data.y, np.arange(len(data.y)), data.fingerprint, data.weights)


def divide(spec: JobSpec, splits: Mapping[str, Prepared]) -> Parts:
    """Divide the splits of a dataset, by name, into the rows of a training.

    The validation rows are a share of the training rows, the same for all models and seeds, or
    the dataset's own split. In a cross-validation they are drawn from the fold's training rows,
    which an own validation split joins.

    Raises UsageError if there are too few rows of a class.
    """
    train, validation = whole(splits["train"]), None
    own = whole(splits["validation"]) if "validation" in splits else None
    if spec.fold:
        train, held_out = _fold(spec, train, spec.fold)
        train = _joined(train, own) if own else train
    else:
        held_out, validation = whole(splits[spec.split]), own
    if spec.validation:
        train, validation = _held_back(spec, train, spec.validation)
    return Parts(train, validation, held_out)


def sample_weight(spec: JobSpec, train: Part, labels: Array) -> Array | None:
    """Return the weights of the training rows, float64 (n,); None if all count alike.

    `labels` are those that the model predicts. Balanced weights are scikit-learn's
    `compute_sample_weight("balanced", labels)`; weights of the dataset multiply them.
    """
    if spec.class_weight is None:
        return train.weights
    from sklearn.utils.class_weight import compute_sample_weight

    balanced: Array = compute_sample_weight(spec.class_weight, labels)
    return balanced if train.weights is None else balanced * train.weights


def _fold(spec: JobSpec, data: Part, fold: Fold) -> tuple[Part, Part]:
    from sklearn.model_selection import StratifiedKFold

    try:
        # Not shuffled, so that folds and accuracies equal those of scikit-learn's cross_validate.
        sides = list(StratifiedKFold(fold.k).split(data.y, data.y))[fold.index]
    except ValueError as error:
        raise UsageError(
            f"'{spec.dataset}' cannot be split into {fold.k} folds: {reason(error)}."
        ) from None
    train, held_out = (data.of(side) for side in sides)
    return train, held_out


def _held_back(spec: JobSpec, train: Part, share: float) -> tuple[Part, Part]:
    import numpy as np

    try:
        chosen = stratified(train.y, share, VALIDATION_SEED)
    except ValueError as error:
        raise UsageError(
            f"No validation rows can be held out of '{spec.dataset}': {reason(error)}.",
            "Take another share: --validation 0.1 is a tenth of the training rows.",
        ) from None
    kept = np.ones(len(train.y), dtype=bool)
    kept[chosen] = False
    if rare := set(train.y[chosen].tolist()) - set(train.y[kept].tolist()):
        raise UsageError(
            f"--validation {share:g} would leave no training row of {len(rare)} of the classes of "
            f"'{spec.dataset}'.",
            "Take a smaller share.",
        )
    return train.of(kept), train.of(chosen)


def _joined(train: Part, own: Part) -> Part:
    import numpy as np

    weights = None
    if train.weights is not None or own.weights is not None:
        each = [
            np.ones(len(part.y)) if part.weights is None else part.weights for part in (train, own)
        ]
        weights = np.concatenate(each)
    return train._replace(
        x=np.concatenate([train.x, own.x]),
        y=np.concatenate([train.y, own.y]),
        # Rows of a split of their own, which nothing refers to.
        rows=np.concatenate([train.rows, own.rows]),
        weights=weights,
    )
