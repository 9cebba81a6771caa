"""Progress and checkpoints of estimators that learn in passes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import zoo
import zoo_sklearn.by_class as by_class
import zoo_sklearn.epochs as epochs
import zoo_sklearn.rounds as rounds


@contextlib.contextmanager
def reported(
    estimator: Any, report: zoo.Report, checkpoint: zoo.Checkpoint | None = None
) -> Iterator[None]:
    """Have `estimator.fit` report its progress, and go on from a checkpoint with the same bits.

    A pipeline does so if its last step does; the steps before it are fitted again.
    HistGradientBoostingClassifier goes on between rounds, MLPClassifier between epochs,
    SGDClassifier between classes if there are three or more. Others report that they are fitted.
    """
    last, _ = last_step(estimator)
    kind = type(last).__name__
    if kind == "HistGradientBoostingClassifier":
        with rounds.reported(last, report, checkpoint):
            yield
    elif kind == "MLPClassifier":
        with epochs.reported(last, report, checkpoint):
            yield
    elif kind == "SGDClassifier":
        with by_class.reported(last, report, checkpoint):
            yield
        total = len(last.coef_)
        report(total, total, by_class.UNIT)
    else:
        yield
        report(1, 1, "fit")


def last_step(estimator: Any) -> tuple[Any, str]:
    """Return the last step of a pipeline, and the prefix of its params: `boosting__`."""
    prefix = ""
    while hasattr(estimator, "steps"):
        name, estimator = estimator.steps[-1]
        prefix += f"{name}__"
    return estimator, prefix
