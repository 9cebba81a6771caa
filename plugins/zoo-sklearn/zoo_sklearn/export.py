"""Trained classifiers as files of skops and ONNX."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo.errors import ArtifactError, PluginError

if TYPE_CHECKING:
    from zoo.model import Array

FORMATS = ("skops", "onnx")


def write_skops(estimator: Any, path: Path) -> None:
    """Write an estimator of scikit-learn; every type in it is one that skops trusts by itself."""
    from skops import io

    io.dump(estimator, path)


def predict_skops(path: Path, x: Array, n_classes: int) -> tuple[Array, Array | None]:
    """Read an estimator back and let it predict; probabilities, if it has any of its own.

    Raises ArtifactError if there is a type in the file that skops does not trust by itself.
    """
    from skops import io

    if untrusted := io.get_untrusted_types(file=path):
        raise ArtifactError(f"{path} holds types that are not trusted: {', '.join(untrusted)}.")
    estimator = io.load(path, trusted=[])
    labels = estimator.predict(x)
    if not hasattr(estimator, "predict_proba"):
        return labels, None
    return labels, spread(estimator.predict_proba(x), estimator.classes_, n_classes)


def spread(found: Array, classes: Array, n_classes: int) -> Array:
    """Give (n, n_classes) of probabilities of the classes that the training data had."""
    import numpy as np

    # A class that was missing in the training data gets 0.
    probabilities = np.zeros((len(found), n_classes), dtype=found.dtype)
    probabilities[:, classes] = found
    return probabilities


def write_onnx(
    estimator: Any, path: Path, *, dtype: str, classes: Sequence[int], n_classes: int, kind: str
) -> None:
    """Write a classifier by skl2onnx, with `label` and `probabilities` as its outputs.

    `kind` says what the converted classifier gives: labels and `probabilities`, or `scores`,
    whose softmax these are, or `labels` alone. Raises PluginError if a class had no image.
    """
    from skl2onnx import to_onnx
    from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType

    if list(classes) != list(range(n_classes)) or n_classes < 3:
        raise PluginError("ONNX needs three classes or more, and images of each of them.")
    tensor = DoubleTensorType if dtype == "float64" else FloatTensorType
    last = estimator[-1] if hasattr(estimator, "steps") else estimator
    converted = to_onnx(
        estimator,
        initial_types=[("x", tensor([None, 784]))],
        options={id(last): {"zipmap": False, **_raw(last, kind)}},
    )
    if kind == "scores":
        _end_in_softmax(converted.graph)
    elif kind == "labels":
        del converted.graph.output[1:]
    path.write_bytes(converted.SerializeToString())


def _raw(last: Any, kind: str) -> dict[str, bool]:
    # OneVsOneClassifier has no such option: it gives scores anyway.
    is_asked = kind == "scores" and type(last).__name__ != "OneVsOneClassifier"
    return {"raw_scores": True} if is_asked else {}


def _end_in_softmax(graph: Any) -> None:
    """Let the outputs be the softmax of the scores, and the label that this says."""
    from onnx import TensorProto, helper

    own, scores = (output.name for output in graph.output)
    tensor = graph.output[1].type.tensor_type
    shape = [None, tensor.shape.dim[1].dim_value]
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = [{own: "votes", scores: "scores"}.get(name, name) for name in names]
    most = {"axis": 1, "keepdims": 0}
    graph.node.append(helper.make_node("Softmax", ["scores"], ["probabilities"], axis=1))
    graph.node.append(helper.make_node("ArgMax", ["probabilities"], ["label"], **most))
    del graph.output[:]
    label = helper.make_tensor_value_info("label", TensorProto.INT64, [None])
    given = helper.make_tensor_value_info("probabilities", tensor.elem_type, shape)
    graph.output.extend([label, given])
