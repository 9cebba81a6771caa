"""The pairwise linear classifier: one linear classifier for each pair of classes, and a vote."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, Literal

import zoo
from zoo import weights
from zoo_sklearn.classifier import (
    CLASSES,
    LECUN,
    ArraysModel,
    FitArguments,
    ResumableModel,
    require_shape,
    set_linear_arrays,
)

if TYPE_CHECKING:
    from zoo.model import Array


class PairwiseParams(zoo.Params):
    """Params of the `SGDClassifier` of each pair."""

    loss: Literal["log_loss", "modified_huber", "hinge", "squared_hinge"] = zoo.param(
        "log_loss", help="log_loss is logistic regression, hinge a linear SVM"
    )
    alpha: float = zoo.param(0.0001, gt=0, le=1e6, help="strength of the l2 penalty")
    max_iter: int = zoo.param(20, ge=1, le=100_000, help="most epochs of each pair")


class PairwiseLinear(ResumableModel, ArraysModel):
    """One linear classifier for each two classes; the class that wins most pairs wins."""

    name = "pairwise-linear"
    takes = ("image", "table")
    family = "linear"
    paper = LECUN
    layout = "flat"
    dtype = "float64"
    Params = PairwiseParams

    def stored(self) -> weights.Expected:
        return {"coef": ("float64", (None, self.n_features)), "intercept": ("float64", (None,))}

    def make(self) -> Any:
        from sklearn.multiclass import OneVsOneClassifier

        return OneVsOneClassifier(self._pair_classifier())

    def learn(self, x: Array, y: Array, report: zoo.Report, given: FitArguments) -> None:
        """Fit each pair as OneVsOneClassifier does, whose `fit` takes no weights of rows."""
        import numpy as np

        sample_weight, checkpoint = given.sample_weight, given.checkpoint
        voting = self.classifier
        voting.classes_, voting.pairwise_indices_ = np.unique(y), None
        voting.n_features_in_ = x.shape[1]
        pairs = list(itertools.combinations(voting.classes_, 2))
        fitted = voting.estimators_ = self._finished(checkpoint)
        for first, second in pairs[len(fitted) :]:
            rows = (y == first) | (y == second)
            row_weights = None if sample_weight is None else sample_weight[rows]
            is_second = (y[rows] == second).astype(int)
            fitted.append(
                self._pair_classifier().fit(x[rows], is_second, sample_weight=row_weights)
            )
            report(len(fitted), len(pairs), "pair")
            if checkpoint and checkpoint.is_due():
                with checkpoint.save(len(fitted)) as folder:
                    weights.save(folder, self.arrays())

    def _finished(self, checkpoint: zoo.Checkpoint | None) -> list[Any]:
        """Return the pairs that the newest checkpoint has."""
        folder = checkpoint.latest() if checkpoint else None
        return self._pairs(weights.load(folder, self.stored())) if folder else []

    def arrays(self) -> dict[str, Array]:
        import numpy as np

        pairs = self.classifier.estimators_
        return {
            "coef": np.concatenate([each.coef_ for each in pairs]),
            "intercept": np.concatenate([each.intercept_ for each in pairs]),
        }

    def set_arrays(self, arrays: dict[str, Array]) -> None:
        known = arrays[CLASSES]
        n_pairs = len(known) * (len(known) - 1) // 2
        require_shape(arrays["coef"].shape, (n_pairs, self.n_features))
        require_shape(arrays["intercept"].shape, (n_pairs,))
        self.classifier.estimators_ = self._pairs(arrays)
        self.classifier.classes_ = known
        self.classifier.pairwise_indices_ = None

    def _pairs(self, arrays: dict[str, Array]) -> list[Any]:
        """Return the classifiers whose `arrays` these are."""
        import numpy as np

        pairs = []
        for coef, intercept in zip(arrays["coef"], arrays["intercept"], strict=True):
            one = {"coef": coef[None], "intercept": intercept[None], CLASSES: np.arange(2)}
            pairs.append(self._pair_classifier())
            set_linear_arrays(pairs[-1], one)
        return pairs

    def parameters(self) -> int:
        return sum(each.coef_.size + 1 for each in self.classifier.estimators_)

    def _pair_classifier(self) -> Any:
        from sklearn.linear_model import SGDClassifier

        return SGDClassifier(**self.params.model_dump(), random_state=self.seed)
