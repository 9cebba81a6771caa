"""Fit by scikit-learn's sparse path, three times as fast, where it yields the same bits."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from zoo_sklearn.releases import is_known

if TYPE_CHECKING:
    from zoo.model import Array

DENSITY = 0.5
"""Share of nonzero features above which the dense path is as fast; MNIST has 0.19."""

SAMPLE = 500
"""Inputs by which the share of all is judged first: most tables are dense."""

BLOCK = 200 * 784
"""Features converted to CSR at once: as many as fit into the processor's cache."""

MOST = 2**31 - 1
"""Nonzero features that indices of 32 bits can count."""


def fit(classifier: Any, x: Array, y: Array, sample_weight: Array | None = None) -> None:
    """Fit an SGDClassifier to inputs (n, features), with the same bits as its own `fit`."""
    compressed = (
        _compressed(x)
        if has_decay() and takes_same_steps(classifier) and is_single_threaded()
        else None
    )
    if compressed is None:
        classifier.fit(x, y, sample_weight=sample_weight)
    else:
        with _decay_of_dense():
            classifier.fit(compressed, y, sample_weight=sample_weight)


def has_decay() -> bool:
    """Return whether this is a release of scikit-learn whose paths were compared."""
    from sklearn.linear_model import _base

    return is_known() and hasattr(_base, "SPARSE_INTERCEPT_DECAY")


def takes_same_steps(classifier: Any) -> bool:
    """Return whether both paths take the same steps with the classifier's params.

    The penalty l1 shrinks, on the sparse path, only the weights of an input's nonzero features;
    early stopping multiplies matrices in another order.
    """
    if classifier.penalty not in ("l2", None) or classifier.early_stopping:
        return False
    # The squared norm of the weights, a part of the objective, is summed on the sparse path over
    # the last input's features alone: the objective must not be what ends the fit. The first epoch
    # always improves on nothing, and to stop after the last one changes nothing.
    return (
        classifier.tol is None
        or classifier.penalty is None
        or classifier.learning_rate in ("pa1", "pa2")
        or classifier.max_iter <= classifier.n_iter_no_change + 1
    )


def is_single_threaded() -> bool:
    """Return whether no other thread works: the changed constant is global."""
    this = threading.current_thread()
    return all(thread is this or thread.daemon for thread in threading.enumerate())


def _compressed(x: Array) -> Any | None:
    """Return the CSR form, or None if it is not faster; six times as fast as scipy's."""
    import numpy as np
    from scipy.sparse import csr_matrix

    sample = x[:: max(1, len(x) // SAMPLE)]
    if np.count_nonzero(sample) > DENSITY * sample.size:
        return None
    rows = max(1, BLOCK // x.shape[1])
    columns = np.tile(np.arange(x.shape[1], dtype="int32"), min(rows, len(x)))
    counts, values, indices = [], [], []
    left = min(int(DENSITY * x.size), MOST)
    for start in range(0, len(x), rows):
        block = x[start : start + rows]
        kept = block != 0
        at = np.flatnonzero(kept)
        left -= len(at)
        if left < 0:
            return None
        counts.append(np.count_nonzero(kept, axis=1))
        values.append(block.ravel()[at])
        indices.append(columns[at])
    ends = np.concatenate([[0], np.cumsum(np.concatenate(counts))]).astype("int32")
    # The sparse path would read the first value of a matrix without any.
    if ends[-1] == 0:
        return None
    return csr_matrix((np.concatenate(values), np.concatenate(indices), ends), shape=x.shape)


@contextlib.contextmanager
def _decay_of_dense() -> Iterator[None]:
    """Set the decay of the intercept to that of the dense path, instead of a hundredth of it."""
    from sklearn.linear_model import _base

    kept = _base.SPARSE_INTERCEPT_DECAY
    _base.SPARSE_INTERCEPT_DECAY = 1.0
    try:
        yield
    finally:
        _base.SPARSE_INTERCEPT_DECAY = kept
