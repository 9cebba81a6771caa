"""Gradient boosting of trees of binned features."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import zoo
import zoo_sklearn.rounds as rounds
import zoo_sklearn.trees as trees
from zoo_sklearn.classifier import FitArguments, ValidatedModel
from zoo_sklearn.estimator import SklearnModel
from zoo_sklearn.stumps import node_arrays

if TYPE_CHECKING:
    from zoo.model import Array


class BoostingParams(zoo.Params):
    """Params of `HistGradientBoostingClassifier`; the defaults are those of scikit-learn."""

    max_iter: int = zoo.param(100, ge=1, le=100_000, help="rounds; each adds a tree per class")
    learning_rate: float = zoo.param(0.1, gt=0, le=10, help="how much each tree counts")
    max_leaf_nodes: int | None = zoo.param(
        31, ge=2, le=100_000, help="most leaves of a tree; null: any number"
    )
    max_depth: int | None = zoo.param(
        None, ge=1, le=10_000, help="most splits one below the other; null: any number"
    )
    min_samples_leaf: int = zoo.param(20, ge=1, le=10**6, help="fewest inputs of a leaf")
    l2_regularization: float = zoo.param(
        0.0, ge=0, le=1e9, help="keeps a leaf small that few inputs speak for"
    )
    max_features: float = zoo.param(
        1.0, gt=0, le=1, help="part of the features, drawn at random, that each split chooses from"
    )
    max_bins: int = zoo.param(255, ge=2, le=255, help="values that are told apart in each feature")
    early_stopping: bool | None = zoo.param(
        None,
        help="stop by the loss on the validation rows, or else on held-back inputs; null: with "
        "more than 10,000 inputs",
    )
    validation_fraction: float = zoo.param(
        0.1, gt=0, lt=1, help="part held back for early_stopping without validation rows"
    )
    n_iter_no_change: int = zoo.param(
        10, ge=1, le=100_000, help="rounds without improvement before it stops"
    )
    tol: float = zoo.param(1e-7, ge=0, le=1e6, help="smallest improvement of early_stopping")
    class_weight: Literal["balanced"] | None = zoo.param(
        None, help="balanced: a rare class counts as much as a frequent one"
    )


class HistGradientBoosting(ValidatedModel, SklearnModel):
    """Trees added up by gradient boosting; each split looks at bins of values, not at values."""

    name = "hist-gradient-boosting"
    takes_missing = True
    family = "boosting"
    paper = "Ke et al. 2017, LightGBM: a highly efficient gradient boosting decision tree"
    # skl2onnx 1.20 writes booleans where ONNX needs numbers.
    formats = ("skops",)
    can_stop = True
    Params = BoostingParams
    trusted = trees.TRUSTED

    def make(self) -> Any:
        from sklearn.ensemble import HistGradientBoostingClassifier

        params = self.params.model_dump()
        stopping = params.pop("early_stopping")
        return HistGradientBoostingClassifier(
            **params,
            early_stopping="auto" if stopping is None else stopping,
            random_state=self.seed,
        )

    def learn(self, x: Array, y: Array, report: zoo.Report, given: FitArguments) -> None:
        import numpy as np

        boosting = self.classifier
        rows = {}
        if given.validation is not None and boosting.early_stopping is not False:
            x_val, y_val = given.validation
            known = np.isin(y_val, y)  # scikit-learn takes no class that training lacks
            rows = {"X_val": x_val[known], "y_val": y_val[known]} if known.any() else {}
        with rounds.reported(boosting, report, given.checkpoint, validates=bool(rows)):
            boosting.fit(x, y, given.sample_weight, **rows)

    def parameters(self) -> int:
        """Count feature and threshold of each split, each leaf, and one value per class."""
        leaves = node_arrays(self.classifier)["is_leaf"]
        n_leaves, baseline = int(leaves.sum()), int(self.classifier._baseline_prediction.size)
        return 2 * (leaves.size - n_leaves) + n_leaves + baseline
