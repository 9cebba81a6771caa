"""The random forest."""

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, model_validator

import zoo
import zoo_sklearn.threads as threads
import zoo_sklearn.trees as trees
from zoo_sklearn.classifier import FitArguments, ResumableModel
from zoo_sklearn.estimator import SklearnModel

if TYPE_CHECKING:
    from zoo.model import Array

Share = Annotated[float, Field(gt=0, le=1)]

BATCHES = 10
"""Most times that the progress is reported while a forest grows."""

SMALLEST = 10
"""Trees that grow at least between two reports: starting threads takes a millisecond."""


class ForestParams(zoo.Params):
    """Params of `RandomForestClassifier`; the defaults are those of scikit-learn."""

    n_estimators: int = zoo.param(100, ge=1, le=1000, help="trees")
    criterion: Literal["gini", "entropy", "log_loss"] = zoo.param(
        "gini", help="impurity that a split is to lower"
    )
    max_depth: int | None = zoo.param(
        None, ge=1, le=10_000, help="most splits one below the other; null: until leaves are pure"
    )
    min_samples_split: int = zoo.param(
        2, ge=2, le=10**6, help="fewest inputs of a node that is split"
    )
    min_samples_leaf: int = zoo.param(1, ge=1, le=10**6, help="fewest inputs of a leaf")
    max_features: Literal["sqrt", "log2"] | Share | None = zoo.param(
        "sqrt", help="features that a split chooses from: a part of all; null: all"
    )
    max_leaf_nodes: int | None = zoo.param(
        None, ge=2, le=10**6, help="most leaves of a tree; null: any number"
    )
    bootstrap: bool = zoo.param(
        True, help="draw the inputs of each tree with replacement; false: each tree sees all"
    )
    max_samples: float | None = zoo.param(
        None, gt=0, le=1, help="part of the inputs that bootstrap draws for each tree; null: all"
    )
    ccp_alpha: float = zoo.param(0.0, ge=0, le=1e6, help="strength of the pruning; 0: none")
    class_weight: Literal["balanced", "balanced_subsample"] | None = zoo.param(
        None, help="balanced: a rare class counts as much as a frequent one"
    )

    @model_validator(mode="after")
    def _check(self) -> ForestParams:
        if self.max_samples is not None and not self.bootstrap:
            raise ValueError(
                "max_samples is the part that bootstrap draws, which is off; "
                "set bootstrap to true, or leave max_samples out."
            )
        return self


class RandomForest(ResumableModel, SklearnModel):
    """Decision trees of random inputs and features; their class shares are averaged."""

    name = "random-forest"
    takes_missing = True
    family = "trees"
    paper = "Breiman 2001, Random forests, doi:10.1023/A:1010933404324"
    # What its trees compare with; scikit-learn converts other inputs to it.
    dtype = "float32"
    can_stop = True
    Params = ForestParams
    trusted = trees.TRUSTED

    def make(self) -> Any:
        from sklearn.ensemble import RandomForestClassifier

        return RandomForestClassifier(**self.params.model_dump(), random_state=self.seed)

    def learn(self, x: Array, y: Array, report: zoo.Report, given: FitArguments) -> None:
        import numpy as np

        checkpoint = given.checkpoint
        earlier = checkpoint.latest() if checkpoint else None
        if earlier is not None:
            self.load(earlier)
        forest, total = self.classifier.set_params(warm_start=True), self.params.n_estimators
        size = max(SMALLEST, math.ceil(total / BATCHES))
        if np.isnan(x).any():
            x = x.copy()  # scikit-learn looks for missing numbers in writable arrays alone
        with warnings.catch_warnings(), threads.granted_jobs() as n_jobs:
            # Weights of classes change with the inputs of a warm start; these stay the same.
            warnings.filterwarnings("ignore", message="class_weight presets")
            grown = len(getattr(forest, "estimators_", ()))
            try:
                while grown < total:
                    grown = min(grown + size, total)
                    # A warm start draws the same seeds of trees as a single fit of all.
                    forest.set_params(n_estimators=grown, n_jobs=n_jobs).fit(
                        x, y, given.sample_weight
                    )
                    report(grown, total, "tree")
                    if checkpoint and checkpoint.is_due():
                        with checkpoint.save(grown) as folder:
                            self.save(folder)
            finally:
                # Threads would add the shares of the trees in another order at each prediction.
                forest.set_params(warm_start=False, n_jobs=None)

    def parameters(self) -> int:
        """Count feature and threshold of each split, and the share of each class in each leaf."""
        grown = [each.tree_ for each in self.classifier.estimators_]
        leaves = sum(int(tree.n_leaves) for tree in grown)
        splits = sum(int(tree.node_count) for tree in grown) - leaves
        return 2 * splits + leaves * len(self.classifier.classes_)
