"""Boosted decision stumps."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import zoo
from zoo import weights
from zoo_sklearn.classifier import (
    CLASSES,
    ArraysModel,
    ResumableModel,
    require_shape,
    row_count,
)

if TYPE_CHECKING:
    from zoo.model import Array

NODES = {
    "value": "float64",
    "feature_idx": "int64",
    "num_threshold": "float64",
    "missing_go_to_left": "uint8",
    "left": "uint32",
    "right": "uint32",
    "is_leaf": "uint8",
}
"""Fields of a tree's node that predictions read: scikit-learn's name, and the dtype on disk."""


class StumpsParams(zoo.Params):
    """Params of `HistGradientBoostingClassifier`."""

    max_iter: int = zoo.param(50, ge=1, le=100_000, help="rounds; each adds a stump per class")
    learning_rate: float = zoo.param(0.5, gt=0, le=10, help="how much each stump counts")
    max_features: float = zoo.param(
        0.1, gt=0, le=1, help="part of the features, drawn at random, that each stump chooses from"
    )
    l2_regularization: float = zoo.param(
        1.0, ge=0, le=1e9, help="keeps a stump small that few inputs speak for; 0 may diverge"
    )
    max_leaf_nodes: int = zoo.param(2, ge=2, le=1024, help="leaves of a tree; 2 make it a stump")


class BoostedStumps(ResumableModel, ArraysModel):
    """Trees of one split, a feature against a threshold, added up by gradient boosting."""

    name = "boosted-stumps"
    takes = ("image", "table")
    takes_missing = True
    family = "boosting"
    paper = "Kégl & Busa-Fekete 2009, Boosting products of base classifiers"
    layout = "flat"
    dtype = "float32"
    # skops does not trust its trees, and skl2onnx 1.20 writes booleans where ONNX needs numbers.
    formats = ()
    can_stop = True
    Params = StumpsParams

    def stored(self) -> weights.Expected:
        nodes = {name: (dtype, (None,)) for name, dtype in NODES.items()}
        return {**nodes, "sizes": ("int64", (None, None)), "baseline": ("float64", (1, None))}

    def make(self) -> Any:
        from sklearn.ensemble import HistGradientBoostingClassifier

        return HistGradientBoostingClassifier(
            **self.params.model_dump(), early_stopping=False, random_state=self.seed
        )

    def probabilities(self, x: Array) -> Array:
        found: Array = self.classifier.predict_proba(x)
        return found

    def arrays(self) -> dict[str, Array]:
        return node_arrays(self.classifier)

    def set_arrays(self, arrays: dict[str, Array]) -> None:
        import numpy as np
        from sklearn.ensemble._hist_gradient_boosting.common import PREDICTOR_RECORD_DTYPE
        from sklearn.ensemble._hist_gradient_boosting.predictor import TreePredictor

        sizes, n_trees = arrays["sizes"], row_count(len(arrays[CLASSES]))
        require_shape(sizes.shape[1:], (n_trees,))
        require_shape(arrays["baseline"].shape, (1, n_trees))
        check_nodes(arrays, self.n_features)
        nodes = np.zeros(sizes.sum(), dtype=PREDICTOR_RECORD_DTYPE)
        for name in NODES:
            nodes[name] = arrays[name]
        ends = sizes.cumsum()
        none = np.empty((0, 8), dtype="uint32")
        trees = [TreePredictor(each, none, none) for each in np.split(nodes, ends[:-1])]
        fitted = self.classifier
        fitted._predictors = [
            trees[start : start + n_trees] for start in range(0, len(trees), n_trees)
        ]
        fitted._baseline_prediction = arrays["baseline"]
        fitted.classes_ = arrays[CLASSES]
        fitted.n_trees_per_iteration_ = n_trees
        fitted.n_features_in_, fitted._preprocessor = self.n_features, None
        fitted._loss = fitted._get_loss(sample_weight=None)
        # Only used for categorical features; there are none.
        categories = (none, np.zeros(self.n_features, dtype="uint32"))
        fitted._bin_mapper = SimpleNamespace(make_known_categories_bitsets=lambda: categories)

    def parameters(self) -> int:
        """Count feature, threshold and two values per split, and one value per class."""
        return sum(
            4 * int((tree.nodes["is_leaf"] == 0).sum())
            for each in self.classifier._predictors
            for tree in each
        ) + int(self.classifier._baseline_prediction.size)


def node_arrays(boosting: Any) -> dict[str, Array]:
    """Return the trees of a fitted HistGradientBoostingClassifier as arrays."""
    import numpy as np

    trees = [[tree.nodes for tree in each] for each in boosting._predictors]
    nodes = np.concatenate([tree for each in trees for tree in each])
    found = {name: nodes[name].astype(dtype) for name, dtype in NODES.items()}
    sizes = np.array([[len(tree) for tree in each] for each in trees], dtype="int64")
    return found | {"sizes": sizes, "baseline": boosting._baseline_prediction}


def check_nodes(arrays: dict[str, Array], n_features: int) -> None:
    """Raise ValueError if a tree has indices out of range or a cycle."""
    import numpy as np

    sizes = arrays["sizes"].ravel()
    if not len(sizes) or sizes.min() < 1:
        raise ValueError("a tree is empty")
    for name in NODES:
        require_shape(arrays[name].shape, (sizes.sum(),))
    inner = arrays["is_leaf"] == 0
    size = np.repeat(sizes, sizes)[inner]
    place = (np.arange(sizes.sum()) - np.repeat(sizes.cumsum() - sizes, sizes))[inner]
    features = arrays["feature_idx"][inner]
    if ((features < 0) | (features >= n_features)).any():
        raise ValueError("a tree reads a feature that inputs do not have")
    for side in ("left", "right"):
        # A child comes after its parent.
        child = arrays[side][inner]
        if ((child <= place) | (child >= size)).any():
            raise ValueError("a tree has a cycle")
