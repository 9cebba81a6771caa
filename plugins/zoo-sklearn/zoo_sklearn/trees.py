"""Checks of trees that a file may bring: scikit-learn's native code follows their indices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from zoo_sklearn.classifier import require_shape, row_count
from zoo_sklearn.passes import last_step
from zoo_sklearn.stumps import check_nodes, node_arrays

if TYPE_CHECKING:
    from zoo.model import Array

TRUSTED = (
    "sklearn.tree._tree.Tree",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
)
"""Types that `check` looks through."""


def check(estimator: Any) -> None:
    """Raise ValueError if trees could read out of bounds; those of a pipeline's last step."""
    last, _ = last_step(estimator)
    kind = type(last).__name__
    if kind == "HistGradientBoostingClassifier":
        _check_boosting(last)
    elif kind in ("RandomForestClassifier", "ExtraTreesClassifier"):
        _check_forest(last)
    elif kind == "DecisionTreeClassifier":
        _check_tree(last.tree_, last.n_features_in_, len(last.classes_))


def _check_forest(forest: Any) -> None:
    n_classes = len(forest.classes_)
    if not forest.estimators_ or forest.n_classes_ != n_classes:
        raise ValueError("it has no trees, or trees of other classes")
    for each in forest.estimators_:
        _check_tree(each.tree_, forest.n_features_in_, n_classes)


def _check_tree(tree: Any, n_features: int, n_classes: int) -> None:
    import numpy as np

    if tree.n_features != n_features:
        raise ValueError(f"a tree has {tree.n_features} features")
    require_shape(tree.value.shape, (tree.node_count, 1, n_classes))
    # A node without a left child is a leaf. A child comes after its parent.
    inner = np.flatnonzero(tree.children_left != -1)
    for child in (tree.children_left[inner], tree.children_right[inner]):
        if ((child <= inner) | (child >= tree.node_count)).any():
            raise ValueError("a tree has a cycle")
    features: Array = tree.feature[inner]
    if ((features < 0) | (features >= n_features)).any():
        raise ValueError("a tree reads a feature that inputs do not have")


def _check_boosting(boosting: Any) -> None:
    n_trees = row_count(len(boosting.classes_))
    if boosting._preprocessor is not None:
        raise ValueError("it splits by categories, which features do not have")
    arrays = node_arrays(boosting)
    require_shape(arrays["sizes"].shape[1:], (n_trees,))
    require_shape(arrays["baseline"].shape, (1, n_trees))
    if boosting.n_trees_per_iteration_ != n_trees:
        raise ValueError("it has trees of other classes")
    if any(tree.nodes["is_categorical"].any() for each in boosting._predictors for tree in each):
        raise ValueError("a tree splits by categories")
    check_nodes(arrays, boosting.n_features_in_)
