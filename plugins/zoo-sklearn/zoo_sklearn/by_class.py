"""Fit an SGDClassifier class by class: progress, and checkpoints between classes."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import zoo
from zoo import weights
from zoo_sklearn.releases import is_known

if TYPE_CHECKING:
    from zoo.model import Array

UNIT = "class"


@contextlib.contextmanager
def reported(
    classifier: Any, report: zoo.Report, checkpoint: zoo.Checkpoint | None
) -> Iterator[None]:
    """Have `classifier.fit` report each class of three or more, and save the finished ones.

    The bits are those of scikit-learn, which fits the classes independently. Epochs are no place
    for a checkpoint: a scale of the weights that is kept across them is private to scikit-learn.
    Of other releases than those that were compared nothing is reported.
    """
    if not is_known():
        yield
        return
    fit = functools.partial(_fit_multiclass, classifier, report, checkpoint)
    classifier._fit_multiclass = fit
    try:
        yield
    finally:
        del classifier._fit_multiclass


def _fit_multiclass(
    classifier: Any,
    report: zoo.Report,
    checkpoint: zoo.Checkpoint | None,
    x: Array,
    y: Array,
    *,
    sample_weight: Array,
    **settings: Any,
) -> None:
    """Do as scikit-learn's method of this name, with the results as they come."""
    from sklearn.linear_model._stochastic_gradient import MAX_INT, fit_binary
    from sklearn.utils import check_random_state
    from sklearn.utils.parallel import Parallel, delayed

    total = len(classifier.classes_)
    mask = classifier._make_validation_split(y, sample_mask=sample_weight > 0)
    seeds = check_random_state(classifier.random_state).randint(MAX_INT, size=total)
    epochs = _restore(classifier, checkpoint)

    def fit_class(index: int) -> tuple[int, float, int]:
        _, intercept, n_iter = fit_binary(
            classifier,
            index,
            x,
            y,
            pos_weight=classifier._expanded_class_weight[index],
            neg_weight=1.0,
            sample_weight=sample_weight,
            validation_mask=mask,
            random_state=seeds[index],
            **settings,
        )
        return index, intercept, n_iter

    left = [index for index in range(total) if index not in epochs]
    threads = Parallel(
        n_jobs=classifier.n_jobs, require="sharedmem", return_as="generator_unordered"
    )
    fits = threads(delayed(fit_class)(index) for index in left)
    with contextlib.closing(fits):  # drops the tasks that are left if `report` raises
        for index, intercept, n_iter in fits:
            classifier.intercept_[index] = intercept
            epochs[index] = n_iter
            if len(epochs) < total:  # the last one is reported with the accuracy
                report(len(epochs), total, UNIT)
                if checkpoint and checkpoint.is_due():
                    _save(classifier, epochs, checkpoint)
    classifier.n_iter_ = max(epochs.values())
    classifier.t_ += classifier.n_iter_ * len(y)
    if classifier.average > 0:
        averaged = classifier.average <= classifier.t_ - 1.0
        kind = "average" if averaged else "standard"
        classifier.coef_ = getattr(classifier, f"_{kind}_coef")
        classifier.intercept_ = getattr(classifier, f"_{kind}_intercept")


def _rows(classifier: Any) -> dict[str, Array]:
    """Return the arrays with a row for each class, which the fits fill in place."""
    rows = {"coef": classifier.coef_, "intercept": classifier.intercept_}
    if classifier.average > 0:
        rows |= {
            "average_coef": classifier._average_coef,
            "average_intercept": classifier._average_intercept,
        }
    return rows


def _save(classifier: Any, epochs: dict[int, int], checkpoint: zoo.Checkpoint) -> None:
    import numpy as np

    finished = np.array(sorted(epochs))
    # Other rows may be changed by threads meanwhile.
    rows = {name: array[finished] for name, array in _rows(classifier).items()}
    counts = np.array([epochs[index] for index in finished.tolist()])
    with checkpoint.save(len(epochs)) as folder:
        weights.save(folder, {**rows, "finished": finished, "epochs": counts})


def _restore(classifier: Any, checkpoint: zoo.Checkpoint | None) -> dict[int, int]:
    """Fill in the finished classes of the checkpoint; returns the epochs that each has taken."""
    folder = checkpoint.latest() if checkpoint else None
    if folder is None:
        return {}
    rows = _rows(classifier)
    expected = {name: (str(array.dtype), (None, *array.shape[1:])) for name, array in rows.items()}
    found = weights.load(
        folder, {**expected, "finished": ("int64", (None,)), "epochs": ("int64", (None,))}
    )
    finished = found["finished"]
    for name, array in rows.items():
        array[finished] = found[name]
    return dict(zip(finished.tolist(), found["epochs"].tolist(), strict=True))
